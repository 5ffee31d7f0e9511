//! The rows of the selections.

use super::{by_box, by_date, by_month, by_name, unknown_names};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::{Context, Operator, Outcome, Parameters};

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    vec![
        Operator::new("selname", "Select variables by name", |inputs, context| {
            for name in unknown_names(&inputs[0], context.arguments) {
                context.warn(format!("the input has no variable `{name}`"));
            }
            select(inputs, context, by_name)
        })
        .arguments("name[,name...]", 1..=usize::MAX)
        .details(
            "Coordinates, bounds and grid mappings follow. An unknown name is a warning; if \
             nothing is\nselected, an error.",
        )
        .example("-selname,tas,pr in.nc out.nc"),
        selection(
            "sellonlatbox",
            "Select a longitude/latitude box",
            by_box,
        )
        .arguments("west,east,south,north", 4..=4)
        .details(
            "Keeps cells whose centre lies in the closed box. Longitudes are taken modulo 360 and \
             the box may\nwrap around: 350,10,... gives longitudes -10 to 10. Curvilinear grids \
             give the enclosing index box.",
        )
        .example("-sellonlatbox,0,90,0,45 in.nc out.nc"),
        selection("seldate", "Select steps between two dates", by_date)
            .arguments("from[,to]", 1..=2)
            .details(
                "Dates are YYYY-MM-DD[Thh:mm:ss], inclusive; a bare end date covers all of its \
                 day. One date\nselects one day.",
            )
            .example("-seldate,2001-01-01,2010-12-31 in.nc out.nc"),
        selection("selmon", "Select steps by month of the year", by_month)
            .arguments("month[,month...]", 1..=usize::MAX)
            .details("Months are 1 to 12, as a list or as ranges from/to[/step].")
            .example("-selmon,6/8 in.nc out.nc"),
    ]
}

/// What a selection does to its input.
type Select = fn(&mut Cube, &Parameters<'_>) -> Result<(), CubeError>;

fn selection(name: &'static str, summary: &'static str, apply: Select) -> Operator {
    Operator::new(name, summary, move |inputs, context| {
        select(inputs, context, apply)
    })
}

fn select(
    mut inputs: Vec<Cube>,
    context: &mut Context<'_>,
    apply: Select,
) -> Result<Outcome, CubeError> {
    let mut cube = inputs.remove(0);
    apply(&mut cube, &context.parameters())?;
    Ok(cube.into())
}
