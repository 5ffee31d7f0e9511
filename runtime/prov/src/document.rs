//! PROV-DM, as far as jobs need it: elements, relations and their attributes.

use std::collections::{BTreeMap, BTreeSet};

use crate::name::QualifiedName;
use crate::time::Timestamp;

/// Attributes of a record; a name may have several values.
pub type Attributes = BTreeMap<QualifiedName, Vec<Value>>;

/// A set of PROV statements and the namespaces that their names use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Prefix to namespace; `prov` and `xsd` are known without being here.
    pub prefixes: BTreeMap<String, String>,
    /// The namespace of names without prefix.
    pub default_namespace: Option<String>,
    /// Things, each in a fixed state.
    pub entities: BTreeMap<QualifiedName, Attributes>,
    /// What happened.
    pub activities: BTreeMap<QualifiedName, Activity>,
    /// Who bears responsibility.
    pub agents: BTreeMap<QualifiedName, Attributes>,
    /// How they relate, in the order in which they were stated.
    pub relations: BTreeMap<RelationKind, Vec<Relation>>,
}

/// Something that happened over a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activity {
    /// When it began.
    pub start: Option<Timestamp>,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// What else is known.
    pub attributes: Attributes,
}

/// One statement that relates elements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Relation {
    /// Its own name, if it has one.
    pub id: Option<QualifiedName>,
    /// The elements, by their role (`entity`, `activity`, …; see [`RelationKind::roles`]).
    pub elements: BTreeMap<&'static str, QualifiedName>,
    /// When, where the kind has a time.
    pub time: Option<Timestamp>,
    /// What else is known.
    pub attributes: Attributes,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Plain text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A real number; not finite ones are written as typed text.
    Double(f64),
    /// True or false.
    Boolean(bool),
    /// A name.
    Name(QualifiedName),
    /// Text of another data type.
    Typed {
        /// The text.
        text: String,
        /// Its type.
        datatype: QualifiedName,
    },
    /// Text in a natural language.
    Tagged {
        /// The text.
        text: String,
        /// The language tag.
        language: String,
    },
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<QualifiedName> for Value {
    fn from(name: QualifiedName) -> Self {
        Self::Name(name)
    }
}

/// The relations of PROV that this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "the names are those of PROV-DM; `roles` says what they relate"
)]
pub enum RelationKind {
    Used,
    WasGeneratedBy,
    WasAssociatedWith,
    WasAttributedTo,
    WasInformedBy,
    WasStartedBy,
    WasEndedBy,
    WasDerivedFrom,
    ActedOnBehalfOf,
    SpecializationOf,
    HadMember,
}

impl RelationKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Used,
        Self::WasGeneratedBy,
        Self::WasAssociatedWith,
        Self::WasAttributedTo,
        Self::WasInformedBy,
        Self::WasStartedBy,
        Self::WasEndedBy,
        Self::WasDerivedFrom,
        Self::ActedOnBehalfOf,
        Self::SpecializationOf,
        Self::HadMember,
    ];

    /// Its name in PROV-JSON and PROV-N.
    #[must_use]
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::WasGeneratedBy => "wasGeneratedBy",
            Self::WasAssociatedWith => "wasAssociatedWith",
            Self::WasAttributedTo => "wasAttributedTo",
            Self::WasInformedBy => "wasInformedBy",
            Self::WasStartedBy => "wasStartedBy",
            Self::WasEndedBy => "wasEndedBy",
            Self::WasDerivedFrom => "wasDerivedFrom",
            Self::ActedOnBehalfOf => "actedOnBehalfOf",
            Self::SpecializationOf => "specializationOf",
            Self::HadMember => "hadMember",
        }
    }

    /// The roles of the elements that it relates; the first is always present.
    #[must_use]
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Used => &["activity", "entity"],
            Self::WasGeneratedBy => &["entity", "activity"],
            Self::WasAssociatedWith => &["activity", "agent", "plan"],
            Self::WasAttributedTo => &["entity", "agent"],
            Self::WasInformedBy => &["informed", "informant"],
            Self::WasStartedBy => &["activity", "trigger", "starter"],
            Self::WasEndedBy => &["activity", "trigger", "ender"],
            Self::WasDerivedFrom => &[
                "generatedEntity",
                "usedEntity",
                "activity",
                "generation",
                "usage",
            ],
            Self::ActedOnBehalfOf => &["delegate", "responsible", "activity"],
            Self::SpecializationOf => &["specificEntity", "generalEntity"],
            Self::HadMember => &["collection", "entity"],
        }
    }

    /// Does the relation happen at a time?
    #[must_use]
    pub fn has_time(self) -> bool {
        matches!(
            self,
            Self::Used | Self::WasGeneratedBy | Self::WasStartedBy | Self::WasEndedBy
        )
    }
}

impl Document {
    /// States a relation between `elements`, given in the order of [`RelationKind::roles`];
    /// `None` leaves an optional role open.
    pub fn relate<'n>(
        &mut self,
        kind: RelationKind,
        elements: impl IntoIterator<Item = Option<&'n QualifiedName>>,
        time: Option<Timestamp>,
    ) {
        let elements = kind
            .roles()
            .iter()
            .zip(elements)
            .filter_map(|(role, name)| Some((*role, name?.clone())))
            .collect();
        let relation = Relation {
            elements,
            time,
            ..Relation::default()
        };
        self.relations.entry(kind).or_default().push(relation);
    }

    /// The relations of a kind.
    #[must_use]
    pub fn relations_of(&self, kind: RelationKind) -> &[Relation] {
        self.relations.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Prefixes that names of this document use and that nothing declares.
    #[must_use]
    pub fn undeclared_prefixes(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        let mut see = |name: &QualifiedName| {
            used.insert(name.prefix().to_owned());
        };
        for (name, attributes) in self.entities.iter().chain(&self.agents) {
            see(name);
            see_attributes(attributes, &mut see);
        }
        for (name, activity) in &self.activities {
            see(name);
            see_attributes(&activity.attributes, &mut see);
        }
        for relation in self.relations.values().flatten() {
            relation
                .id
                .iter()
                .chain(relation.elements.values())
                .for_each(&mut see);
            see_attributes(&relation.attributes, &mut see);
        }
        used.retain(|prefix| match prefix.as_str() {
            "prov" | "xsd" => false,
            "" => self.default_namespace.is_none(),
            other => !self.prefixes.contains_key(other),
        });
        used
    }
}

fn see_attributes(attributes: &Attributes, see: &mut impl FnMut(&QualifiedName)) {
    for (name, values) in attributes {
        see(name);
        for value in values {
            match value {
                Value::Name(name) | Value::Typed { datatype: name, .. } => see(name),
                _ => {}
            }
        }
    }
}
