//! What variables mean by the CF conventions: axes, coordinates, bounds, grids.

use super::{Dataset, Variable, split_path};

/// The four axes that operators treat specially.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// `axis = "T"`, or units of time since a date.
    Time,
    /// `axis = "Z"`, `positive`, or units of pressure.
    Level,
    /// Units of degrees north; `axis = "Y"` of a projected grid is not one.
    Latitude,
    /// Units of degrees east; `axis = "X"` of a projected grid is not one.
    Longitude,
}

/// The units by which CF 4.1 and 4.2 tell latitude from longitude.
const DEGREES_NORTH: [&str; 6] = [
    "degrees_north",
    "degree_north",
    "degree_N",
    "degrees_N",
    "degreeN",
    "degreesN",
];
const DEGREES_EAST: [&str; 6] = [
    "degrees_east",
    "degree_east",
    "degree_E",
    "degrees_E",
    "degreeE",
    "degreesE",
];

/// Units that alone make a coordinate vertical (CF 4.3.1).
const PRESSURE: [&str; 14] = [
    "bar",
    "bars",
    "millibar",
    "millibars",
    "mbar",
    "mb",
    "decibar",
    "dbar",
    "atm",
    "atmosphere",
    "Pa",
    "hPa",
    "kPa",
    "pascal",
];

/// Attributes in which one variable names others that serve it, all separated by blanks.
pub(crate) const REFERRING: [&str; 8] = [
    "bounds",
    "climatology",
    "coordinates",
    "grid_mapping",
    "cell_measures",
    "ancillary_variables",
    "formula_terms",
    "geometry",
];

impl Dataset {
    /// Which axis a variable is a coordinate of, by its attributes alone.
    ///
    /// Source: CF conventions, chapter 4.
    #[must_use]
    pub fn axis(&self, variable: usize) -> Option<Axis> {
        let variable = &self.variables[variable];
        if variable.dtype.is_text() {
            return None;
        }
        by_standard_name(variable)
            .or_else(|| by_units(variable))
            .or_else(|| by_axis(variable))
    }

    /// The coordinate variable of a dimension: one-dimensional and of the same name.
    #[must_use]
    pub fn dimension_coordinate(&self, dimension: usize) -> Option<usize> {
        let name = &self.dimensions[dimension].name;
        self.variable_index(name)
            .filter(|&index| self.variables[index].dims == [dimension])
            .filter(|&index| !self.variables[index].dtype.is_text())
    }

    /// The coordinate of a data variable along an axis: first the coordinate variables of its
    /// dimensions, then the auxiliary ones that its `coordinates` attribute names (scalar,
    /// curvilinear and unstructured).
    #[must_use]
    pub fn coordinate(&self, variable: usize, axis: Axis) -> Option<usize> {
        let own = self.variables[variable]
            .dims
            .iter()
            .filter_map(|&dimension| self.dimension_coordinate(dimension))
            .find(|&index| self.axis(index) == Some(axis));
        own.or_else(|| {
            self.auxiliary_coordinates(variable)
                .into_iter()
                .find(|&index| self.axis(index) == Some(axis))
        })
    }

    /// The place among the dimensions of a variable whose coordinate variable is of this axis.
    #[must_use]
    pub fn axis_position(&self, variable: usize, axis: Axis) -> Option<usize> {
        self.variables[variable].dims.iter().position(|&dimension| {
            self.dimension_coordinate(dimension)
                .is_some_and(|coordinate| self.axis(coordinate) == Some(axis))
        })
    }

    /// The variables that the `coordinates` attribute of a variable names.
    #[must_use]
    pub fn auxiliary_coordinates(&self, variable: usize) -> Vec<usize> {
        self.named_in(variable, "coordinates")
    }

    /// The cell bounds of a coordinate, from `bounds` or, for multi-year groups, `climatology`.
    #[must_use]
    pub fn bounds(&self, variable: usize) -> Option<usize> {
        ["bounds", "climatology"]
            .iter()
            .find_map(|attribute| self.named_in(variable, attribute).first().copied())
    }

    /// Every variable that this one needs to be understood: the coordinates of its dimensions,
    /// those its attributes name, and theirs. Sorted, without itself.
    #[must_use]
    pub fn companions(&self, variable: usize) -> Vec<usize> {
        let mut found = vec![variable];
        let mut next = 0;
        while next < found.len() {
            let of = found[next];
            let own = self.variables[of]
                .dims
                .iter()
                .map(|&dim| &self.dimensions[dim].name);
            let coordinates = own.filter_map(|name| self.variable_index(name));
            let named = REFERRING
                .iter()
                .flat_map(|attribute| self.named_in(of, attribute));
            let new: Vec<usize> = coordinates.chain(named).collect();
            for index in new {
                if !found.contains(&index) {
                    found.push(index);
                }
            }
            next += 1;
        }
        found.remove(0);
        found.sort_unstable();
        found
    }

    /// The numeric variables that are data: no coordinates, bounds, grid mappings or other
    /// variables that serve one.
    #[must_use]
    pub fn data_variables(&self) -> Vec<usize> {
        let mut serves = vec![false; self.variables.len()];
        for index in 0..self.variables.len() {
            for attribute in REFERRING {
                for named in self.named_in(index, attribute) {
                    serves[named] = serves[named] || named != index;
                }
            }
        }
        (0..self.variables.len())
            .filter(|&index| {
                let variable = &self.variables[index];
                let is_coordinate = self.dimension_index(&variable.name).is_some();
                !serves[index]
                    && !is_coordinate
                    && !variable.dtype.is_text()
                    && !is_grid_mapping(variable)
            })
            .collect()
    }

    /// The existing variables that a blank-separated attribute names; words that end in a colon
    /// (`area:` in `cell_measures`) are keys, not names.
    fn named_in(&self, variable: usize, attribute: &str) -> Vec<usize> {
        let text = self.variables[variable]
            .attributes
            .get_text(attribute)
            .unwrap_or_default();
        let (group, _) = split_path(&self.variables[variable].name);
        text.split_whitespace()
            .filter(|word| !word.ends_with(':'))
            .filter_map(|word| self.variable_seen_from(group, word))
            .collect()
    }
}

fn by_standard_name(variable: &Variable) -> Option<Axis> {
    match variable.attributes.get_text("standard_name")? {
        "time" => Some(Axis::Time),
        "latitude" => Some(Axis::Latitude),
        "longitude" => Some(Axis::Longitude),
        _ => None,
    }
}

fn by_units(variable: &Variable) -> Option<Axis> {
    let units = variable.attributes.get_text("units")?.trim();
    if DEGREES_NORTH.contains(&units) {
        Some(Axis::Latitude)
    } else if DEGREES_EAST.contains(&units) {
        Some(Axis::Longitude)
    } else if units.contains(" since ") {
        Some(Axis::Time)
    } else if PRESSURE.contains(&units) {
        Some(Axis::Level)
    } else {
        None
    }
}

/// `axis = "X"` and `"Y"` say nothing of longitude and latitude: projections have them too.
fn by_axis(variable: &Variable) -> Option<Axis> {
    match variable.attributes.get_text("axis") {
        Some("T" | "t") => Some(Axis::Time),
        Some("Z" | "z") => Some(Axis::Level),
        _ => {
            let positive = variable
                .attributes
                .get_text("positive")?
                .to_ascii_lowercase();
            matches!(positive.as_str(), "up" | "down").then_some(Axis::Level)
        }
    }
}

fn is_grid_mapping(variable: &Variable) -> bool {
    variable.attributes.get("grid_mapping_name").is_some()
}
