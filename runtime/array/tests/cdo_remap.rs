//! Remapping against `cdo`: every method between grids of every kind, with and without missing
//! values, weights written by either and read by the other, and what must hold of any weights.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

mod cube;

use std::path::{Path, PathBuf};

use mizar_array::dataset::{AttrValue, Attributes, DType, Dataset, Dimension, Variable};
use mizar_array::grid::{Axis, Cells, Corners, Grid};
use mizar_array::remap::{Method, Settings, Weights};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

use cube::{assert_close, attribute, cdo, cmip6, has, read, run};

/// Longitudes by latitudes in equal steps.
fn regular(west: f64, columns: u32, south: f64, rows: u32, step: f64) -> Grid {
    let axis = |first: f64, count: u32| {
        Axis::of((0..count).map(|i| first + f64::from(i) * step).collect())
    };
    Grid::from_axes(axis(west, columns), axis(south, rows))
}

/// Where a place of a rotated grid is: the pole tilted by 40 degrees.
fn rotated(lon: f64, lat: f64) -> [f64; 2] {
    let tilt = 40_f64.to_radians();
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) =
        (lon.to_radians().sin_cos(), lat.to_radians().sin_cos());
    let (x, y, z) = (cos_lat * cos_lon, cos_lat * sin_lon, sin_lat);
    let (x, z) = (
        x * tilt.cos() - z * tilt.sin(),
        x * tilt.sin() + z * tilt.cos(),
    );
    [y.atan2(x).to_degrees() + 10.0, z.asin().to_degrees()]
}

/// A region on a rotated grid, in rows and columns with corners.
fn curvilinear(rows: u32, columns: u32, step: f64) -> Grid {
    let place = |row: f64, column: f64| {
        rotated(
            (column - f64::from(columns) / 2.0) * step,
            (row - f64::from(rows) / 2.0) * step + 0.1,
        )
    };
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let cells: Vec<(f64, f64)> = cells.map(|(r, c)| (f64::from(r), f64::from(c))).collect();
    let centres: Vec<[f64; 2]> = cells
        .iter()
        .map(|&(r, c)| place(r + 0.5, c + 0.5))
        .collect();
    let corners: Vec<[f64; 2]> = cells
        .iter()
        .flat_map(|&(r, c)| {
            [(r, c), (r, c + 1.0), (r + 1.0, c + 1.0), (r + 1.0, c)].map(|(r, c)| place(r, c))
        })
        .collect();
    each(vec![rows as usize, columns as usize], &centres, &corners, 4)
}

fn each(shape: Vec<usize>, centres: &[[f64; 2]], corners: &[[f64; 2]], count: usize) -> Grid {
    let part = |places: &[[f64; 2]], i: usize| places.iter().map(|place| place[i]).collect();
    let corners = Corners {
        count,
        lons: part(corners, 0),
        lats: part(corners, 1),
    };
    Grid::from_cells(shape, part(centres, 0), part(centres, 1), Some(corners)).unwrap()
}

/// The whole globe in triangles, the faces of an octahedron halved so often.
fn triangles(halvings: u32) -> Grid {
    let mut faces: Vec<[[f64; 3]; 3]> = Vec::new();
    for z in [1.0, -1.0] {
        for turn in 0..4 {
            let (sin, cos) = (f64::from(turn) * std::f64::consts::FRAC_PI_2 + 0.1).sin_cos();
            let (a, b) = ([cos, sin, 0.0], [-sin, cos, 0.0]);
            faces.push([[0.0, 0.0, z], a, b]);
        }
    }
    let middle = |a: [f64; 3], b: [f64; 3]| {
        let sum = [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        sum.map(|x| x / length)
    };
    for _ in 0..halvings {
        faces = faces
            .into_iter()
            .flat_map(|[a, b, c]| {
                let (ab, bc, ca) = (middle(a, b), middle(b, c), middle(c, a));
                [[a, ab, ca], [ab, b, bc], [ca, bc, c], [ab, bc, ca]]
            })
            .collect();
    }
    // Tilted, so that no corner is at a pole and no edge is a parallel.
    let place = |p: [f64; 3]| rotated(p[1].atan2(p[0]).to_degrees(), p[2].asin().to_degrees());
    let centre = |[a, b, c]: &[[f64; 3]; 3]| {
        let sum = [0, 1, 2].map(|k| a[k] + b[k] + c[k]);
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        place(sum.map(|x| x / length))
    };
    let centres: Vec<[f64; 2]> = faces.iter().map(centre).collect();
    let corners: Vec<[f64; 2]> = faces.iter().flatten().map(|&p| place(p)).collect();
    each(vec![faces.len()], &centres, &corners, 3)
}

/// A smooth field with some noise; one cell in seven missing if asked for.
fn field(grid: &Grid, step: usize, missing: bool) -> Vec<f64> {
    let (lons, lats) = grid.centres();
    let value = |(i, (lon, lat)): (usize, (&f64, &f64))| {
        let scrambled = ((step * lons.len() + i) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if missing && (scrambled >> 20).is_multiple_of(7) {
            return f64::NAN;
        }
        let noise = (scrambled >> 40) as f64 / (1_u64 << 24) as f64;
        280.0 + 20.0 * lat.to_radians().cos() + 5.0 * (2.0 * lon.to_radians()).sin() + 3.0 * noise
    };
    lons.iter().zip(&lats).enumerate().map(value).collect()
}

fn variable(name: &str, dims: &[usize], pairs: &[(&str, AttrValue)]) -> Variable {
    Variable {
        name: name.to_owned(),
        dtype: DType::F64,
        dims: dims.to_vec(),
        attributes: pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
    }
}

/// Two steps of a field on a grid.
fn write(path: &Path, grid: &Grid, missing: bool) {
    let text = |text: &str| AttrValue::from(text);
    let dimension = |name: &str, len, unlimited| Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    };
    let mut dimensions = vec![dimension("time", 2, true)];
    let shape = grid.shape();
    let mut horizontal = Vec::new();
    let names: &[&str] = match &grid.cells {
        Cells::Axes { .. } => &["lat", "lon"],
        Cells::Each { .. } => &["y", "x"],
    };
    for (name, &len) in names.iter().zip(&shape) {
        horizontal.push(dimensions.len());
        dimensions.push(dimension(name, len, false));
    }
    let time = [
        ("standard_name", text("time")),
        ("units", text("days since 2001-01-01")),
        ("calendar", text("standard")),
    ];
    let mut coordinates = vec![
        ("lon", "longitude", "degrees_east", "lon_bnds"),
        ("lat", "latitude", "degrees_north", "lat_bnds"),
    ];
    let mut data = vec![
        ("units", text("K")),
        ("_FillValue", AttrValue::from(1e20)),
        ("cell_measures", text("area: areacella")),
    ];
    let mut variables = vec![variable("time", &[0], &time)];
    let mut values = vec![vec![0.0, 1.0]];
    for (name, standard, units, bounds) in coordinates.drain(..) {
        let mut pairs = vec![("standard_name", text(standard)), ("units", text(units))];
        match &grid.cells {
            Cells::Axes { lon, lat } => {
                let (place, axis) = if name == "lon" { (1, lon) } else { (0, lat) };
                variables.push(variable(name, &[horizontal[place]], &pairs));
                values.push(axis.centres.clone());
            }
            Cells::Each { corners, .. } => {
                let corners = corners.as_ref().unwrap();
                pairs.push(("bounds", text(bounds)));
                let (lons, lats) = grid.centres();
                let is_lon = name == "lon";
                variables.push(variable(name, &horizontal, &pairs));
                values.push(if is_lon { lons } else { lats });
                let vertex = dimensions.iter().position(|dim| dim.name == "nv");
                let vertex = vertex.unwrap_or_else(|| {
                    dimensions.push(dimension("nv", corners.count, false));
                    dimensions.len() - 1
                });
                let mut dims = horizontal.clone();
                dims.push(vertex);
                variables.push(variable(bounds, &dims, &[]));
                let all = if is_lon { &corners.lons } else { &corners.lats };
                values.push(all.clone());
            }
        }
    }
    if matches!(grid.cells, Cells::Each { .. }) {
        data.push(("coordinates", text("lat lon")));
    }
    let mut dims = vec![0];
    dims.extend(&horizontal);
    variables.push(variable("tas", &dims, &data));
    let steps = (0..2).flat_map(|step| field(grid, step, missing));
    values.push(steps.collect());
    let dataset = Dataset {
        dimensions,
        variables,
        attributes: Attributes::default(),
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    for (index, values) in values.iter().enumerate() {
        writer
            .write_f64(index, &dataset.whole(index), values)
            .unwrap();
    }
    writer.commit().unwrap();
}

/// A folder with the sources.
struct Folder {
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn source(&self, name: &str, grid: &Grid, missing: bool) -> String {
        let path = self.path(&format!(
            "{name}{}.nc",
            if missing { "_missing" } else { "" }
        ));
        write(&path, grid, missing);
        path.display().to_string()
    }

    /// Runs a line both ways and compares the data and the coordinates.
    fn check(&self, line: &str) {
        let (ours, theirs) = (self.path("mizar.nc"), self.path("cdo.nc"));
        run(&format!("-b F64 {line} {}", ours.display())).unwrap_or_else(|e| {
            panic!("{line}: {}", e.chain());
        });
        cdo(&format!("{line} {}", theirs.display()));
        let structure = Source::open(&theirs).unwrap();
        for variable in &structure.dataset().variables {
            let name = &variable.name;
            let is_data = ["tas", "ta", "tos"].contains(&name.as_str());
            if is_data && line.contains("remapbil") {
                // To cdo a missing cell counts even where it weighs nothing.
                let (ours, mut theirs) = (read(&ours, name), read(&theirs, name));
                for (a, b) in ours.1.iter().zip(&mut theirs.1) {
                    if b.is_nan() && line.contains("missing") {
                        *b = *a;
                    }
                }
                assert_close(&format!("{line}: {name}"), &ours, &theirs);
            } else if is_data || ["lon", "lat", "lat_bnds"].contains(&name.as_str()) {
                assert_close(
                    &format!("{line}: {name}"),
                    &read(&ours, name),
                    &read(&theirs, name),
                );
            }
        }
    }
}

const TARGETS: [&str; 7] = [
    "r20x10",
    "r21x11",
    "r60x45",
    "global_7.5",
    "n8",
    "t10grid",
    "lon=7.3_lat=51.2",
];

#[test]
fn regular_grids_are_remapped_as_cdo_does() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    let globe = regular(0.0, 72, -87.5, 36, 5.0);
    let southward = Grid::from_axes(
        Axis::of((0..72).map(|i| -177.5 + f64::from(i) * 5.0).collect()),
        Axis::of((0..36).map(|i| 87.5 - f64::from(i) * 5.0).collect()),
    );
    let region = regular(10.0, 20, -20.0, 24, 2.5);
    for (name, grid) in [
        ("globe", globe),
        ("southward", southward),
        ("region", region),
    ] {
        for missing in [false, true] {
            let file = folder.source(name, &grid, missing);
            for target in TARGETS {
                for method in ["nn", "bil", "con", "dis"] {
                    if target.starts_with("lon") && method == "con" {
                        continue;
                    }
                    // Of cells at the same distance cdo may take another; outside of a region
                    // its remapdis misses some of the nearest.
                    if name == "region" && ["nn", "dis"].contains(&method)
                        || name == "southward" && method == "dis"
                    {
                        continue;
                    }
                    folder.check(&format!("-remap{method},{target} {file}"));
                }
            }
        }
    }
}

#[test]
fn curvilinear_and_unstructured_grids_are_remapped_as_cdo_does() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    for missing in [false, true] {
        for (name, grid) in [
            ("curved", curvilinear(24, 30, 2.0)),
            ("triangles", triangles(3)),
        ] {
            let file = folder.source(name, &grid, missing);
            for target in ["r60x45", "n8"] {
                for method in ["nn", "dis", "con", "bil"] {
                    if method == "bil" && name == "triangles" {
                        continue;
                    }
                    folder.check(&format!("-remap{method},{target} {file}"));
                }
            }
        }
    }
}

#[test]
fn fields_are_put_on_curved_grids_as_cdo_does() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    let globe = folder.source("globe", &regular(0.0, 72, -87.5, 36, 5.0), true);
    let curved = folder.source("curved", &curvilinear(24, 30, 2.0), false);
    let triangles = folder.source("triangles", &triangles(3), false);
    for target in [&curved, &triangles] {
        for method in ["nn", "dis", "con", "bil"] {
            // Near a pole of a regular grid cdo misses some of the nearest cells, and those
            // that only the bulge of a great circle reaches.
            if ["dis", "con"].contains(&method) && target == &triangles {
                continue;
            }
            folder.check(&format!("-remap{method},{target} {globe}"));
        }
    }
    folder.check(&format!("-remapcon,{triangles} {curved}"));
    folder.check(&format!("-remapcon,{curved} {triangles}"));
}

#[test]
fn weights_go_between_the_two() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    let grids = [
        ("globe", regular(0.0, 72, -87.5, 36, 5.0)),
        ("curved", curvilinear(24, 30, 2.0)),
    ];
    for (name, grid) in grids {
        let file = folder.source(name, &grid, false);
        for method in ["nn", "dis", "bil", "con"] {
            let (ours, theirs) = (folder.path("ours.nc"), folder.path("theirs.nc"));
            let (ours, theirs) = (ours.display(), theirs.display());
            run(&format!("-gen{method},r21x11 {file} {ours}")).unwrap();
            cdo(&format!("-gen{method},r21x11 {file} {theirs}"));
            for name in ["src_address", "dst_address"] {
                let read =
                    |path: &dyn std::fmt::Display| read(Path::new(&path.to_string()), name).1;
                if ["nn", "dis"].contains(&method) {
                    assert_eq!(read(&ours), read(&theirs), "{method}: {name}");
                }
            }
            folder.check(&format!("-remap,r21x11,{ours} {file}"));
            folder.check(&format!("-remap,r21x11,{theirs} {file}"));
        }
    }
}

#[test]
fn grid_files_and_descriptions_are_targets() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    let file = folder.source("globe", &regular(0.0, 72, -87.5, 36, 5.0), true);
    let region = folder.source("region", &regular(10.0, 20, -20.0, 24, 2.5), false);
    let description = folder.path("grid.txt");
    std::fs::write(
        &description,
        "gridtype = lonlat\nxsize = 12\nysize = 5\nxfirst = -20\nxinc = 3\nyvals = 30 33 37 42 48\n",
    )
    .unwrap();
    for target in [region, description.display().to_string()] {
        folder.check(&format!("-remapbil,{target} {file}"));
        folder.check(&format!("-remapcon,{target} {file}"));
    }
}

#[test]
fn real_ocean_grids_are_remapped_as_cdo_does() {
    if !has("cdo", "cdo") {
        return;
    }
    let Some(file) = cube::iris("nemo_1m_20150101") else {
        return;
    };
    let folder = Folder::new();
    for method in ["nn", "dis", "bil"] {
        folder.check(&format!("-remap{method},r90x45 {}", file.display()));
    }
    // In the north cells are skew, and both have great circles. Elsewhere they lie between
    // parallels, which cdo takes for great circles too: at most 2 mK.
    let (ours, theirs) = (folder.path("ours.nc"), folder.path("theirs.nc"));
    let line = format!("-b F64 -remapcon,r90x45 {}", file.display());
    run(&format!("{line} {}", ours.display())).unwrap();
    cube::cdo(&format!("{line} {}", theirs.display()));
    let ((shape, ours), (_, theirs)) = (read(&ours, "tos"), read(&theirs, "tos"));
    assert_eq!(shape, [1, 45, 90]);
    for (cell, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours.is_nan(), theirs.is_nan(), "cell {cell}");
        let most = if cell / 90 >= 30 { 1e-9 } else { 2e-3 };
        let close = ours.is_nan() || (ours - theirs).abs() <= most;
        assert!(close, "cell {cell}: {ours}, cdo has {theirs}");
    }
}

#[test]
fn cmip6_files_are_remapped_as_cdo_does() {
    if !has("cdo", "cdo") {
        return;
    }
    let folder = Folder::new();
    for model in ["ta_Amon_MIROC6_", "ta_Amon_ACCESS-CM2_"] {
        let Some(file) = cmip6(model) else {
            return;
        };
        // Two rows and columns near the pole, with levels and bounds.
        let file = file.display();
        for method in ["nn", "bil", "con"] {
            folder.check(&format!("-remap{method},r144x90 -selmon,1 {file}"));
        }
    }
}

#[test]
fn the_output_is_cf_on_the_target_grid() {
    let folder = Folder::new();
    let file = folder.source("curved", &curvilinear(24, 30, 2.0), false);
    let (triangles, output) = (
        folder.source("triangles", &triangles(2), false),
        folder.path("out.nc"),
    );
    run(&format!("-remapnn,t10grid {file} {}", output.display())).unwrap();
    let name = |variable: &str, name: &str| attribute(&output, variable, name);
    assert_eq!(name("lon", "units").as_deref(), Some("degrees_east"));
    assert_eq!(name("lat", "standard_name").as_deref(), Some("latitude"));
    assert_eq!(name("lat", "bounds").as_deref(), Some("lat_bnds"));
    assert_eq!(name("tas", "coordinates"), None);
    assert_eq!(name("tas", "cell_measures"), None);
    assert_eq!(read(&output, "tas").0, [2, 16, 32]);

    run(&format!("-remapnn,{triangles} {file} {}", output.display())).unwrap();
    assert_eq!(name("tas", "coordinates").as_deref(), Some("lat lon"));
    assert_eq!(name("lon", "bounds").as_deref(), Some("lon_bnds"));
    assert_eq!(read(&output, "lon_bnds").0, [128, 3]);
}

#[test]
fn a_part_of_the_result_is_the_part_of_the_whole() {
    let folder = Folder::new();
    let file = folder.source("globe", &regular(0.0, 72, -87.5, 36, 5.0), true);
    let (whole, part) = (folder.path("whole.nc"), folder.path("part.nc"));
    for method in ["con", "bil", "dis"] {
        let line = format!("-remap{method},r60x45 {file}");
        run(&format!("{line} {}", whole.display())).unwrap();
        run(&format!(
            "-sellonlatbox,12,48,-50,30 {line} {}",
            part.display()
        ))
        .unwrap();
        let (whole, part) = (read(&whole, "tas").1, read(&part, "tas"));
        // Longitudes 12, 18, … 48; latitudes -49.09, -45, … 28.6.
        assert_eq!(part.0, [2, 20, 7]);
        for (i, value) in part.1.iter().enumerate() {
            let (step, row, column) = (i / 140, 10 + i / 7 % 20, 2 + i % 7);
            let expected = whole[(step * 45 + row) * 60 + column];
            assert_eq!(value.to_bits(), expected.to_bits(), "{method}: {i}");
        }
    }
}

#[test]
fn conservative_weights_conserve_and_keep_constants() {
    let globe = |name: &str| Grid::from_name(name).unwrap();
    let grids = [
        globe("r72x36"),
        globe("n16"),
        globe("global_7.5"),
        triangles(3),
    ];
    for source in &grids {
        for target in &grids {
            let weights =
                Weights::new(Method::Conservative, source, target, Settings::default()).unwrap();
            let areas = weights.areas().unwrap();
            let values = field(source, 0, false);
            let mut out = vec![0.0; target.size()];
            weights.apply(&values, &mut out, weights.default_rule());
            let integral = |values: &[f64], areas: &[f64]| -> f64 {
                values.iter().zip(areas).map(|(v, a)| v * a).sum()
            };
            let (before, after) = (
                integral(&values, &areas.source),
                integral(&out, &areas.target),
            );
            assert!((before / after - 1.0).abs() < 1e-10, "{before} {after}");
            let covered = areas.source_fraction.iter().chain(&areas.target_fraction);
            for fraction in covered {
                assert!((fraction - 1.0).abs() < 1e-9, "{fraction}");
            }
        }
    }
}

#[test]
fn constants_stay_and_linear_fields_are_kept_by_bilinear_weights() {
    let sources = [
        regular(0.0, 72, -87.5, 36, 5.0),
        curvilinear(24, 30, 2.0),
        triangles(3),
    ];
    let target = Grid::from_name("r40x30").unwrap();
    for source in &sources {
        for method in [
            Method::Nearest,
            Method::Distance(4),
            Method::Bilinear,
            Method::Conservative,
        ] {
            let Ok(weights) = Weights::new(method, source, &target, Settings::default()) else {
                assert_eq!(method, Method::Bilinear);
                continue;
            };
            let mut out = vec![0.0; target.size()];
            let constant = vec![3.0_f32; source.size()];
            weights.apply(&constant, &mut out, weights.default_rule());
            assert!(
                out.iter().all(|v| v.is_nan() || (v - 3.0).abs() < 1e-12),
                "{method:?}"
            );
            assert!(out.iter().any(|v| !v.is_nan()), "{method:?}");
        }
    }
    let weights =
        Weights::new(Method::Bilinear, &sources[0], &target, Settings::default()).unwrap();
    let (_, lats) = sources[0].centres();
    let mut out = vec![0.0; target.size()];
    weights.apply(&lats, &mut out, weights.default_rule());
    for (value, lat) in out.iter().zip(target.centres().1) {
        assert!(
            (value - lat).abs() < 1e-9 || lat.abs() > 87.5,
            "{value} {lat}"
        );
    }
}

#[test]
fn threads_do_not_change_weights() {
    let grids = [triangles(3), Grid::from_name("n16").unwrap()];
    for method in [Method::Conservative, Method::Distance(4)] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                Weights::new(method, &grids[0], &grids[1], Settings::default()).unwrap()
            })
        };
        assert!(with(1) == with(4), "{method:?}");
    }
}

#[test]
fn bad_targets_are_told() {
    let folder = Folder::new();
    let file = folder.source("triangles", &triangles(1), false);
    let output = folder.path("out.nc");
    let check = |line: &str, message: &str| {
        let error = run(&format!("{line} {file} {}", output.display())).unwrap_err();
        assert!(error.chain().contains(message), "{line}: {}", error.chain());
    };
    check(
        "-remapbil,r4x4",
        "no rows and columns to interpolate between",
    );
    check("-remapnn,r4y4", "expected a file, or a name like r360x180");
    check(
        "-remapcon,lon=1_lat=2",
        "target grid's cells have no bounds",
    );
    check("-remapdis,r4x4,0", "a number of neighbours");
}
