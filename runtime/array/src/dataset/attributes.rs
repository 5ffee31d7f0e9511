//! Attributes in the order of the file, with the type they are stored in.

/// The value of an attribute.
///
/// A scalar and a list of one are the same thing, as in NetCDF.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are the NetCDF types, by their size"
)]
pub enum AttrValue {
    Text(String),
    TextList(Vec<String>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    U16(Vec<u16>),
    I32(Vec<i32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl AttrValue {
    /// The numbers of a numeric attribute as doubles; `None` for text.
    #[must_use]
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        Some(match self {
            Self::Text(_) | Self::TextList(_) => return None,
            Self::I8(values) => values.iter().map(|&value| value.into()).collect(),
            Self::U8(values) => values.iter().map(|&value| value.into()).collect(),
            Self::I16(values) => values.iter().map(|&value| value.into()).collect(),
            Self::U16(values) => values.iter().map(|&value| value.into()).collect(),
            Self::I32(values) => values.iter().map(|&value| value.into()).collect(),
            Self::U32(values) => values.iter().map(|&value| value.into()).collect(),
            Self::I64(values) => values.iter().map(|&value| value as f64).collect(),
            Self::U64(values) => values.iter().map(|&value| value as f64).collect(),
            Self::F32(values) => values.iter().map(|&value| value.into()).collect(),
            Self::F64(values) => values.clone(),
        })
    }

    /// The first number of a numeric attribute.
    #[must_use]
    pub fn to_f64(&self) -> Option<f64> {
        self.to_f64s()?.first().copied()
    }

    /// The text, when it is one text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::TextList(texts) if texts.len() == 1 => Some(&texts[0]),
            _ => None,
        }
    }
}

impl From<&str> for AttrValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for AttrValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f32> for AttrValue {
    fn from(value: f32) -> Self {
        Self::F32(vec![value])
    }
}

impl From<f64> for AttrValue {
    fn from(value: f64) -> Self {
        Self::F64(vec![value])
    }
}

/// Attributes of packed values.
const PACKING: [&str; 6] = [
    "scale_factor",
    "add_offset",
    "valid_min",
    "valid_max",
    "valid_range",
    "_Unsigned",
];

/// Named values in the order in which the file holds them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(Vec<(String, AttrValue)>);

impl Attributes {
    /// The value called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AttrValue> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The value called `name`, when it is one text.
    #[must_use]
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// The first number of the value called `name`.
    #[must_use]
    pub fn get_f64(&self, name: &str) -> Option<f64> {
        self.get(name)?.to_f64()
    }

    /// Sets `name`, in its old place when it had one, else at the end.
    pub fn set(&mut self, name: &str, value: impl Into<AttrValue>) {
        let value = value.into();
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<AttrValue> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// Takes out what says how values are packed: they are unpacked when they are read.
    pub fn drop_packing(&mut self) {
        for name in PACKING {
            self.remove(name);
        }
    }

    /// Takes out all that says how values are stored, not what they are: what comes of them is
    /// stored anew.
    pub fn drop_storage(&mut self) {
        self.drop_packing();
        self.remove("_FillValue");
        self.remove("missing_value");
    }

    /// Puts a line before the `history` there is.
    pub fn begin_history(&mut self, line: &str) {
        let history = match self.get_text("history") {
            Some(before) if !before.is_empty() => format!("{line}\n{before}"),
            _ => line.to_owned(),
        };
        self.set("history", history);
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttrValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, AttrValue)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, AttrValue)>>(pairs: T) -> Self {
        let mut attributes = Self::default();
        for (name, value) in pairs {
            attributes.set(&name, value);
        }
        attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_keeps_the_place() {
        let mut attributes = Attributes::default();
        attributes.set("units", "K");
        attributes.set("scale", 2.0_f32);
        attributes.set("units", "degC");
        let names: Vec<&str> = attributes.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["units", "scale"]);
        assert_eq!(attributes.get_text("units"), Some("degC"));
        assert_eq!(attributes.get_f64("scale"), Some(2.0));
        assert_eq!(attributes.remove("units"), Some("degC".into()));
        assert_eq!(attributes.len(), 1);
    }
}
