//! CloudEvents SQL (CESQL 1.0): expressions over the attributes of an event, as filters of services.
//!
//! An [`Expression`] is read once, when a definition is: what can be known then is refused then,
//! with the column. Evaluation is total: it ends, it cannot panic, and what goes wrong is a
//! [`Fault`] beside a value. An event passes a filter only if the value is true and nothing went
//! wrong; in particular, a comparison with an attribute that the event lacks never passes.
//!
//! Source: cloudevents/spec `cesql/spec.md`, 1.0. Where it leaves a choice: AND binds tighter than
//! OR, and OR tighter than XOR (the order of its table, as in SQL); NOT and minus bind tighter than
//! all else; a result beyond 32 bits is a fault.

mod evaluate;
mod function;
mod lexer;
mod parser;
mod value;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use value::{Fault, Type, Value};

/// Longest expression.
pub const MAX_BYTES: usize = 4096;

/// Deepest nesting of parentheses, calls, NOT and minus.
pub const MAX_NESTING: usize = 64;

/// Most operators, calls and values in one expression.
pub const MAX_NODES: usize = 512;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct SyntaxError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
}

/// What an expression gives: a value always, and the first thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The value; after a fault that of its type which means nothing: 0, false, an empty text.
    pub value: Value<'a>,
    /// What went wrong.
    pub fault: Option<Fault>,
}

/// A checked expression. Two are equal if their texts are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    root: parser::Node,
}

impl Expression {
    /// Evaluates the expression for an event in structured JSON.
    #[must_use]
    pub fn evaluate<'a>(&'a self, event: &'a Json) -> Outcome<'a> {
        evaluate::evaluate(&self.root, event)
    }

    /// Whether the event passes: the value is true, and nothing went wrong.
    #[must_use]
    pub fn passes(&self, event: &Json) -> bool {
        let outcome = self.evaluate(event);
        outcome.fault.is_none() && outcome.value == Value::Boolean(true)
    }

    /// Whether the expression asks for an attribute.
    #[must_use]
    pub fn mentions(&self, attribute: &str) -> bool {
        self.root.mentions(attribute)
    }

    /// What the value is, where that does not depend on the event.
    #[must_use]
    pub fn gives(&self) -> Option<Type> {
        self.root.gives()
    }
}

impl FromStr for Expression {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > MAX_BYTES {
            let column = 1 + text
                .char_indices()
                .take_while(|(at, _)| *at < MAX_BYTES)
                .count();
            let problem = format!("an expression may have {MAX_BYTES} bytes");
            return Err(SyntaxError { column, problem });
        }
        Ok(Self {
            text: text.to_owned(),
            root: parser::parse(text)?,
        })
    }
}

impl TryFrom<String> for Expression {
    type Error = SyntaxError;

    fn try_from(text: String) -> Result<Self, SyntaxError> {
        text.parse()
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests;
