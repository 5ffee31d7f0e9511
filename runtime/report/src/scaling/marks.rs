//! What a program marked, rank by rank: sections with a begin and an end, and figures.
//!
//! Used by [`super::record`]. A begin without its end is a section that was cut short, an end
//! without its begin is one whose begin was lost: neither is a section.

use std::collections::BTreeMap;

/// More sections of one name and rank are not kept: a million epochs need no report.
const MAX_SECTIONS: usize = 1 << 20;

/// A marked time of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
}

impl Section {
    pub(super) fn seconds(&self) -> f64 {
        (self.to_ns - self.from_ns) as f64 / 1e9
    }
}

/// All marks of a step.
#[derive(Debug, Default)]
pub(super) struct Marks {
    sections: BTreeMap<String, BTreeMap<u32, Vec<Section>>>,
    open: BTreeMap<(String, u32), i64>,
    figures: BTreeMap<String, Vec<(i64, f64)>>,
}

impl Marks {
    pub(super) fn begin(&mut self, name: &str, rank: u32, time_ns: i64) {
        self.open.insert((name.to_owned(), rank), time_ns);
    }

    pub(super) fn end(&mut self, name: &str, rank: u32, time_ns: i64) {
        let Some(from_ns) = self.open.remove(&(name.to_owned(), rank)) else {
            return;
        };
        let by_rank = self.sections.entry(name.to_owned()).or_default();
        let sections = by_rank.entry(rank).or_default();
        if sections.len() < MAX_SECTIONS && time_ns > from_ns {
            sections.push(Section {
                from_ns,
                to_ns: time_ns,
            });
        }
    }

    pub(super) fn figure(&mut self, name: &str, _rank: u32, time_ns: i64, value: f64) {
        if value.is_finite() {
            self.figures
                .entry(name.to_owned())
                .or_default()
                .push((time_ns, value));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.sections.contains_key(name)
    }

    pub(super) fn sections(&self, name: &str) -> Option<&BTreeMap<u32, Vec<Section>>> {
        self.sections.get(name)
    }

    pub(super) fn section_names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    pub(super) fn figures_of(&self, name: &str) -> impl Iterator<Item = f64> {
        self.figures
            .get(name)
            .into_iter()
            .flatten()
            .map(|figure| figure.1)
    }

    /// The sum of a figure over ranks between two instants; `None` if there is none.
    pub(super) fn total(&self, name: &str, from_ns: i64, to_ns: i64) -> Option<f64> {
        let figures = self.figures.get(name)?.iter();
        let mut within = figures
            .filter(|f| (from_ns..=to_ns).contains(&f.0))
            .peekable();
        within.peek()?;
        Some(within.map(|figure| figure.1).sum())
    }
}
