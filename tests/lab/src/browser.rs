//! A real browser without a screen, for tests of pages: [`drawn`] gives the document once it has
//! been read, [`Session`] one that is used by keyboard.

mod session;

pub use session::Session;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a browser may take to draw a page on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// How it is always run.
const COMMON: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
];

/// The browser of this machine; `None`, with a line that says so, where there is none.
fn find() -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok());
    if found.is_none() {
        println!("SKIP: no chromium");
    }
    found
}

/// The document after a browser has read the page, and what the browser said. `None`, with a line
/// that says so, where there is no browser; `folder` is its home.
///
/// # Panics
/// If the browser fails, or does not end in time.
pub fn drawn(url: &str, folder: &Path, more: &[&str]) -> Option<(String, String)> {
    let browser = find()?;
    let file = |name: &str| std::fs::File::create(folder.join(name)).expect("a file of the test");
    let profile = folder.join("profile");
    let mut child = Command::new(browser)
        .args(COMMON)
        .arg("--dump-dom")
        .args(more)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .env("HOME", folder)
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .expect("the browser that was just found");
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child of the test") {
            break status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the browser did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(status.success(), "{}", read("err"));
    Some((read("out"), read("err")))
}
