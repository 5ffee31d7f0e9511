//! The rows of the expressions.

use super::{evaluate, syntax};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::{Context, Operator, Outcome};

const DETAILS: &str = "\
Statements name=expression are separated by `;`; names that begin with _ are temporary, _ALL_ stands
for every variable in turn, remove(name) takes one out.
Operators, the loosest first: ?:, && and ||, == != < <= > >= <=>, + -, * / %, signs and !, ^.
Functions: abs floor ceil float int nint sqr sqrt exp ln log log10 sin cos tan asin acos atan sinh
cosh tanh asinh acosh atanh rad deg reci not isMissval; min max pow mod hypot atan2 (two arguments);
every operator of one input whose name begins with fld, zon, mer or vert; sellevel and sellevidx
(variable, level); clon clat gridarea clev clevidx ngp nlev size missval (variable); ctimestep cdate
ctime cdeltat cday cmonth cyear csecond cminute chour (no argument). Constants: M_PI M_E.
What lacks a dimension is repeated along it. A missing value makes the result missing (isMissval
apart), and so does what has no value. Results keep the units of their first variable where the
operation does; all other attributes but those of the grid are gone.";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let text = |context: &Context<'_>| Ok(context.arguments.join(","));
    vec![
        row("expr", "Compute variables by formulas", false, text)
            .example("-expr,celsius=ta-273.15;warm=celsius>25 in.nc out.nc"),
        row("aexpr", "Add variables computed by formulas", true, text)
            .example("-aexpr,celsius=ta-273.15 in.nc out.nc"),
        row("exprf", "As expr, with the formulas of a file", false, file)
            .example("-exprf,formulas.txt in.nc out.nc"),
        row(
            "aexprf",
            "As aexpr, with the formulas of a file",
            true,
            file,
        )
        .example("-aexprf,formulas.txt in.nc out.nc"),
    ]
}

fn row(
    name: &'static str,
    summary: &'static str,
    keeps: bool,
    text: fn(&Context<'_>) -> Result<String, CubeError>,
) -> Operator {
    let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
        let text = text(context)?;
        Ok(Outcome::from(evaluate(
            inputs.remove(0),
            context,
            &text,
            keeps,
        )?))
    };
    let (names, counts) = if name.ends_with('f') {
        ("file", 1..=1)
    } else {
        ("statements", 1..=usize::MAX)
    };
    Operator::new(name, summary, family)
        .arguments(names, counts)
        .details(DETAILS)
}

fn file(context: &Context<'_>) -> Result<String, CubeError> {
    use std::io::Read as _;
    let path = &context.arguments[0];
    let read = || {
        let mut text = String::new();
        // One byte more than is allowed: the parser refuses it.
        let limit = syntax::TEXT_BYTES_MAX as u64 + 1;
        std::fs::File::open(path)?
            .take(limit)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| CubeError::Parameter {
        operator: context.name(),
        path: path.clone(),
        source,
    })
}
