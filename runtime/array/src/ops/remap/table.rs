//! The rows of the operators of horizontal grids.

use super::{From, describe, generate, remap, target, weights_file};
use crate::ops::{Operator, Outputs};
use crate::remap::Method;

/// Neighbours of `remapdis` if it is not told.
const NEIGHBOURS: usize = 4;

/// More are a typing error.
const NEIGHBOURS_MAX: f64 = 1000.0;

const GRIDS: &str = "The grid is a data file, a description in CDO's format, or a name: r360x180, \
                     global_1, n80,\nF80, t63grid, lon=10_lat=50.";

/// The operators of this family.
pub(crate) fn table() -> Vec<Operator> {
    let methods = [
        (
            "nn",
            "of the nearest cell",
            "A missing nearest cell gives missing. Cells outside the source grid get values too, \
             unless\nREMAP_EXTRAPOLATE=off.",
        ),
        (
            "dis",
            "as mean of near cells, weighted by distance",
            "The 4 (or NEIGHBOURS) nearest cells weigh by the inverse of their distance; missing \
             ones among\nthem are skipped. Cells outside the source grid get values too, unless \
             REMAP_EXTRAPOLATE=off.",
        ),
        (
            "bil",
            "bilinearly between four cells",
            "For sources of rows and columns. A missing cell among the four gives missing. Beyond \
             the last row\nof a grid around the globe the 4 nearest cells weigh by distance; \
             elsewhere outside the source\ngrid is missing, unless REMAP_EXTRAPOLATE=on.",
        ),
        (
            "con",
            "as mean over overlapped cells, which conserves",
            "First order: weights are overlapped areas. Missing cells are skipped and the weights \
             of the others\nnormalised (CDO_REMAP_NORM=destarea divides by the whole cell \
             instead). Below the share\nREMAP_AREA_MIN of a cell it is missing. Needs bounds of \
             cells, or longitudes by latitudes. Cells between\nmeridians and parallels have \
             parallels for sides, on curved grids too (CDO there: great circles; of a\n1 degree \
             ocean grid up to 2 mK); all others have great circles.",
        ),
    ];
    let mut table: Vec<Operator> = Vec::new();
    for (name, how, rules) in methods {
        table.push(
            with_grid(
                Operator::new(
                    format!("remap{name}"),
                    format!("Values on another grid, {how}"),
                    move |mut inputs, context| {
                        let (grid, method) = parameters(context, name)?;
                        let cube = inputs.remove(0);
                        Ok(remap(cube, context, &From::Method(method), &grid)?.into())
                    },
                ),
                name,
            )
            .details(format!("{rules}\n{GRIDS}"))
            .example(format!("-remap{name},r360x180 in.nc out.nc")),
        );
    }
    for (name, how, _) in methods {
        table.push(
            with_grid(
                Operator::new(
                    format!("gen{name}"),
                    format!("Weights for values on another grid, {how}"),
                    move |inputs, context| {
                        let (grid, method) = parameters(context, name)?;
                        Ok(generate(&inputs[0], context, method, &grid)?.into())
                    },
                ),
                name,
            )
            .details(format!(
                "The file follows SCRIP; `remap` and CDO's remap take it.\n{GRIDS}"
            ))
            .example(format!("-gen{name},r360x180 in.nc weights.nc")),
        );
    }
    table.push(
        Operator::new(
            "remap",
            "Values on another grid by weights from a file",
            |mut inputs, context| {
                let grid = target::parse(context, &context.arguments[0])?;
                let from = weights_file::read(context, &context.arguments[1])?;
                Ok(remap(inputs.remove(0), context, &from, &grid)?.into())
            },
        )
        .arguments("grid,weights", 2..=2)
        .details(format!(
            "The weights are those of a gen operator, here or of CDO, and have its rule for \
             missing values.\n{GRIDS}"
        ))
        .example("-remap,r360x180,weights.nc in.nc out.nc"),
    );
    table.push(
        Operator::new(
            "griddes",
            "Prints the horizontal grids",
            |inputs, context| describe(&inputs[0], context),
        )
        .outputs(Outputs::Text)
        .details("In the form that the remap operators read as a grid.")
        .example("-griddes in.nc"),
    );
    table
}

fn with_grid(operator: Operator, method: &str) -> Operator {
    if method == "dis" {
        operator.arguments("grid[,neighbours]", 1..=2)
    } else {
        operator.arguments("grid", 1..=1)
    }
}

fn parameters(
    context: &mut crate::ops::Context<'_>,
    name: &str,
) -> Result<(crate::grid::Grid, Method), crate::CubeError> {
    let grid = target::parse(context, &context.arguments[0])?;
    let method = match name {
        "nn" => Method::Nearest,
        "dis" if context.arguments.len() == 2 => {
            let expected = "a number of neighbours, 1 to 1000";
            let count = context.parameters().number(1, expected)?;
            if !(1.0..=NEIGHBOURS_MAX).contains(&count) || count.fract() != 0.0 {
                return Err(context.parameters().wrong(1, expected));
            }
            Method::Distance(count as usize)
        }
        "dis" => Method::Distance(NEIGHBOURS),
        "bil" => Method::Bilinear,
        _ => Method::Conservative,
    };
    Ok((grid, method))
}
