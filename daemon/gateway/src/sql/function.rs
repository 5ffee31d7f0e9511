//! The functions of the language.

use std::borrow::Cow;

use super::Outcome;
use super::evaluate::{Result, failed};
use super::value::{Fault, MAX_TEXT_BYTES, Type, Value};

/// A function: its name, how many values it takes and what it gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    /// What it gives.
    pub(super) gives: Type,
}

const fn function(name: &'static str, least: usize, most: usize, gives: Type) -> Function {
    Function {
        name,
        least,
        most,
        gives,
    }
}

const ANY: usize = usize::MAX;

const FUNCTIONS: [Function; 15] = [
    function("ABS", 1, 1, Type::Integer),
    function("BOOL", 1, 1, Type::Boolean),
    function("CONCAT", 0, ANY, Type::String),
    function("CONCAT_WS", 1, ANY, Type::String),
    function("INT", 1, 1, Type::Integer),
    function("IS_BOOL", 1, 1, Type::Boolean),
    function("IS_INT", 1, 1, Type::Boolean),
    function("LEFT", 2, 2, Type::String),
    function("LENGTH", 1, 1, Type::Integer),
    function("LOWER", 1, 1, Type::String),
    function("RIGHT", 2, 2, Type::String),
    function("STRING", 1, 1, Type::String),
    function("SUBSTRING", 2, 3, Type::String),
    function("TRIM", 1, 1, Type::String),
    function("UPPER", 1, 1, Type::String),
];

impl Function {
    /// The function of this name that takes so many values, or why there is none.
    pub(super) fn find(name: &str, given: usize) -> std::result::Result<Self, String> {
        let found = FUNCTIONS
            .into_iter()
            .find(|function| function.name.eq_ignore_ascii_case(name));
        let Some(found) = found else {
            let names: Vec<_> = FUNCTIONS.iter().map(|function| function.name).collect();
            return Err(format!(
                "there is no function `{name}`; there are {}",
                names.join(", ")
            ));
        };
        if (found.least..=found.most).contains(&given) {
            return Ok(found);
        }
        let wanted = match (found.least, found.most) {
            (least, ANY) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(format!("{} takes {wanted} values, not {given}", found.name))
    }

    /// Calls it with as many values as it takes.
    pub(super) fn call<'a>(self, given: &[Value<'a>]) -> Result<'a> {
        let cast = |fault| failed(self.gives, fault);
        let text = |index: usize| given.get(index).map_or(Cow::Borrowed(""), Value::text);
        let number = |index: usize| given.get(index).map_or(Ok(0), Value::integer).map_err(cast);
        let first = given
            .first()
            .cloned()
            .unwrap_or_else(|| Type::String.zero());
        match self.name {
            "ABS" => {
                let number = number(0)?;
                number.checked_abs().map(Value::Integer).ok_or_else(|| {
                    let problem = "the absolute value is beyond the numbers of 32 bits";
                    beside(Value::Integer(i32::MAX), Fault::Math { problem })
                })
            }
            "BOOL" => first.boolean().map(Value::Boolean).map_err(cast),
            "INT" => number(0).map(Value::Integer),
            "STRING" => Ok(Value::String(text(0))),
            "IS_BOOL" => Ok(Value::Boolean(first.boolean().is_ok())),
            "IS_INT" => Ok(Value::Boolean(first.integer().is_ok())),
            "LENGTH" => {
                let length = text(0).chars().count();
                Ok(Value::Integer(i32::try_from(length).unwrap_or(i32::MAX)))
            }
            "CONCAT" => self.join("", given),
            "CONCAT_WS" => self.join(&text(0), given.get(1..).unwrap_or_default()),
            "LOWER" => self.bounded(text(0).to_lowercase()),
            "UPPER" => self.bounded(text(0).to_uppercase()),
            "TRIM" => Ok(owned(
                text(0).trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}']),
            )),
            "LEFT" | "RIGHT" => self.side(&text(0), number(1)?),
            _ => {
                let length = given.get(2).map(|_| number(2)).transpose()?;
                self.substring(&text(0), number(1)?, length)
            }
        }
    }

    fn fault(self, problem: &'static str) -> Fault {
        Fault::Function {
            function: self.name,
            problem,
        }
    }

    fn bounded<'a>(self, text: String) -> Result<'a> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(failed(
                Type::String,
                self.fault("the text would be longer than 65536 bytes"),
            ));
        }
        Ok(Value::String(Cow::Owned(text)))
    }

    fn join<'a>(self, delimiter: &str, given: &[Value<'a>]) -> Result<'a> {
        let mut joined = String::new();
        for (index, value) in given.iter().enumerate() {
            if index > 0 {
                joined.push_str(delimiter);
            }
            joined.push_str(&value.text());
            if joined.len() > MAX_TEXT_BYTES {
                break;
            }
        }
        self.bounded(joined)
    }

    /// The first or last characters.
    fn side<'a>(self, text: &str, count: i32) -> Result<'a> {
        let Ok(count) = usize::try_from(count) else {
            let fault = self.fault("the number of characters is negative");
            return Err(beside(owned(text), fault));
        };
        let length = text.chars().count();
        let skipped = if self.name == "LEFT" {
            0
        } else {
            length.saturating_sub(count)
        };
        Ok(owned_chars(text, skipped, count))
    }

    fn substring<'a>(self, text: &str, start: i32, count: Option<i32>) -> Result<'a> {
        let length = text.chars().count();
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        let fault = |problem| Err(failed(Type::String, self.fault(problem)));
        if start > length || start < -length {
            return fault("the position is outside the text");
        }
        let Ok(count) = count.map_or(Ok(usize::MAX), usize::try_from) else {
            return fault("the length is negative");
        };
        let skipped = match start {
            0 => return Ok(owned("")),
            1.. => start - 1,
            _ => length + start,
        };
        Ok(owned_chars(
            text,
            usize::try_from(skipped).unwrap_or(0),
            count,
        ))
    }
}

fn owned(text: &str) -> Value<'static> {
    Value::String(Cow::Owned(text.to_owned()))
}

fn owned_chars(text: &str, skipped: usize, count: usize) -> Value<'static> {
    Value::String(Cow::Owned(text.chars().skip(skipped).take(count).collect()))
}

/// A fault beside a value that means something all the same.
fn beside(value: Value<'_>, fault: Fault) -> Box<Outcome<'_>> {
    Box::new(Outcome {
        value,
        fault: Some(fault),
    })
}
