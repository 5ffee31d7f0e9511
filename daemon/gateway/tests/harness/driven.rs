//! A server in Python that a test drives line by line.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The server; ended on drop.
pub(crate) struct Driven(Child, ChildStdin, BufReader<ChildStdout>);

impl Driven {
    /// Starts a script beside the tests, which imports `modules`, and returns the first line
    /// that it writes.
    pub(crate) fn start(script: &str, modules: &str) -> Option<(Self, String)> {
        let python = mizar_lab::venv::python_with(modules)?;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let mut child = Command::new(python)
            .arg(folder.join(script))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut driven = Self(child, input, output);
        let first = driven.line();
        Some((driven, first))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.2.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Has it do something, and returns what it answers.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        writeln!(self.1, "{command}").unwrap();
        self.line()
    }

    /// Has it do something.
    pub(crate) fn tell(&mut self, command: &str) {
        assert_eq!(self.ask(command), "done");
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
