//! Grid descriptions as CDO reads them: `gridtype = lonlat`, `xsize = 10`, …

use std::collections::HashMap;

use super::{Axis, Cells, Corners, Grid, GridError, Kind};

/// More cells than any grid of the Earth has.
const CELLS_MAX: usize = 1_000_000_000;

/// What follows a key: words, and the line it stands on.
#[derive(Default)]
struct Entry {
    line: usize,
    words: Vec<String>,
}

/// The first grid of a description.
struct Entries(HashMap<String, Entry>);

impl Grid {
    /// The grid that a text in CDO's format describes; of several, the first.
    ///
    /// Types `lonlat`, `gaussian`, `curvilinear` and `unstructured`; `xfirst` and `xinc` or
    /// `xvals`, `xbounds`, and the same for y. Coordinates in radians are converted.
    ///
    /// # Errors
    /// [`GridError`] with the line or the key that is wrong.
    pub fn from_description(text: &str) -> Result<Self, GridError> {
        let entries = Entries::parse(text)?;
        let gridtype = entries.word("gridtype").unwrap_or("lonlat").to_owned();
        let mut grid = match gridtype.as_str() {
            "lonlat" | "latlon" => entries.axes(&gridtype, None)?,
            "gaussian" => {
                let rows = entries.size("ysize")?;
                let half = entries.size("numlpe")?.or(entries.size("np")?);
                let rows = rows.or(half.map(|half| 2 * half)).unwrap_or(0);
                let mut grid = entries.axes(&gridtype, Some(rows))?;
                grid.kind = Kind::Gaussian(half.unwrap_or(rows / 2));
                grid
            }
            "curvilinear" => {
                let shape = vec![
                    entries.need_size("ysize", &gridtype)?,
                    entries.need_size("xsize", &gridtype)?,
                ];
                entries.each(shape, &gridtype)?
            }
            "unstructured" => {
                let size = entries.size("gridsize")?.or(entries.size("xsize")?);
                let size = size.ok_or(no_key("gridsize", &gridtype))?;
                entries.each(vec![size], &gridtype)?
            }
            _ => {
                return Err(
                    entries.wrong("gridtype", "lonlat, gaussian, curvilinear or unstructured")
                );
            }
        };
        let is_axes = matches!(grid.cells, Cells::Axes { .. });
        let names = &mut grid.names;
        let set = |key: &str, name: &mut String| {
            if let Some(word) = entries.word(key) {
                word.clone_into(name);
            }
        };
        set("xname", &mut names.lon);
        set("yname", &mut names.lat);
        set("xlongname", &mut names.lon_long);
        set("ylongname", &mut names.lat_long);
        if is_axes {
            names.x.clone_from(&names.lon);
            names.y.clone_from(&names.lat);
        }
        set("xdimname", &mut names.x);
        set("ydimname", &mut names.y);
        Ok(grid)
    }
}

fn no_key(key: &'static str, gridtype: &str) -> GridError {
    GridError::NoKey {
        key,
        gridtype: gridtype.to_owned(),
    }
}

impl Entries {
    fn parse(text: &str) -> Result<Self, GridError> {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        let mut current: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let values = match line.split_once('=') {
                Some((key, values)) => {
                    let key = key.trim().to_ascii_lowercase();
                    if key == "gridtype" && entries.contains_key(&key) {
                        break;
                    }
                    let entry = entries.entry(key.clone()).or_default();
                    *entry = Entry {
                        line: number + 1,
                        words: Vec::new(),
                    };
                    current = Some(key);
                    values
                }
                None => line,
            };
            let entry = current.as_ref().and_then(|key| entries.get_mut(key));
            let Some(entry) = entry else {
                return Err(GridError::Line {
                    line: number + 1,
                    expected: "key = value",
                    found: line.to_owned(),
                });
            };
            let values = values.trim();
            match values.strip_prefix('"') {
                Some(quoted) => entry.words.push(quoted.trim_end_matches('"').to_owned()),
                None => entry
                    .words
                    .extend(values.split_whitespace().map(str::to_owned)),
            }
        }
        Ok(Self(entries))
    }

    fn word(&self, key: &str) -> Option<&str> {
        Some(self.0.get(key)?.words.first()?.as_str())
    }

    fn wrong(&self, key: &str, expected: &'static str) -> GridError {
        let entry = self.0.get(key);
        GridError::Line {
            line: entry.map_or(0, |entry| entry.line),
            expected,
            found: entry.map_or_else(String::new, |entry| {
                entry
                    .words
                    .iter()
                    .take(5)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" ")
            }),
        }
    }

    fn size(&self, key: &str) -> Result<Option<usize>, GridError> {
        let Some(word) = self.word(key) else {
            return Ok(None);
        };
        let size = word.parse().ok();
        match size.filter(|size| (1..=CELLS_MAX).contains(size)) {
            Some(size) => Ok(Some(size)),
            None => Err(self.wrong(key, "a number of cells, at least 1")),
        }
    }

    fn need_size(&self, key: &'static str, gridtype: &str) -> Result<usize, GridError> {
        self.size(key)?.ok_or_else(|| no_key(key, gridtype))
    }

    fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, GridError> {
        let Some(entry) = self.0.get(key) else {
            return Ok(None);
        };
        let numbers = entry.words.iter().map(|word| word.parse::<f64>().ok());
        let numbers: Option<Vec<f64>> = numbers.collect();
        let numbers = numbers.filter(|all| all.iter().all(|number| number.is_finite()));
        match numbers {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.wrong(key, "numbers")),
        }
    }

    /// The values of `xvals`, `xbounds` and so on, in degrees.
    fn degrees(&self, axis: char, what: &str) -> Result<Option<Vec<f64>>, GridError> {
        let in_radians = self
            .word(&format!("{axis}units"))
            .is_some_and(|units| units.starts_with("radian"));
        let numbers = self.numbers(&format!("{axis}{what}"))?;
        Ok(numbers.map(|mut numbers| {
            if in_radians {
                numbers.iter_mut().for_each(|x| *x = x.to_degrees());
            }
            numbers
        }))
    }

    fn axes(&self, gridtype: &str, gaussian_rows: Option<usize>) -> Result<Grid, GridError> {
        let lon = self.axis('x', "xsize", "xvals", gridtype, None)?;
        let lat = self.axis('y', "ysize", "yvals", gridtype, gaussian_rows)?;
        if lon.centres.len().saturating_mul(lat.centres.len()) > CELLS_MAX {
            return Err(self.wrong("xsize", "at most 1e9 cells"));
        }
        Ok(Grid::from_axes(lon, lat))
    }

    fn axis(
        &self,
        axis: char,
        size_key: &'static str,
        values_key: &'static str,
        gridtype: &str,
        gaussian_rows: Option<usize>,
    ) -> Result<Axis, GridError> {
        let size = self.size(size_key)?;
        let first = self
            .degrees(axis, "first")?
            .and_then(|v| v.first().copied());
        let step = self.degrees(axis, "inc")?.and_then(|v| v.first().copied());
        let centres = match (self.degrees(axis, "vals")?, size, first, step) {
            (Some(values), ..) => values,
            (None, Some(size), first, Some(step)) => {
                let first = first.unwrap_or(0.0);
                (0..size).map(|i| first + i as f64 * step).collect()
            }
            (None, Some(1), Some(first), None) => vec![first],
            (None, Some(size), _, None) if axis == 'x' => {
                (0..size).map(|i| i as f64 * 360.0 / size as f64).collect()
            }
            (None, ..) => match gaussian_rows.filter(|&rows| rows > 0) {
                Some(rows) => super::gaussian::latitudes(rows),
                None if size.is_none() => return Err(no_key(size_key, gridtype)),
                None => return Err(no_key(values_key, gridtype)),
            },
        };
        if size.is_some_and(|size| size != centres.len()) {
            return Err(self.wrong(values_key, "as many numbers as the size says"));
        }
        let bounds = self.degrees(axis, "bounds")?;
        let bounds = match bounds {
            Some(bounds) if bounds.len() != 2 * centres.len() => {
                let key = format!("{axis}bounds");
                return Err(self.wrong(&key, "two numbers for each cell"));
            }
            bounds => bounds.map(|bounds| bounds.as_chunks::<2>().0.to_vec()),
        };
        Ok(Axis { centres, bounds })
    }

    fn each(&self, shape: Vec<usize>, gridtype: &str) -> Result<Grid, GridError> {
        let size: usize = shape.iter().product();
        let lons = self.degrees('x', "vals")?;
        let lats = self.degrees('y', "vals")?;
        let lons = lons.ok_or_else(|| no_key("xvals", gridtype))?;
        let lats = lats.ok_or_else(|| no_key("yvals", gridtype))?;
        let corners = self
            .degrees('x', "bounds")?
            .zip(self.degrees('y', "bounds")?);
        let corners = corners.map(|(lons, lats)| Corners {
            count: lons.len() / size.max(1),
            lons,
            lats,
        });
        Grid::from_cells(shape, lons, lats, corners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_types_are_read() {
        let grid = Grid::from_description(
            "# a comment\ngridtype = lonlat\nxsize = 4\nysize = 2\nxfirst = -10\nxinc = 2.5\n\
             yvals = 10 20\nybounds = 5 15\n  15 25\nxname = longitude\nxlongname = \"my x\"\n",
        )
        .unwrap();
        assert_eq!(grid.shape(), [2, 4]);
        assert_eq!(
            (grid.names.lon.as_str(), grid.names.lon_long.as_str()),
            ("longitude", "my x")
        );
        let Cells::Axes { lon, lat } = &grid.cells else {
            panic!("no axes");
        };
        assert_eq!(lon.centres, [-10.0, -7.5, -5.0, -2.5]);
        assert_eq!(
            lat.bounds.as_deref(),
            Some(&[[5.0, 15.0], [15.0, 25.0]][..])
        );

        let grid =
            Grid::from_description("gridtype=gaussian\nxsize=16\nysize=8\nxinc=22.5").unwrap();
        let mut named = Grid::from_name("n4").unwrap();
        named.names = grid.names.clone();
        assert_eq!(grid, named);

        let cells = "xsize=2\nysize=1\nxvals=0 0.5\nyvals=1 1\nxunits=radian\nxbounds=0 1 1 0\n 1 2 2 1\n\
                     ybounds=0 0 2 2 0 0 2 2\n";
        let grid = Grid::from_description(&format!("gridtype=curvilinear\n{cells}")).unwrap();
        assert_eq!(grid.shape(), [1, 2]);
        assert!((grid.centres().0[1] - 0.5_f64.to_degrees()).abs() < 1e-12);
        let text = format!("gridtype=unstructured\ngridsize=2\n{cells}");
        assert_eq!(Grid::from_description(&text).unwrap().shape(), [2]);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, message) in [
            (
                "gridtype = lonlat\nxsize = x",
                "the grid description's line 2: expected a number of cells, at least 1, found `x`",
            ),
            (
                "gridtype = lonlat\nxsize = 3\nxinc = 1",
                "the grid description has no `ysize`, which a lonlat grid needs",
            ),
            (
                "hello",
                "the grid description's line 1: expected key = value, found `hello`",
            ),
            (
                "gridtype = spectral",
                "the grid description's line 1: expected lonlat, gaussian, curvilinear or \
                 unstructured, found `spectral`",
            ),
            (
                "gridtype = unstructured\ngridsize = 3\nxvals = 1 2\nyvals = 1 2 3",
                "the grid needs 3 longitudes, found 2",
            ),
        ] {
            let error = Grid::from_description(text).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
