//! Values of three types, how one becomes another, and what can go wrong.

use std::borrow::Cow;
use std::fmt;

/// Longest text that an expression makes or looks at: attributes of an event may be long, and
/// CONCAT may name one many times.
pub(super) const MAX_TEXT_BYTES: usize = 65_536;

/// A type of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Boolean,
    /// A whole number of 32 bits.
    Integer,
    /// A text.
    String,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "true or false",
            Self::Integer => "a number",
            Self::String => "a text",
        })
    }
}

impl Type {
    /// The value that stands for none.
    pub(super) fn zero(self) -> Value<'static> {
        match self {
            Self::Boolean => Value::Boolean(false),
            Self::Integer => Value::Integer(0),
            Self::String => Value::String(Cow::Borrowed("")),
        }
    }
}

/// A value of the language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// A text.
    String(Cow<'a, str>),
}

/// What went wrong while an expression was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The event has no such attribute.
    #[error("the event has no attribute `{name}`")]
    MissingAttribute {
        /// The attribute.
        name: String,
    },
    /// A value is not of the type that is needed, and does not become it.
    #[error("`{value}` is not {wanted}")]
    Cast {
        /// The value, cut.
        value: String,
        /// The type.
        wanted: Type,
    },
    /// A division by zero, or a result beyond 32 bits.
    #[error("{problem}")]
    Math {
        /// Which.
        problem: &'static str,
    },
    /// A function got what it cannot work on.
    #[error("{function}: {problem}")]
    Function {
        /// Its name.
        function: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
}

impl<'a> Value<'a> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self {
            Self::Boolean(_) => Type::Boolean,
            Self::Integer(_) => Type::Integer,
            Self::String(_) => Type::String,
        }
    }

    fn misfit(&self, wanted: Type) -> Fault {
        let value = self.text().chars().take(64).collect();
        Fault::Cast { value, wanted }
    }

    /// As a text; every value has one.
    pub(super) fn text(&self) -> Cow<'a, str> {
        match self {
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Integer(value) => Cow::Owned(value.to_string()),
            Self::String(value) => value.clone(),
        }
    }

    /// As a number.
    pub(super) fn integer(&self) -> Result<i32, Fault> {
        match self {
            Self::Boolean(value) => Ok(i32::from(*value)),
            Self::Integer(value) => Ok(*value),
            Self::String(value) => value.parse().map_err(|_| self.misfit(Type::Integer)),
        }
    }

    /// As true or false.
    pub(super) fn boolean(&self) -> Result<bool, Fault> {
        match self {
            Self::Boolean(value) => Ok(*value),
            Self::Integer(value) => Ok(*value != 0),
            Self::String(value) if value.eq_ignore_ascii_case("true") => Ok(true),
            Self::String(value) if value.eq_ignore_ascii_case("false") => Ok(false),
            Self::String(_) => Err(self.misfit(Type::Boolean)),
        }
    }

    /// As a value of a type.
    pub(super) fn cast(&self, wanted: Type) -> Result<Value<'a>, Fault> {
        match wanted {
            Type::Boolean => self.boolean().map(Value::Boolean),
            Type::Integer => self.integer().map(Value::Integer),
            Type::String => Ok(Value::String(self.text())),
        }
    }
}
