//! A real browser reads a page, and the figures that a page shows are those of its JSON.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What a browser may take to draw a page on a busy machine.
const BROWSER_LIMIT: Duration = Duration::from_secs(60);

/// The figures that a page shows with their exact values: name and value.
fn figures(page: &str) -> Vec<(String, String)> {
    let attribute = |text: &str, name: &str| {
        let rest = text.split_once(&format!("{name}=\"")).unwrap().1;
        rest.split_once('"').unwrap().0.to_owned()
    };
    let tags = page.split("<").filter(|tag| tag.contains("data-figure="));
    tags.map(|tag| (attribute(tag, "data-figure"), attribute(tag, "data-value")))
        .collect()
}

/// Each figure of the page has the value that the JSON has at its name.
pub(crate) fn assert_figures_are_those_of_the_json(page: &str, report: &impl Serialize) {
    let json = serde_json::to_value(report).unwrap();
    let figures = figures(page);
    assert!(figures.len() >= 8, "{figures:?}");
    for (name, shown) in figures {
        let pointer = format!("/{}", name.replace('.', "/"));
        let expected = json
            .pointer(&pointer)
            .unwrap_or_else(|| panic!("no {name} in the JSON"));
        match expected.as_f64() {
            Some(number) => assert_eq!(shown.parse::<f64>().unwrap(), number, "{name}"),
            None => assert_eq!(shown, "null", "{name}"),
        }
    }
}

/// The document after a browser has read it, and what the browser said.
pub(crate) fn drawn(file: &Path, folder: &Path) -> Option<(String, String)> {
    let Some(browser) = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
    else {
        println!("SKIP: no chromium");
        return None;
    };
    let out = std::fs::File::create(folder.join("out")).unwrap();
    let err = std::fs::File::create(folder.join("err")).unwrap();
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("file://{}", file.display()))
        .env("HOME", folder)
        .stdout(out)
        .stderr(err)
        .spawn()
        .unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > BROWSER_LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser did not end within {BROWSER_LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let read = |name: &str| {
        String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap()).into_owned()
    };
    assert!(status.success(), "{}", read("err"));
    Some((read("out"), read("err")))
}
