//! Windows along time: which steps go into an item, and which its outputs are of. Pure.

/// Windows of so many steps, and the rows of the output that they fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// Steps that go into an item.
    pub(crate) steps_in: usize,
    /// Steps that come out.
    pub(crate) steps_out: usize,
    /// The first step of each window.
    starts: Vec<usize>,
    /// From the first step of a window to the first of its output.
    offset: usize,
    /// Whether rows follow each other as steps do; else each window has rows of its own.
    contiguous: bool,
}

/// To which steps of a window outputs belong, if there are fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// The first.
    First,
    /// Those in its middle.
    Center,
    /// The last.
    #[default]
    Last,
}

impl Windows {
    /// Windows every `stride` steps. Where those of outputs touch, the last window is moved back
    /// so that no step is left over.
    ///
    /// `None` if there are fewer steps than a window has, or more come out than go in.
    pub(crate) fn new(
        length: usize,
        steps_in: usize,
        steps_out: usize,
        stride: usize,
        align: Align,
    ) -> Option<Self> {
        let last = length.checked_sub(steps_in)?;
        let left = steps_in.checked_sub(steps_out)?;
        if steps_out == 0 || stride == 0 {
            return None;
        }
        let contiguous = stride <= steps_out;
        let mut starts: Vec<usize> = (0..=last).step_by(stride).collect();
        if contiguous && starts.last() != Some(&last) {
            starts.push(last);
        }
        let offset = match align {
            Align::First => 0,
            Align::Center => left / 2,
            Align::Last => left,
        };
        Some(Self {
            steps_in,
            steps_out,
            starts,
            offset,
            contiguous,
        })
    }

    /// How many windows.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The first step of a window.
    pub(crate) fn start(&self, window: usize) -> usize {
        self.starts[window]
    }

    /// How many steps the output has.
    pub(crate) fn rows(&self) -> usize {
        match self.contiguous {
            true => self.starts.last().map_or(0, |last| last + self.steps_out),
            false => self.count() * self.steps_out,
        }
    }

    /// The first row of the output that a window fills.
    pub(crate) fn row(&self, window: usize) -> usize {
        match self.contiguous {
            true => self.starts[window],
            false => window * self.steps_out,
        }
    }

    /// The step of the input that a row of the output is of.
    pub(crate) fn step_of(&self, row: usize) -> usize {
        match self.contiguous {
            true => row + self.offset,
            false => self.starts[row / self.steps_out] + self.offset + row % self.steps_out,
        }
    }

    /// How many windows fill a row.
    pub(crate) fn sum(&self, row: usize) -> f64 {
        self.touching(&(row..row + 1)).len() as f64
    }

    /// Whether no row is filled by two windows.
    pub(crate) fn is_disjoint(&self) -> bool {
        (1..self.count()).all(|window| self.row(window - 1) + self.steps_out <= self.row(window))
    }

    /// Windows that fill some of these rows.
    pub(crate) fn touching(&self, rows: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let first = self.first_that(|row| row + self.steps_out > rows.start);
        first..self.first_that(|row| row >= rows.end).max(first)
    }

    /// The first window whose first row is so; of rows that grow with the windows.
    fn first_that(&self, is_so: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_so(self.row(middle)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(windows: &Windows) -> Vec<usize> {
        (0..windows.rows())
            .map(|row| windows.step_of(row))
            .collect()
    }

    #[test]
    fn one_step_out_of_five_is_the_last_of_each_window() {
        let windows = Windows::new(8, 5, 1, 1, Align::Last).unwrap();
        assert_eq!(windows.count(), 4);
        assert_eq!(steps(&windows), [4, 5, 6, 7]);
        let center = Windows::new(8, 5, 1, 1, Align::Center).unwrap();
        assert_eq!(steps(&center), [2, 3, 4, 5]);
        let sparse = Windows::new(8, 5, 1, 2, Align::First).unwrap();
        assert_eq!(steps(&sparse), [0, 2]);
        assert!(windows.is_disjoint() && center.is_disjoint() && sparse.is_disjoint());
    }

    #[test]
    fn the_last_window_is_moved_back_so_that_no_step_is_left_over() {
        let windows = Windows::new(8, 3, 3, 3, Align::Last).unwrap();
        assert_eq!(steps(&windows), (0..8).collect::<Vec<_>>());
        assert_eq!(windows.touching(&(5..6)), 1..3);
        assert!(!windows.is_disjoint());
        assert!(Windows::new(9, 3, 3, 3, Align::Last).unwrap().is_disjoint());
        assert_eq!(
            (windows.sum(4), windows.sum(5), windows.sum(7)),
            (1.0, 2.0, 1.0)
        );
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        assert_eq!(Windows::new(4, 5, 1, 1, Align::Last), None);
        assert_eq!(Windows::new(8, 2, 3, 1, Align::Last), None);
    }
}
