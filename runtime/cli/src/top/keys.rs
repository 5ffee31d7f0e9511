//! What the user pressed, and what that makes of the view: a state and its transitions, without
//! a terminal.

use std::ops::RangeInclusive;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Refreshes may be so far apart, in seconds.
pub(super) const INTERVALS_S: RangeInclusive<f64> = 0.5..=60.0;

/// What ranks are sorted by; the largest first, ranks and nodes the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// CPUs busy
    Cpu,
    /// Resident memory
    Memory,
    /// Read and written
    Io,
    /// GPUs busy
    Gpu,
    /// Communication that nothing hides
    Exposed,
    /// Rank
    Rank,
    /// Node
    Node,
}

/// What is shown, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) sort: Sort,
    pub(super) reversed: bool,
    /// Ranks above the first that is shown.
    pub(super) offset: usize,
    pub(super) paused: bool,
    pub(super) help: bool,
    pub(super) quit: bool,
    pub(super) interval_s: f64,
    /// Ranks that fit on the screen.
    page: usize,
    /// The terminal's size changed.
    pub(super) resized: u32,
}

impl State {
    pub(super) fn new(sort: Sort, interval_s: f64) -> Self {
        Self {
            sort,
            reversed: false,
            offset: 0,
            paused: false,
            help: false,
            quit: false,
            interval_s,
            page: usize::MAX,
            resized: 0,
        }
    }

    /// Keeps the offset within what there is.
    pub(super) fn fit(&mut self, page: usize, ranks: usize) {
        self.page = page.max(1);
        self.offset = self.offset.min(ranks.saturating_sub(self.page));
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => self.quit = true,
            KeyCode::Char('q') => self.quit = true,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Esc => self.quit = true,
            KeyCode::Char('h' | '?') => self.help = !self.help,
            KeyCode::Char('c') => self.sort_by(Sort::Cpu),
            KeyCode::Char('m') => self.sort_by(Sort::Memory),
            KeyCode::Char('i') => self.sort_by(Sort::Io),
            KeyCode::Char('g') => self.sort_by(Sort::Gpu),
            KeyCode::Char('e') => self.sort_by(Sort::Exposed),
            KeyCode::Char('r') => self.sort_by(Sort::Rank),
            KeyCode::Char('n') => self.sort_by(Sort::Node),
            KeyCode::Char('R') => self.reversed = !self.reversed,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('+') => self.every(self.interval_s / 2.0),
            KeyCode::Char('-') => self.every(self.interval_s * 2.0),
            KeyCode::Up => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down => self.offset = self.offset.saturating_add(1),
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(self.page),
            KeyCode::PageDown => self.offset = self.offset.saturating_add(self.page),
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = usize::MAX,
            _ => {}
        }
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.reversed = false;
        self.offset = 0;
    }

    fn every(&mut self, seconds: f64) {
        self.interval_s = seconds.clamp(*INTERVALS_S.start(), *INTERVALS_S.end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(state: &mut State, codes: &[KeyCode]) {
        for code in codes {
            state.press(KeyEvent::new(*code, KeyModifiers::NONE));
        }
    }

    #[test]
    fn keys_sort_move_and_leave() {
        let mut state = State::new(Sort::Cpu, 2.0);
        pressed(
            &mut state,
            &[KeyCode::Char('m'), KeyCode::Char('R'), KeyCode::Char('+')],
        );
        assert_eq!(
            (state.sort, state.reversed, state.interval_s),
            (Sort::Memory, true, 1.0)
        );
        pressed(&mut state, &[KeyCode::Char('+'); 9]);
        assert_eq!(state.interval_s, 0.5);
        pressed(&mut state, &[KeyCode::Char('-'); 30]);
        assert_eq!(state.interval_s, 60.0);
        pressed(&mut state, &[KeyCode::End]);
        state.fit(10, 25);
        assert_eq!(state.offset, 15);
        pressed(&mut state, &[KeyCode::PageUp, KeyCode::Up]);
        assert_eq!(state.offset, 4);
        state.fit(10, 3);
        assert_eq!(state.offset, 0);
        pressed(&mut state, &[KeyCode::Char('h'), KeyCode::Esc]);
        assert!(!state.help && !state.quit);
        state.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(state.quit);
    }
}
