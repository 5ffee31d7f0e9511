//! The value of a tree for an event. After a fault the rest is not asked: the value is the one
//! that means nothing, and the fault goes up with it.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::Outcome;
use super::parser::{Node, Operator};
use super::value::{Fault, MAX_TEXT_BYTES, Type, Value};
use crate::wildcard;

/// A value, or the value that stands for it with the fault.
pub(super) type Result<'a, T = Value<'a>> = std::result::Result<T, Box<Outcome<'a>>>;

/// The failure of something that gives `kind`.
pub(super) fn failed<'a>(kind: Type, fault: Fault) -> Box<Outcome<'a>> {
    Box::new(Outcome {
        value: kind.zero(),
        fault: Some(fault),
    })
}

pub(super) fn evaluate<'a>(node: &'a Node, event: &'a Json) -> Outcome<'a> {
    match value(node, event) {
        Ok(value) => Outcome { value, fault: None },
        Err(outcome) => *outcome,
    }
}

/// The value of a part, as that of something which gives `kind`.
fn operand<'a>(node: &'a Node, event: &'a Json, kind: Type) -> Result<'a> {
    value(node, event).map_err(|mut outcome| {
        outcome.value = kind.zero();
        outcome
    })
}

fn value<'a>(node: &'a Node, event: &'a Json) -> Result<'a> {
    match node {
        Node::Literal(value) => Ok(value.clone()),
        Node::Attribute(name) => attribute(event, name),
        Node::Exists(name) => Ok(Value::Boolean(
            event.get(name).is_some_and(|value| !value.is_null()),
        )),
        Node::Not(one) => Ok(Value::Boolean(!boolean(one, event)?)),
        Node::Negate(one) => {
            let number = integer(one, event)?;
            number.checked_neg().map(Value::Integer).ok_or_else(|| {
                Box::new(Outcome {
                    value: Value::Integer(i32::MAX),
                    fault: Some(Fault::Math { problem: BEYOND }),
                })
            })
        }
        Node::Binary(operator, left, right) => binary(*operator, left, right, event),
        Node::Like {
            text,
            pattern,
            negated,
        } => {
            let text = operand(text, event, Type::Boolean)?.text();
            Ok(Value::Boolean(
                wildcard::matches(pattern, &text) != *negated,
            ))
        }
        Node::In {
            value,
            set,
            negated,
        } => is_in(value, set, event).map(|found| Value::Boolean(found != *negated)),
        Node::Call(function, given) => {
            let mut values = Vec::with_capacity(given.len());
            for one in given {
                values.push(operand(one, event, function.gives)?);
            }
            function.call(&values)
        }
    }
}

const BEYOND: &str = "the result is beyond the numbers of 32 bits";

fn attribute<'a>(event: &'a Json, name: &str) -> Result<'a> {
    let too_long = Fault::Function {
        function: "attribute",
        problem: "is longer than 65536 bytes",
    };
    match event.get(name) {
        Some(Json::String(text)) if text.len() > MAX_TEXT_BYTES => {
            Err(failed(Type::String, too_long))
        }
        Some(Json::String(text)) => Ok(Value::String(Cow::Borrowed(text))),
        Some(Json::Bool(value)) => Ok(Value::Boolean(*value)),
        Some(Json::Number(number)) => {
            let small = number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok());
            Ok(small.map_or_else(
                || Value::String(Cow::Owned(number.to_string())),
                Value::Integer,
            ))
        }
        _ => Err(failed(
            Type::String,
            Fault::MissingAttribute {
                name: name.to_owned(),
            },
        )),
    }
}

fn boolean<'a>(node: &'a Node, event: &'a Json) -> Result<'a, bool> {
    let value = operand(node, event, Type::Boolean)?;
    value
        .boolean()
        .map_err(|fault| failed(Type::Boolean, fault))
}

/// A number, for an operator that gives one.
fn integer<'a>(node: &'a Node, event: &'a Json) -> Result<'a, i32> {
    let value = operand(node, event, Type::Integer)?;
    value
        .integer()
        .map_err(|fault| failed(Type::Integer, fault))
}

fn binary<'a>(operator: Operator, left: &'a Node, right: &'a Node, event: &'a Json) -> Result<'a> {
    let truth = |value| Ok(Value::Boolean(value));
    match operator {
        Operator::And => truth(boolean(left, event)? && boolean(right, event)?),
        Operator::Or => truth(boolean(left, event)? || boolean(right, event)?),
        Operator::Xor => truth(boolean(left, event)? != boolean(right, event)?),
        Operator::Equal => truth(is_equal(left, right, event)?),
        Operator::Unequal => truth(!is_equal(left, right, event)?),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            let number = |node| -> Result<'a, i32> {
                let value = operand(node, event, Type::Boolean)?;
                value
                    .integer()
                    .map_err(|fault| failed(Type::Boolean, fault))
            };
            let (left, right) = (number(left)?, number(right)?);
            truth(match operator {
                Operator::Less => left < right,
                Operator::LessOrEqual => left <= right,
                Operator::Greater => left > right,
                _ => left >= right,
            })
        }
        _ => {
            let (left, right) = (integer(left, event)?, integer(right, event)?);
            let by_zero = right == 0 && matches!(operator, Operator::Divide | Operator::Remainder);
            let result = match operator {
                Operator::Add => left.checked_add(right),
                Operator::Subtract => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                Operator::Divide => left.checked_div(right),
                _ if by_zero => None,
                _ => Some(left.wrapping_rem(right)),
            };
            let problem = if by_zero {
                "a division by zero"
            } else {
                BEYOND
            };
            result
                .map(Value::Integer)
                .ok_or_else(|| failed(Type::Integer, Fault::Math { problem }))
        }
    }
}

/// The left operand is taken as what the right one is.
fn is_equal<'a>(left: &'a Node, right: &'a Node, event: &'a Json) -> Result<'a, bool> {
    let (left, right) = (
        operand(left, event, Type::Boolean)?,
        operand(right, event, Type::Boolean)?,
    );
    let left = left.cast(right.kind());
    left.map(|left| left == right)
        .map_err(|fault| failed(Type::Boolean, fault))
}

/// The values of the set are taken as what the value is.
fn is_in<'a>(value: &'a Node, set: &'a [Node], event: &'a Json) -> Result<'a, bool> {
    let value = operand(value, event, Type::Boolean)?;
    for one in set {
        let one = operand(one, event, Type::Boolean)?;
        let one = one.cast(value.kind());
        if one.map_err(|fault| failed(Type::Boolean, fault))? == value {
            return Ok(true);
        }
    }
    Ok(false)
}
