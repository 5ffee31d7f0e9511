//! The units of results: squares of variances, products, quotients, and what has none.
//!
//! One rule for all families: units are written as UDUNITS reads them, those that cannot be told
//! are left out, and a standard name that says something else goes with them. With `--cdo` the
//! attributes stay those of the input, as in CDO. Values are never converted.

use super::cellwise::{Binary, Unary};
use crate::cube::Cube;
use crate::dataset::{Attributes, Variable};

/// What an operator does to the units of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They stay.
    Nothing,
    /// They are squared; the quantity keeps its name, `cell_methods` says what it is.
    Variance,
    /// They are squared.
    Square,
    Root,
    Inverse,
    /// The result has the units `1`.
    None,
    /// The result is an angle.
    Radians,
    /// They cannot be told.
    Unknown,
}

impl Change {
    /// Of a function of one input.
    pub(crate) fn of_unary(function: Unary) -> Self {
        match function {
            Unary::Square => Self::Square,
            Unary::SquareRoot => Self::Root,
            Unary::Reciprocal => Self::Inverse,
            Unary::Exponential
            | Unary::Logarithm
            | Unary::Logarithm10
            | Unary::Sine
            | Unary::Cosine
            | Unary::Tangent
            | Unary::Not => Self::None,
            Unary::ArcSine | Unary::ArcCosine | Unary::ArcTangent => Self::Radians,
            _ => Self::Nothing,
        }
    }

    /// Of a function of an input and a number.
    pub(crate) fn of_constant(function: Binary, number: f64) -> Self {
        match function {
            Binary::Power if number == 2.0 => Self::Square,
            Binary::Power if number != 1.0 => Self::Unknown,
            _ if is_comparison(function) => Self::None,
            _ => Self::Nothing,
        }
    }

    /// Changes the attributes of one variable.
    pub(crate) fn apply(self, attributes: &mut Attributes) {
        let units = attributes.get_text("units").map(str::to_owned);
        let new = match self {
            Self::Nothing => return,
            Self::Variance | Self::Square => units.as_deref().map(square),
            Self::Root => units.as_deref().and_then(root),
            Self::Inverse => units.as_deref().map(|units| quotient("1", units)),
            Self::None => Some("1".to_owned()),
            Self::Radians => Some("rad".to_owned()),
            Self::Unknown => None,
        };
        set(attributes, new, self == Self::Variance);
    }

    /// Changes the attributes of each data variable, unless they are to be CDO's.
    pub(crate) fn apply_to_all(self, cube: &mut Cube, is_like_cdo: bool) {
        if !is_like_cdo {
            for index in cube.dataset.data_variables() {
                self.apply(&mut cube.dataset.variables[index].attributes);
            }
        }
    }
}

/// The units of functions of two inputs.
pub(crate) struct OfTwo {
    /// The name of each variable and what it gets, where something changes.
    changes: Vec<(String, Option<String>)>,
}

impl OfTwo {
    /// From the inputs, before they are combined.
    pub(crate) fn new(function: Binary, first: &Cube, second: &Cube) -> Self {
        let variables = |cube: &Cube| -> Vec<Variable> {
            let data = cube.dataset.data_variables().into_iter();
            data.map(|index| cube.dataset.variables[index].clone())
                .collect()
        };
        let (of_first, of_second) = (variables(first), variables(second));
        // Variables pair by name, or where one has one it goes with all.
        let units = |own: &[Variable], name: &str| {
            let same = own.iter().find(|variable| variable.name == name);
            let found = same.or(own.first().filter(|_| own.len() == 1))?;
            found.attributes.get_text("units").map(str::to_owned)
        };
        let of_name = |name: &str| {
            let (left, right) = (units(&of_first, name), units(&of_second, name));
            let both = left.as_deref().zip(right.as_deref());
            let new = match function {
                Binary::Multiply => both.map(|(left, right)| product(left, right)),
                Binary::Divide => both.map(|(left, right)| quotient(left, right)),
                Binary::ArcTangent => Some("rad".to_owned()),
                _ if is_comparison(function) => Some("1".to_owned()),
                _ => left.clone(),
            };
            (left != new).then(|| (name.to_owned(), new))
        };
        let all = of_first.iter().chain(&of_second);
        let changes = all.filter_map(|variable| of_name(&variable.name));
        Self {
            changes: changes.collect(),
        }
    }

    /// Changes the attributes of the result, unless they are to be CDO's.
    pub(crate) fn apply(self, cube: &mut Cube, is_like_cdo: bool) {
        if is_like_cdo {
            return;
        }
        for (name, new) in self.changes {
            if let Some(index) = cube.dataset.variable_index(&name) {
                set(&mut cube.dataset.variables[index].attributes, new, false);
            }
        }
    }
}

fn is_comparison(function: Binary) -> bool {
    matches!(
        function,
        Binary::Equal
            | Binary::NotEqual
            | Binary::Less
            | Binary::LessOrEqual
            | Binary::Greater
            | Binary::GreaterOrEqual
    )
}

fn set(attributes: &mut Attributes, units: Option<String>, keeps_name: bool) {
    if attributes.get_text("units") == units.as_deref() {
        return;
    }
    if !keeps_name {
        attributes.remove("standard_name");
    }
    match units {
        Some(units) => attributes.set("units", units),
        None => drop(attributes.remove("units")),
    }
}

/// Units squared.
pub(crate) fn square(units: &str) -> String {
    match units.trim() {
        "1" | "" => "1".to_owned(),
        units if is_symbol(units) => format!("{units}2"),
        units => format!("({units})2"),
    }
}

/// The units whose square these are, if they are written as one.
fn root(units: &str) -> Option<String> {
    let units = units.trim();
    if units == "1" {
        return Some("1".to_owned());
    }
    let base = units.strip_suffix('2')?;
    let inner = base
        .strip_prefix('(')
        .and_then(|base| base.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.contains(['(', ')']) => Some(inner.to_owned()),
        _ if is_symbol(base) => Some(base.to_owned()),
        _ => None,
    }
}

/// The units of a product.
pub(crate) fn product(left: &str, right: &str) -> String {
    match (left.trim(), right.trim()) {
        ("1" | "", other) | (other, "1" | "") => other.to_owned(),
        (left, right) if left == right => square(left),
        (left, right) => format!("{} {}", factor(left), factor(right)),
    }
}

/// The units of a quotient.
fn quotient(left: &str, right: &str) -> String {
    let (left, right) = (left.trim(), right.trim());
    let inverse = match is_symbol(right) {
        true => format!("{right}-1"),
        false => format!("({right})-1"),
    };
    match (left, right) {
        (left, "1" | "") => left.to_owned(),
        (left, right) if left == right => "1".to_owned(),
        ("1" | "", _) => inverse,
        (left, _) => format!("{} {inverse}", factor(left)),
    }
}

/// As it can stand beside another: a sum or a quotient with a stroke needs brackets.
fn factor(units: &str) -> String {
    match units.contains('/') || units.contains(" since ") {
        true => format!("({units})"),
        false => units.to_owned(),
    }
}

fn is_symbol(units: &str) -> bool {
    !units.is_empty() && units.chars().all(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_and_powers_are_written_as_udunits_reads_them() {
        assert_eq!(square("K"), "K2");
        assert_eq!(square("m s-1"), "(m s-1)2");
        assert_eq!(square("1"), "1");
        for units in ["K", "m s-1", "1"] {
            assert_eq!(root(&square(units)).as_deref(), Some(units));
        }
        assert_eq!(root("K"), None);
        assert_eq!(root("m s-2"), None);
        for (left, right, both, over) in [
            ("K", "m", "K m", "K m-1"),
            ("K", "1", "K", "K"),
            ("1", "K", "K", "K-1"),
            ("K", "K", "K2", "1"),
            ("kg m-2", "s", "kg m-2 s", "kg m-2 s-1"),
            ("K", "m s-1", "K m s-1", "K (m s-1)-1"),
            ("W/m2", "s", "(W/m2) s", "(W/m2) s-1"),
            ("%", "K", "% K", "% K-1"),
        ] {
            assert_eq!(product(left, right), both);
            assert_eq!(quotient(left, right), over);
        }
    }

    #[test]
    fn a_standard_name_goes_where_the_quantity_is_another() {
        let given = || {
            let pairs = [("units", "K"), ("standard_name", "air_temperature")];
            let pairs = pairs.map(|(name, text)| (name.to_owned(), text.into()));
            Attributes::from_iter(pairs)
        };
        for (change, units, has_name) in [
            (Change::Nothing, Some("K"), true),
            (Change::Variance, Some("K2"), true),
            (Change::Square, Some("K2"), false),
            (Change::Root, None, false),
            (Change::Inverse, Some("K-1"), false),
            (Change::None, Some("1"), false),
            (Change::Unknown, None, false),
        ] {
            let mut attributes = given();
            change.apply(&mut attributes);
            assert_eq!(attributes.get_text("units"), units, "{change:?}");
            let found = attributes.get("standard_name").is_some();
            assert_eq!(found, has_name, "{change:?}");
        }
    }
}
