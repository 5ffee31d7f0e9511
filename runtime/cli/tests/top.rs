//! `mizar top` as users run it: once, piped, and in a real terminal (tmux) with keys pressed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use mizar_record::model::JobRecord;
use mizar_report::synthetic::{Shape, record};
use support::{begun_before_now, mizar, refused, said, write};

/// What a screen may take to show something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A job whose last reading is of now; rank 2 is the busiest.
fn running() -> JobRecord {
    let mut job = record(&Shape {
        running: true,
        busy: |rank, _| [0.25, 0.5, 1.0, 0.75][rank as usize],
        memory_mib: |rank, _| 512 * (u64::from(rank) + 1),
        ..Shape::default()
    });
    begun_before_now(&mut job, 60_500_000_000);
    job
}

#[test]
fn a_pipe_gets_the_view_once_as_text_or_json() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _open) = write(&running(), folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let text = said(&mizar(
        &["top", "1234", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        text.starts_with("Job 1234 · synthetic · alice · 2 nodes · 4 ranks"),
        "{text}"
    );
    assert!(text.contains("CPUs 2.50 of 4"), "{text}");
    assert!(!text.contains('\u{1b}'), "escape codes in a pipe");
    let ranks: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("rank"))
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(ranks[..4], ["2", "3", "1", "0"], "by CPU: {text}");

    let json = said(&mizar(
        &["top", "--json", "--record-dir", record_dir],
        folder.path(),
    ));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["schema"], "mizar-top/1");
    assert_eq!(json["nodes"][1]["node"], "n2");
    assert_eq!(json["nodes"][1]["source"], "record");
    let busy = json["nodes"][1]["ranks"][0]["cpus_busy"].as_f64().unwrap();
    assert!((busy - 1.0).abs() < 1e-6);

    let none = said(&mizar(
        &["top", "9", "--once", "--record-dir", record_dir],
        folder.path(),
    ));
    assert!(
        none.starts_with("No watched job is running.\n") && none.contains("\nRecords in "),
        "{none}"
    );
    let nowhere = folder.path().join("nowhere");
    let message = refused(&mizar(
        &["top", "--record-dir", nowhere.to_str().unwrap()],
        folder.path(),
    ));
    assert!(
        message.contains("nobody.sock") && message.contains("nowhere"),
        "{message}"
    );
}

/// A terminal of its own, ended with the test.
struct Screen<'f> {
    folder: &'f Path,
}

impl<'f> Screen<'f> {
    /// Runs a command line in a terminal of 100 columns and 20 lines, then waits there.
    fn open(folder: &'f Path, words: &[&str]) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            println!("SKIP: no tmux");
            return None;
        }
        let screen = Self { folder };
        let mut arguments = vec![
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "20",
        ];
        arguments.extend(["sh", "-c", "\"$@\"; echo left with $?; exec sleep 60", "sh"]);
        arguments.extend(words);
        screen.tmux(&arguments);
        Some(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.join("tmux.sock"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env("MIZAR_SOCKET", self.folder.join("nobody.sock"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the screen is as expected.
    #[track_caller]
    fn until(&self, what: &str, expected: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let seen = self.tmux(&["capture-pane", "-p"]);
            if expected(&seen) {
                return seen;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "{what}: the screen shows\n{seen}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("tmux")
            .arg("-S")
            .arg(self.folder.join("tmux.sock"))
            .arg("kill-server")
            .output();
    }
}

/// The ranks in the order of the lines.
fn ranks(screen: &str) -> Vec<String> {
    let table = screen
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("rank"));
    table
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u32>().is_ok())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_terminal_shows_it_live_and_obeys_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _open) = write(&running(), folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let words = [
        env!("CARGO_BIN_EXE_mizar"),
        "top",
        "1234",
        "--record-dir",
        record_dir,
        "--interval",
        "0.5",
    ];
    let Some(screen) = Screen::open(folder.path(), &words) else {
        return;
    };
    let first = screen.until("first", |seen| ranks(seen) == ["2", "3", "1", "0"]);
    assert!(first.contains("by CPU, every 0.5 s"), "{first}");
    screen.press("R");
    screen.until("reversed", |seen| ranks(seen) == ["0", "1", "3", "2"]);
    screen.press("m");
    screen.until("by memory", |seen| {
        ranks(seen) == ["3", "2", "1", "0"] && seen.contains("by memory, every")
    });
    // The time in the title goes on by itself, and stops while paused.
    let title = |seen: &str| seen.lines().next().unwrap().to_owned();
    let before = title(&screen.until("a title", |_| true));
    screen.until("a refresh", |seen| title(seen) != before);
    screen.press("p");
    let paused = title(&screen.until("paused", |seen| seen.contains("PAUSED")));
    std::thread::sleep(Duration::from_millis(1500));
    screen.until("still", |seen| title(seen) == paused);
    screen.press("h");
    screen.until("help", |seen| seen.contains("Page Up, Page Down"));
    screen.press("h");
    screen.until("the table again", |seen| ranks(seen).len() == 4);
    screen.press("q");
    let left = screen.until("the end", |seen| seen.contains("left with 0"));
    // The shell's screen is back as it was.
    assert!(ranks(&left).is_empty(), "{left}");
}

#[test]
fn a_stop_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_, _open) = write(&running(), folder.path());
    let record_dir = folder.path().to_str().unwrap();
    let words = [
        "sh",
        "-c",
        "echo $$ > \"$1/pid\"; shift; exec \"$@\"",
        "sh",
        record_dir,
    ];
    let program = [
        env!("CARGO_BIN_EXE_mizar"),
        "top",
        "--record-dir",
        record_dir,
    ];
    let Some(screen) = Screen::open(folder.path(), &[&words[..], &program[..]].concat()) else {
        return;
    };
    screen.until("first", |seen| ranks(seen).len() == 4);
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    Command::new("kill").arg(pid.trim()).status().unwrap();
    // 128 + SIGTERM.
    let left = screen.until("the end", |seen| seen.contains("left with 143"));
    assert!(ranks(&left).is_empty(), "{left}");
    assert_eq!(
        screen.tmux(&["display", "-p", "#{alternate_on}"]).trim(),
        "0"
    );
}
