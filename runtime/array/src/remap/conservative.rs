//! First-order conservative remapping: shares of areas.

use rayon::prelude::*;

use super::tree::{Bounds, Tree};
use super::{Areas, Link, Method, RemapError, Weights, clip};
use crate::grid::sphere::{Outline, distance_squared};
use crate::grid::{Axis, Cells, Grid};

/// Overlaps that are a smaller share of the target cell than this are rounding.
const SHARE_MIN: f64 = 1e-13;

pub(super) fn weights(source: &Grid, target: &Grid) -> Result<Weights, RemapError> {
    let (links, source_areas, target_areas) = match (&source.cells, &target.cells) {
        (
            Cells::Axes { lon, lat },
            Cells::Axes {
                lon: to_lon,
                lat: to_lat,
            },
        ) => of_axes([lon, lat], [to_lon, to_lat])?,
        _ => of_outlines(source, target)?,
    };
    let mut covered = vec![0.0; source.size()];
    let mut target_fraction = vec![0.0; target.size()];
    for (target, links) in links.iter().enumerate() {
        for &(source, share) in links {
            covered[source as usize] += share * target_areas[target];
            target_fraction[target] += share;
        }
    }
    let share = |(covered, area): (f64, &f64)| if *area > 0.0 { covered / area } else { 0.0 };
    let source_fraction = covered.into_iter().zip(&source_areas).map(share).collect();
    let mut weights = Weights::from_links(Method::Conservative, source.size(), links);
    weights.areas = Some(Areas {
        source: source_areas,
        target: target_areas,
        source_fraction,
        target_fraction,
    });
    Ok(weights)
}

/// Links as shares of the target cell, and both grids' areas.
type Found = (Vec<Vec<Link>>, Vec<f64>, Vec<f64>);

/// Cells between meridians and parallels: overlaps are products.
fn of_axes(source: [&Axis; 2], target: [&Axis; 2]) -> Result<Found, RemapError> {
    let edges = |[lon, lat]: [&Axis; 2], side: &'static str| {
        let edges = lon.edges().zip(lat.latitude_edges());
        edges.ok_or(RemapError::NoOutlines { side })
    };
    let (source_lons, source_lats) = edges(source, "source")?;
    let (target_lons, target_lats) = edges(target, "target")?;
    let columns = source_lons.len();
    let across: Vec<Vec<(usize, f64)>> = target_lons
        .iter()
        .map(|to| overlaps(&source_lons, |from| longitude_overlap(from, to)))
        .collect();
    let along: Vec<Vec<(usize, f64)>> = target_lats
        .iter()
        .map(|to| overlaps(&source_lats, |from| height_overlap(from, to)))
        .collect();
    let cells = |lons: &[[f64; 2]], lats: &[[f64; 2]]| -> Vec<f64> {
        let row = |lat: &[f64; 2]| {
            let height = height(lat);
            lons.iter().map(move |lon| width(lon).to_radians() * height)
        };
        lats.iter().flat_map(row).collect()
    };
    let mut links = Vec::with_capacity(target_lons.len() * target_lats.len());
    for (rows, lats) in along.iter().zip(&target_lats) {
        for (of_row, lons) in across.iter().zip(&target_lons) {
            let area = width(lons) * height(lats);
            let mut of_cell = Vec::with_capacity(rows.len() * of_row.len());
            for &(row, tall) in rows {
                for &(column, wide) in of_row {
                    let share = tall * wide / area;
                    if share > SHARE_MIN {
                        of_cell.push(((row * columns + column) as u32, share));
                    }
                }
            }
            links.push(of_cell);
        }
    }
    let (from, to) = (
        cells(&source_lons, &source_lats),
        cells(&target_lons, &target_lats),
    );
    Ok((links, from, to))
}

fn overlaps(sources: &[[f64; 2]], overlap: impl Fn(&[f64; 2]) -> f64) -> Vec<(usize, f64)> {
    let found = sources.iter().map(overlap).enumerate();
    found.filter(|(_, overlap)| *overlap > 0.0).collect()
}

fn width([west, east]: &[f64; 2]) -> f64 {
    (east - west).abs()
}

fn sine(latitude: f64) -> f64 {
    latitude.to_radians().sin()
}

fn height(&[south, north]: &[f64; 2]) -> f64 {
    sine(north) - sine(south)
}

fn height_overlap(a: &[f64; 2], b: &[f64; 2]) -> f64 {
    let (south, north) = (a[0].max(b[0]), a[1].min(b[1]));
    if north > south {
        sine(north) - sine(south)
    } else {
        0.0
    }
}

/// The common part of two ranges of longitudes, in degrees; they may meet on both sides.
fn longitude_overlap(a: &[f64; 2], b: &[f64; 2]) -> f64 {
    let (west, east) = (a[0].min(a[1]), a[0].max(a[1]));
    let start = b[0].min(b[1]);
    let turned = west + (start - west).rem_euclid(360.0) - 360.0;
    let wide = width(b);
    let common = |start: f64| (east.min(start + wide) - west.max(start)).max(0.0);
    let found = common(turned) + common(turned + 360.0);
    // Rounding must not make a sliver of neighbours.
    if found > 1e-11 * wide { found } else { 0.0 }
}

/// Cells of any shape.
fn of_outlines(source: &Grid, target: &Grid) -> Result<Found, RemapError> {
    let outlines =
        |grid: &Grid, side: &'static str| grid.outlines().ok_or(RemapError::NoOutlines { side });
    let sources = outlines(source, "source")?;
    let targets = outlines(target, "target")?;
    let tree = Tree::new(sources.iter().map(bounds).collect());
    let areas = |outlines: &[Outline]| outlines.iter().map(clip::area).collect();
    let (source_areas, target_areas): (Vec<f64>, Vec<f64>) = (areas(&sources), areas(&targets));
    let cell = |(outline, &area): (&Outline, &f64)| {
        let mut candidates = Vec::new();
        if outline.is_empty() || area <= 0.0 {
            return candidates;
        }
        tree.overlapping(&bounds(outline), |source| candidates.push((source, 0.0)));
        for (source, share) in &mut candidates {
            let source = &sources[*source as usize];
            if !source.is_empty() {
                *share = clip::overlap(source, outline) / area;
            }
        }
        candidates.retain(|(_, share)| *share > SHARE_MIN);
        candidates
    };
    let cells = targets.par_iter().zip(&target_areas);
    let links = cells.map(cell).collect();
    Ok((links, source_areas, target_areas))
}

/// A box around a cell, whose sides bulge by less than the square of its size.
fn bounds(outline: &Outline) -> Bounds {
    let mut bounds = Bounds::NOTHING;
    let Some(first) = outline.corners().next() else {
        return bounds;
    };
    let mut size = 0.0_f64;
    for corner in outline.corners() {
        bounds.join(&Bounds::of_point(corner));
        size = size.max(distance_squared(first, corner));
    }
    bounds.grown(size)
}
