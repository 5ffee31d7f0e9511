//! PROV-JSON, the member submission of 24 April 2013, both ways.
//!
//! Written: one object a record, anonymous relations as `_:<keyword><number>`. Read: that, and
//! what other tools write: lists of records under one name, lists of values, typed values.
//! Bundles are refused, because a job's document has none.

use serde_json::{Map, Value as Json, json};

use crate::document::{Attributes, Document, Relation, RelationKind, Value};
use crate::name::{ParseNameError, QualifiedName};
use crate::time::{ParseTimeError, Timestamp};

/// The data type of names, as the reference implementations write it.
const NAME_TYPE: &str = "prov:QUALIFIED_NAME";
/// Other words for the same.
const NAME_TYPES: [&str; 2] = [NAME_TYPE, "xsd:QName"];

/// Why a text is not a document.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Not JSON.
    #[error("the document is not JSON")]
    Json(#[source] serde_json::Error),
    /// JSON of another shape.
    #[error("{place}: expected {expected}")]
    Shape {
        /// Where.
        place: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A kind of record that this crate does not know.
    #[error("`{keyword}` is no kind of record known here")]
    Keyword {
        /// The key found.
        keyword: String,
    },
    /// Not a name.
    #[error("{place}: a name is wrong")]
    Name {
        /// Where.
        place: String,
        /// What is wrong.
        #[source]
        source: ParseNameError,
    },
    /// Not a time.
    #[error("{place}: a time is wrong")]
    Time {
        /// Where.
        place: String,
        /// What is wrong.
        #[source]
        source: ParseTimeError,
    },
    /// A name's prefix is not declared.
    #[error("the prefix `{prefix}` is not declared")]
    Prefix {
        /// The prefix.
        prefix: String,
    },
}

impl Document {
    /// The document as a JSON value; keys are sorted, so equal documents give equal text.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let mut root = Map::new();
        let mut prefixes: Map<String, Json> = self
            .prefixes
            .iter()
            .map(|(prefix, uri)| (prefix.clone(), json!(uri)))
            .collect();
        if let Some(uri) = &self.default_namespace {
            prefixes.insert("default".to_owned(), json!(uri));
        }
        put(&mut root, "prefix", prefixes);
        let elements = |elements: &std::collections::BTreeMap<QualifiedName, Attributes>| {
            elements
                .iter()
                .map(|(name, attributes)| (name.to_string(), Json::Object(write(attributes))))
                .collect()
        };
        put(&mut root, "entity", elements(&self.entities));
        put(&mut root, "agent", elements(&self.agents));
        let activities = self.activities.iter().map(|(name, activity)| {
            let mut object = write(&activity.attributes);
            put_time(&mut object, "prov:startTime", activity.start);
            put_time(&mut object, "prov:endTime", activity.end);
            (name.to_string(), Json::Object(object))
        });
        put(&mut root, "activity", activities.collect());
        for (kind, relations) in &self.relations {
            put(&mut root, kind.keyword(), write_relations(*kind, relations));
        }
        Json::Object(root)
    }

    /// The document as PROV-JSON text, indented, ending in a newline.
    #[must_use]
    pub fn to_json_text(&self) -> String {
        let text = serde_json::to_string_pretty(&self.to_json());
        text.expect("a JSON value always serialises") + "\n"
    }

    /// Reads PROV-JSON.
    ///
    /// # Errors
    /// [`ParseError`] names the place and what was expected there.
    pub fn from_json_text(text: &str) -> Result<Self, ParseError> {
        let root: Json = serde_json::from_str(text).map_err(ParseError::Json)?;
        let mut document = Self::default();
        for (keyword, records) in object(&root, "the document")? {
            document.read_section(keyword, object(records, keyword)?)?;
        }
        match document.undeclared_prefixes().pop_first() {
            Some(prefix) => Err(ParseError::Prefix { prefix }),
            None => Ok(document),
        }
    }

    fn read_section(
        &mut self,
        keyword: &str,
        records: &Map<String, Json>,
    ) -> Result<(), ParseError> {
        if keyword == "prefix" {
            return self.read_prefixes(records);
        }
        let relation = RelationKind::ALL
            .into_iter()
            .find(|kind| kind.keyword() == keyword);
        for (id, content) in records {
            let instances = match content {
                Json::Array(instances) => instances.as_slice(),
                one => std::slice::from_ref(one),
            };
            for instance in instances {
                let place = format!("{keyword} {id}");
                let fields = object(instance, &place)?;
                match (keyword, relation) {
                    ("entity", _) => merge(
                        self.entities.entry(name(id, &place)?).or_default(),
                        read(fields, &place)?,
                    ),
                    ("agent", _) => merge(
                        self.agents.entry(name(id, &place)?).or_default(),
                        read(fields, &place)?,
                    ),
                    ("activity", _) => self.read_activity(id, fields, &place)?,
                    (_, Some(kind)) => {
                        let relation = read_relation(kind, id, fields, &place)?;
                        self.relations.entry(kind).or_default().push(relation);
                    }
                    _ => {
                        return Err(ParseError::Keyword {
                            keyword: keyword.to_owned(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn read_prefixes(&mut self, prefixes: &Map<String, Json>) -> Result<(), ParseError> {
        for (prefix, uri) in prefixes {
            let uri = text(uri, "prefix")?.to_owned();
            if prefix == "default" {
                self.default_namespace = Some(uri);
            } else {
                self.prefixes.insert(prefix.clone(), uri);
            }
        }
        Ok(())
    }

    fn read_activity(
        &mut self,
        id: &str,
        fields: &Map<String, Json>,
        place: &str,
    ) -> Result<(), ParseError> {
        let mut fields = fields.clone();
        let start = take_time(&mut fields, "prov:startTime", place)?;
        let end = take_time(&mut fields, "prov:endTime", place)?;
        let activity = self.activities.entry(name(id, place)?).or_default();
        activity.start = activity.start.or(start);
        activity.end = activity.end.or(end);
        merge(&mut activity.attributes, read(&fields, place)?);
        Ok(())
    }
}

fn put(root: &mut Map<String, Json>, key: &str, section: Map<String, Json>) {
    if !section.is_empty() {
        root.insert(key.to_owned(), Json::Object(section));
    }
}

fn put_time(fields: &mut Map<String, Json>, key: &str, time: Option<Timestamp>) {
    if let Some(time) = time {
        fields.insert(key.to_owned(), json!(time.to_string()));
    }
}

/// Anonymous names are padded, so that sorting by key keeps the order of the statements.
fn write_relations(kind: RelationKind, relations: &[Relation]) -> Map<String, Json> {
    let mut section = Map::new();
    for (index, relation) in relations.iter().enumerate() {
        let id = match &relation.id {
            Some(id) => id.to_string(),
            None => format!("_:{}{index:06}", kind.keyword()),
        };
        let mut fields = write(&relation.attributes);
        for (role, name) in &relation.elements {
            fields.insert(format!("prov:{role}"), json!(name.to_string()));
        }
        put_time(&mut fields, "prov:time", relation.time);
        section.insert(id, Json::Object(fields));
    }
    section
}

fn write(attributes: &Attributes) -> Map<String, Json> {
    let one_or_more = |values: &Vec<Value>| match values.as_slice() {
        [one] => write_value(one),
        more => Json::Array(more.iter().map(write_value).collect()),
    };
    attributes
        .iter()
        .map(|(name, values)| (name.to_string(), one_or_more(values)))
        .collect()
}

fn write_value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Double(number) if number.is_finite() => json!(number),
        Value::Double(number) => json!({"$": xsd_double(*number), "type": "xsd:double"}),
        Value::Boolean(flag) => json!(flag),
        Value::Name(name) => json!({"$": name.to_string(), "type": NAME_TYPE}),
        Value::Typed { text, datatype } => json!({"$": text, "type": datatype.to_string()}),
        Value::Tagged { text, language } => json!({"$": text, "lang": language}),
    }
}

fn xsd_double(number: f64) -> &'static str {
    match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "INF",
        (false, false) => "-INF",
    }
}

fn read_relation(
    kind: RelationKind,
    id: &str,
    fields: &Map<String, Json>,
    place: &str,
) -> Result<Relation, ParseError> {
    let mut fields = fields.clone();
    let mut relation = Relation::default();
    if !id.starts_with("_:") {
        relation.id = Some(name(id, place)?);
    }
    for role in kind.roles() {
        if let Some(value) = fields.remove(&format!("prov:{role}")) {
            relation
                .elements
                .insert(role, name(text(&value, place)?, place)?);
        }
    }
    if !relation.elements.contains_key(kind.roles()[0]) {
        return Err(ParseError::Shape {
            place: place.to_owned(),
            expected: "the element that the relation is about",
        });
    }
    if kind.has_time() {
        relation.time = take_time(&mut fields, "prov:time", place)?;
    }
    relation.attributes = read(&fields, place)?;
    Ok(relation)
}

fn read(fields: &Map<String, Json>, place: &str) -> Result<Attributes, ParseError> {
    let mut attributes = Attributes::new();
    for (key, value) in fields {
        let values = match value {
            Json::Array(values) => values.as_slice(),
            one => std::slice::from_ref(one),
        };
        let values: Result<Vec<Value>, ParseError> = values
            .iter()
            .map(|value| read_value(value, place))
            .collect();
        attributes
            .entry(name(key, place)?)
            .or_default()
            .extend(values?);
    }
    Ok(attributes)
}

fn read_value(value: &Json, place: &str) -> Result<Value, ParseError> {
    let shape = || ParseError::Shape {
        place: place.to_owned(),
        expected: "an attribute's value",
    };
    match value {
        Json::String(text) => Ok(Value::Text(text.clone())),
        Json::Bool(flag) => Ok(Value::Boolean(*flag)),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Ok(Value::Integer(number)),
            None => number.as_f64().map(Value::Double).ok_or_else(shape),
        },
        Json::Object(fields) => {
            let text = text(fields.get("$").ok_or_else(shape)?, place)?.to_owned();
            match (fields.get("type"), fields.get("lang")) {
                (Some(datatype), _) => read_typed(text, self::text(datatype, place)?, place),
                (None, Some(language)) => Ok(Value::Tagged {
                    text,
                    language: self::text(language, place)?.to_owned(),
                }),
                (None, None) => Ok(Value::Text(text)),
            }
        }
        Json::Null | Json::Array(_) => Err(shape()),
    }
}

fn read_typed(text: String, datatype: &str, place: &str) -> Result<Value, ParseError> {
    if NAME_TYPES.contains(&datatype) {
        return name(&text, place).map(Value::Name);
    }
    match (datatype, text.as_str()) {
        ("xsd:double", "NaN") => Ok(Value::Double(f64::NAN)),
        ("xsd:double", "INF") => Ok(Value::Double(f64::INFINITY)),
        ("xsd:double", "-INF") => Ok(Value::Double(f64::NEG_INFINITY)),
        _ => Ok(Value::Typed {
            text,
            datatype: name(datatype, place)?,
        }),
    }
}

fn take_time(
    fields: &mut Map<String, Json>,
    key: &str,
    place: &str,
) -> Result<Option<Timestamp>, ParseError> {
    let Some(value) = fields.remove(key) else {
        return Ok(None);
    };
    let value = match &value {
        Json::Object(typed) => text(typed.get("$").unwrap_or(&Json::Null), place)?,
        plain => text(plain, place)?,
    };
    let time = value.parse();
    time.map(Some).map_err(|source| ParseError::Time {
        place: place.to_owned(),
        source,
    })
}

fn merge(into: &mut Attributes, from: Attributes) {
    for (name, values) in from {
        into.entry(name).or_default().extend(values);
    }
}

fn object<'j>(value: &'j Json, place: &str) -> Result<&'j Map<String, Json>, ParseError> {
    let shape = || ParseError::Shape {
        place: place.to_owned(),
        expected: "an object",
    };
    value.as_object().ok_or_else(shape)
}

fn text<'j>(value: &'j Json, place: &str) -> Result<&'j str, ParseError> {
    let shape = || ParseError::Shape {
        place: place.to_owned(),
        expected: "text",
    };
    value.as_str().ok_or_else(shape)
}

fn name(text: &str, place: &str) -> Result<QualifiedName, ParseError> {
    text.parse().map_err(|source| ParseError::Name {
        place: place.to_owned(),
        source,
    })
}
