//! What the dimensions of a model's tensors mean: items, steps, channels, rows, columns.

use std::fmt;

/// What a dimension of a tensor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Items of a batch.
    Items,
    /// Steps of a window.
    Steps,
    /// Variables and their levels; without [`Steps`](Self::Steps), for one step after the other.
    Channels,
    /// Rows of a tile.
    Rows,
    /// Columns of a tile.
    Columns,
}

impl Role {
    const ALL: [(char, Self); 5] = [
        ('N', Self::Items),
        ('T', Self::Steps),
        ('C', Self::Channels),
        ('H', Self::Rows),
        ('W', Self::Columns),
    ];
}

/// The roles of the dimensions of a tensor, slowest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(Vec<Role>);

/// Why letters are no layout.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no layout: each of N (items), T (steps), C (channels), H (rows) and W (columns) at \
     most once, H and W together, such as NCHW, NTCHW, NTC or NC"
)]
pub struct LayoutError(pub String);

impl Layout {
    /// Reads letters, such as `NCHW`.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn parse(text: &str) -> Result<Self, LayoutError> {
        let refuse = || LayoutError(text.to_owned());
        let mut roles = Vec::new();
        for letter in text.to_uppercase().chars() {
            let role = Role::ALL.iter().find(|(known, _)| *known == letter);
            let role = role.ok_or_else(refuse)?.1;
            if roles.contains(&role) {
                return Err(refuse());
            }
            roles.push(role);
        }
        let layout = Self(roles);
        if layout.0.is_empty() || layout.has(Role::Rows) != layout.has(Role::Columns) {
            return Err(refuse());
        }
        Ok(layout)
    }

    /// What tensors of so many dimensions mean most often.
    pub(crate) fn usual(dimensions: usize) -> Option<Self> {
        let letters = match dimensions {
            2 => "NC",
            3 => "NTC",
            4 => "NCHW",
            5 => "NCTHW",
            _ => return None,
        };
        Self::parse(letters).ok()
    }

    /// The output's, if nothing is said: as many of the input's as there are dimensions, without
    /// steps first.
    pub(crate) fn of_output(&self, dimensions: usize) -> Option<Self> {
        let without = |role: Role| {
            let roles = self.0.iter().copied().filter(|own| *own != role);
            Self(roles.collect())
        };
        [self.clone(), without(Role::Steps), without(Role::Channels)]
            .into_iter()
            .find(|layout| layout.0.len() == dimensions)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The length of the dimension of a role; `None` without one.
    pub(crate) fn length<T: Copy>(&self, role: Role, shape: &[T]) -> Option<T> {
        let place = self.0.iter().position(|own| *own == role)?;
        shape.get(place).copied()
    }

    /// The shape of a tensor; dimensions that the layout lacks must be 1.
    pub(crate) fn shape(&self, lengths: impl Fn(Role) -> usize) -> Vec<usize> {
        self.0.iter().map(|role| lengths(*role)).collect()
    }

    /// From one to the next in the memory of a tensor; 0 without such a dimension.
    pub(crate) fn strides(&self, shape: &[usize]) -> Strides {
        let stride = |role: Role| {
            let place = self.0.iter().position(|own| *own == role);
            place.map_or(0, |place| shape[place + 1..].iter().product())
        };
        Strides {
            item: stride(Role::Items),
            step: stride(Role::Steps),
            channel: stride(Role::Channels),
            row: stride(Role::Rows),
            column: stride(Role::Columns),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for role in &self.0 {
            if let Some((letter, _)) = Role::ALL.iter().find(|(_, known)| known == role) {
                write!(out, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Distances in the memory of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) item: usize,
    pub(crate) step: usize,
    pub(crate) channel: usize,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_roles_and_back() {
        let layout = Layout::parse("nchw").unwrap();
        assert_eq!(layout.to_string(), "NCHW");
        let strides = layout.strides(&[2, 3, 4, 5]);
        let found = [strides.item, strides.channel, strides.row, strides.column];
        assert_eq!(found, [60, 20, 5, 1]);
        assert_eq!(strides.step, 0);
        for text in ["", "NN", "NCX", "NCH"] {
            assert!(Layout::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_output_with_fewer_dimensions_has_no_steps() {
        let input = Layout::parse("NTCHW").unwrap();
        assert_eq!(input.of_output(5).unwrap().to_string(), "NTCHW");
        assert_eq!(input.of_output(4).unwrap().to_string(), "NCHW");
        let series = Layout::parse("NTC").unwrap();
        assert_eq!(series.of_output(2).unwrap().to_string(), "NC");
        assert_eq!(series.of_output(4), None);
        let plain = Layout::parse("NCHW").unwrap();
        assert_eq!(plain.of_output(3).unwrap().to_string(), "NHW");
    }
}
