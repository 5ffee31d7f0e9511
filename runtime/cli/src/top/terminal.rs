//! The terminal, taken and given back: on the way out, after a panic and when the program is
//! told to end.

use std::io::{Stdout, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyEventKind, poll, read};
use crossterm::style::{Attribute, Color, Print, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::keys::State;
use super::screen::{Line, Style};
use crate::interrupt;

/// What a terminal that does not tell is taken to be.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// The terminal in raw mode, on its other screen.
pub(super) struct Terminal(Stdout);

impl Terminal {
    /// Takes it.
    pub(super) fn take() -> anyhow::Result<Self> {
        // Before any thread starts, and before there is anything to give back.
        interrupt::before_a_stop(give_back)?;
        enable_raw_mode()?;
        let mut out = stdout();
        execute!(out, EnterAlternateScreen, Hide)?;
        Ok(Self(out))
    }

    /// Columns and lines.
    pub(super) fn size(&self) -> (usize, usize) {
        let (columns, lines) = size().unwrap_or(USUAL_SIZE);
        (usize::from(columns.max(1)), usize::from(lines.max(1)))
    }

    /// Shows lines, from the top; the rest is empty.
    pub(super) fn draw(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        for (row, line) in lines.iter().enumerate() {
            let Ok(row) = u16::try_from(row) else { break };
            queue!(self.0, MoveTo(0, row))?;
            match line.style {
                Style::Plain => {}
                Style::Title => queue!(self.0, SetAttribute(Attribute::Bold))?,
                Style::Header => queue!(self.0, SetAttribute(Attribute::Reverse))?,
                Style::Alarm => queue!(self.0, SetForegroundColor(Color::Red))?,
                Style::Faint => queue!(self.0, SetAttribute(Attribute::Dim))?,
            }
            queue!(
                self.0,
                Print(&line.text),
                ResetColor,
                SetAttribute(Attribute::Reset),
                Clear(ClearType::UntilNewLine)
            )?;
        }
        queue!(self.0, Clear(ClearType::FromCursorDown))?;
        self.0.flush()?;
        Ok(())
    }

    /// Waits for keys until one changes the state or the time is over.
    pub(super) fn wait(&mut self, state: &mut State, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        let before = state.clone();
        while *state == before {
            let left = until.saturating_duration_since(Instant::now());
            if !poll(left)? {
                return Ok(());
            }
            match read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => state.press(key),
                Event::Resize(..) => state.resized = state.resized.wrapping_add(1),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    let mut out = stdout();
    let _ = execute!(out, Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}
