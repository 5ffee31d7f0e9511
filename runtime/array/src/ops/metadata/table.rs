//! The rows of the operators that leave values as they are.

use super::{change_units, clock, first, invert, rename, rename_pairs, set_attributes};
use crate::cube::Cube;
use crate::dataset::Axis;
use crate::error::CubeError;
use crate::ops::{Context, Operator, Outcome};

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let mut rows = names();
    rows.extend(times());
    rows.push(
        row(
            "invertlat",
            "Turn the order of latitudes round",
            |cube, context| invert(cube, context.name(), Axis::Latitude),
        )
        .details("Of all variables, with the coordinate and its bounds."),
    );
    rows.push(
        row(
            "invertlev",
            "Turn the order of levels round",
            |cube, context| invert(cube, context.name(), Axis::Level),
        )
        .details("Of all variables, with the coordinate and its bounds."),
    );
    rows
}

fn row(
    name: &'static str,
    summary: &'static str,
    apply: fn(Cube, &mut Context<'_>) -> Result<Cube, CubeError>,
) -> Operator {
    let family = move |mut inputs: Vec<Cube>, context: &mut Context<'_>| {
        Ok(Outcome::from(apply(inputs.remove(0), context)?))
    };
    Operator::new(name, summary, family)
}

fn names() -> Vec<Operator> {
    vec![
        row("chname", "Rename variables or coordinates", rename_pairs)
            .arguments("old,new[,old,new...]", 2..=200)
            .details(
                "A coordinate's dimension is renamed with it, and every attribute that names it. \
                 An unknown name\nis a warning.",
            )
            .example("-chname,tas,temperature in.nc out.nc"),
        row(
            "setname",
            "Rename the first variable",
            |mut cube, context| {
                let parameters = context.parameters();
                let index = first(&cube, context.name())?;
                let old = cube.dataset.variables[index].name.clone();
                rename(&mut cube, &old, &parameters.values[0], &parameters, 0)?;
                Ok(cube)
            },
        )
        .arguments("name", 1..=1)
        .details("All else stays.")
        .example("-setname,temperature in.nc out.nc"),
        row(
            "setunit",
            "Set the units of the first variable",
            |mut cube, context| {
                let index = first(&cube, context.name())?;
                let units = context.arguments[0].as_str();
                cube.dataset.variables[index].attributes.set("units", units);
                Ok(cube)
            },
        )
        .arguments("units", 1..=1)
        .details("Values are not converted.")
        .example("-setunit,degC -subc,273.15 in.nc out.nc"),
        row(
            "chunit",
            "Set other units where a variable has these",
            |cube, context| change_units(cube, &context.parameters()),
        )
        .arguments("old,new[,old,new...]", 2..=200)
        .details("Values are not converted.")
        .example("-chunit,K,degC -subc,273.15 in.nc out.nc"),
        row(
            "setattribute",
            "Set attributes of variables or of the file",
            set_attributes,
        )
        .arguments("[variable@]attribute=value[,...]", 1..=200)
        .details(
            "Without a variable it is one of the file; * is every data variable. Whole \
                 numbers, numbers and texts\nare told apart, unless :i, :d or :s follows the name; \
                 more values follow by commas. No value\nremoves it. Attributes that say how data \
                 is stored cannot be set.",
        )
        .example("-setattribute,tas@long_name=warmth,source=Mizar in.nc out.nc"),
    ]
}

fn times() -> Vec<Operator> {
    vec![
        row("shifttime", "Shift all times", |cube, context| {
            clock::shift(cube, &context.parameters())
        })
        .arguments("span", 1..=1)
        .details("Bounds move too. Months and years are those of the calendar; the 31st becomes the last \
             day of a shorter\nmonth (CDO: a day of the next).")
        .example("-shifttime,-6hours in.nc out.nc"),
        row("settaxis", "Set times from a date on", |cube, context| {
            clock::set_axis(cube, &context.parameters())
        })
        .arguments("date,time[,span]", 2..=3)
        .details("Steps are one span (1hour) apart. Bounds of the old times are dropped.")
        .example("-settaxis,1990-01-16,12:00:00,1month in.nc out.nc"),
        row(
            "setreftime",
            "Count times from another date",
            |cube, context| clock::set_reference(cube, &context.parameters()),
        )
        .arguments("date,time[,units]", 2..=3)
        .details("The times stay, with their bounds; without units these stay too.")
        .example("-setreftime,1850-01-01,00:00:00,days in.nc out.nc"),
        row(
            "settunits",
            "Count times in other units",
            |cube, context| clock::set_units(cube, &context.parameters()),
        )
        .arguments("units", 1..=1)
        .details("The times stay, with their bounds.")
        .example("-settunits,hours in.nc out.nc"),
        row("setcalendar", "Set the calendar", |cube, context| {
            clock::set_calendar(cube, &context.parameters())
        })
        .arguments("calendar", 1..=1)
        .details(
            "Dates stay and numbers change. A date that the calendar does not have is an error.",
        )
        .example("-setcalendar,365_day in.nc out.nc"),
    ]
}
