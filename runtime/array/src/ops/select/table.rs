//! The rows of the selections.

use super::{keys, levels, names, space, steps};
use crate::cube::Cube;
use crate::error::CubeError;
use crate::ops::many::in_order;
use crate::ops::{Context, Inputs, Operator};

const ANY: std::ops::RangeInclusive<usize> = 1..=usize::MAX;

const NAMES: &str = "\
Names may be patterns (* and ?). Coordinates, bounds and grid mappings follow. An unknown name is
a warning; if nothing is left, an error.";

const PARTS: &str = "\
A list of numbers or ranges from/to[/step]. A step's date is the middle of its time bounds where
these exist. What no step has is a warning; if nothing is left, an error.";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let families = [
        of_variables(),
        of_levels(),
        of_space(),
        of_time(),
        several(),
    ];
    families.into_iter().flatten().collect()
}

fn of_variables() -> Vec<Operator> {
    vec![
        selection("selname", "Select variables by name", names::select)
            .arguments("name[,name...]", ANY)
            .details(NAMES)
            .example("-selname,tas,pr in.nc out.nc"),
        selection(
            "selvar",
            "Select variables by name, as selname",
            names::select,
        )
        .arguments("name[,name...]", ANY)
        .details(NAMES)
        .example("-selvar,tas in.nc out.nc"),
        selection("delname", "Delete variables by name", names::delete)
            .arguments("name[,name...]", ANY)
            .details(NAMES)
            .example("-delname,pr in.nc out.nc"),
        selection(
            "selstdname",
            "Select variables by standard name",
            names::select_standard,
        )
        .arguments("name[,name...]", ANY)
        .details(NAMES)
        .example("-selstdname,air_temperature in.nc out.nc"),
    ]
}

fn of_levels() -> Vec<Operator> {
    vec![
        selection("sellevel", "Select levels by value", levels::by_value)
            .arguments("level[,level...]", ANY)
            .details(
                "Levels are in the units of the file and must agree to six digits. A variable \
                 without a vertical\naxis lies on the level of its scalar coordinate, else on 0, \
                 and is left out if that is not named.",
            )
            .example("-sellevel,85000,50000 in.nc out.nc"),
        selection("sellevidx", "Select levels by index", levels::by_index)
            .arguments("index[,index...]", ANY)
            .details("Indices count from 1; ranges are from/to[/step].")
            .example("-sellevidx,1/3 in.nc out.nc"),
    ]
}

fn of_space() -> Vec<Operator> {
    vec![
        selection(
            "sellonlatbox",
            "Select a longitude/latitude box",
            space::by_box,
        )
        .arguments("west,east,south,north", 4..=4)
        .details(
            "Keeps cells whose centre lies in the closed box. Longitudes are taken modulo 360 \
                 and the box may\nwrap around: 350,10,... gives longitudes -10 to 10. Curvilinear \
                 grids give the enclosing index box.",
        )
        .example("-sellonlatbox,0,90,0,45 in.nc out.nc"),
        selection("selindexbox", "Select an index box", space::by_index)
            .arguments("x1,x2,y1,y2", 4..=4)
            .details(
                "Indices count from 1, negative ones from the end. x1 > x2 wraps around the \
                 globe, with longitudes\nthat go on rising. What lies outside the grid is clipped \
                 with a warning.",
            )
            .example("-selindexbox,1,10,1,-1 in.nc out.nc"),
    ]
}

fn of_time() -> Vec<Operator> {
    vec![
        selection("seldate", "Select steps between two dates", steps::by_date)
            .arguments("from[,to]", 1..=2)
            .details(
                "Dates are YYYY-MM-DD[Thh:mm:ss], inclusive; a bare end date covers all of its \
                 day. One date\nselects one day. A month without a day is refused.",
            )
            .example("-seldate,2001-01-01,2010-12-31 in.nc out.nc"),
        of_part("selyear", "Select steps by year", &steps::YEAR, "2001/2010"),
        of_part(
            "selmon",
            "Select steps by month of the year",
            &steps::MONTH,
            "6/8",
        ),
        of_part(
            "selmonth",
            "Select steps by month of the year",
            &steps::MONTH,
            "6/8",
        ),
        of_part(
            "selday",
            "Select steps by day of the month",
            &steps::DAY,
            "1,15",
        ),
        of_part(
            "selhour",
            "Select steps by hour of the day",
            &steps::HOUR,
            "0/23/6",
        ),
        selection("selseason", "Select steps by season", steps::by_season)
            .arguments("season[,season...]", ANY)
            .details(
                "Seasons are runs of months by their first letters, as they stand in \
                 DJFMAMJJASOND (DJF, JJA,\nASON), or ANN.",
            )
            .example("-selseason,DJF,JJA in.nc out.nc"),
        selection("seltime", "Select steps by time of day", steps::by_clock)
            .arguments("hh:mm:ss[,...]", ANY)
            .details("The time of day is that of the step's time, not of its bounds.")
            .example("-seltime,06:00:00,18:00:00 in.nc out.nc"),
        selection("seltimestep", "Select steps by number", steps::by_number)
            .arguments("step[,step...]", ANY)
            .details(
                "Steps count from 1, negative ones from the end; ranges are from/to[/step]. The \
                 order of the file\nis kept.",
            )
            .example("-seltimestep,1,-12/-1 in.nc out.nc"),
        selection(
            "selsmon",
            "Select a month and steps around it",
            steps::around_month,
        )
        .arguments("month[,before[,after]]", 1..=3)
        .details("So many steps before and after each step of the month are kept too, with their own times (CDO gives\nthem that of a neighbour).")
        .example("-selsmon,3,1,2 in.nc out.nc"),
        selection(
            "del29feb",
            "Delete 29 February; the calendar becomes 365_day",
            steps::without_leap_days,
        )
        .details(
            "Times and bounds are counted anew, so that every step keeps its date. A bound on 29 \
             February becomes\n1 March.",
        ),
    ]
}

fn several() -> Vec<Operator> {
    const KEYS: &str = "\
Keys are name, level, levrange (first,last), levidx, date, startdate, enddate, year, month, day,
hour, season and timestep; values are those of the operator for each.";
    vec![
        Operator::new(
            "select",
            "Select fields by several keys",
            |inputs, context| {
                let mut cube = in_order(inputs, context.name())?;
                keys::select(&mut cube, context)?;
                Ok(cube.into())
            },
        )
        .inputs(Inputs::AtLeastOne)
        .arguments("key=value[,value...][,key=...]", ANY)
        .details(format!(
            "{KEYS} A field must fit all keys. Several inputs are put one after the other first."
        ))
        .example("-select,name=tas,year=2001/2010,season=JJA in.nc out.nc"),
        selection("delete", "Delete fields by a key", keys::delete)
            .arguments("key=value[,value...]", ANY)
            .details(format!("{KEYS} One key at a time: chain for more."))
            .example("-delete,timestep=1,-1 in.nc out.nc"),
    ]
}

fn of_part(
    name: &'static str,
    summary: &'static str,
    part: &'static steps::Part,
    example: &str,
) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        let mut cube: Cube = inputs.remove(0);
        steps::by_part(&mut cube, context, part)?;
        Ok(cube.into())
    })
    .arguments("number[,number...]", ANY)
    .details(PARTS)
    .example(format!("-{name},{example} in.nc out.nc"))
}

/// What a selection does to its input.
type Select = fn(&mut Cube, &mut Context<'_>) -> Result<(), CubeError>;

fn selection(name: &'static str, summary: &'static str, apply: Select) -> Operator {
    Operator::new(name, summary, move |mut inputs, context| {
        let mut cube = inputs.remove(0);
        apply(&mut cube, context)?;
        Ok(cube.into())
    })
}
