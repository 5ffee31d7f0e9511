//! A browser that is used as a person would: keys are pressed, what is drawn is looked at.
//!
//! It speaks Chromium's DevTools protocol over two named pipes, one JSON message before each NUL:
//! no port is opened, and no client library is needed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use serde_json::{Value, json};

use super::{COMMON, LIMIT, find};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(50);

/// Opens the pipes as descriptors 3 and 4, where the browser looks for them.
const WITH_PIPES: &str = "exec 3<\"$MIZAR_BROWSER_IN\" 4>\"$MIZAR_BROWSER_OUT\"; exec \"$@\"";

/// A page in a browser; both end on drop.
pub struct Session {
    child: Child,
    commands: File,
    answers: Receiver<Value>,
    last: u64,
    page: Option<String>,
    complaints: Vec<String>,
}

impl Session {
    /// Opens a page. `None`, with a line that says so, where there is no browser; `folder` is its
    /// home.
    ///
    /// # Panics
    /// If the browser fails, or does not answer in time.
    #[must_use]
    pub fn open(url: &str, folder: &Path) -> Option<Self> {
        let browser = find()?;
        let pipe = |name: &str| {
            let path = folder.join(name);
            nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a pipe of the test");
            path
        };
        let (input, output) = (pipe("browser-in"), pipe("browser-out"));
        let child = Command::new("sh")
            .args(["-c", WITH_PIPES, "sh", browser])
            .args(COMMON)
            .arg("--remote-debugging-pipe")
            .arg(format!(
                "--user-data-dir={}",
                folder.join("profile").display()
            ))
            .arg("about:blank")
            .env("HOME", folder)
            .env("MIZAR_BROWSER_IN", &input)
            .env("MIZAR_BROWSER_OUT", &output)
            .stdout(File::create(folder.join("out")).expect("a file of the test"))
            .stderr(File::create(folder.join("err")).expect("a file of the test"))
            .spawn()
            .expect("a shell");
        // In the order in which the shell opens their other ends.
        let commands = File::options()
            .write(true)
            .open(&input)
            .expect("the browser's pipe");
        let answers = File::open(&output).expect("the browser's pipe");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let message = message
                    .ok()
                    .and_then(|text| serde_json::from_slice(&text).ok());
                let Some(message) = message else { return };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut session = Self {
            child,
            commands,
            answers: receiver,
            last: 0,
            page: None,
            complaints: Vec::new(),
        };
        session.attach();
        session.goto(url);
        Some(session)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("Target.attachToTarget", attach);
        self.page = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
    }

    /// Opens another address.
    ///
    /// # Panics
    /// If the browser cannot.
    pub fn goto(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({"url": url}));
        assert!(gone.get("errorText").is_none(), "{url}: {gone}");
    }

    /// One command of the protocol, and its result.
    ///
    /// # Panics
    /// If the browser refuses it, or does not answer in time.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if let Some(page) = &self.page {
            command["sessionId"] = json!(page);
        }
        let text = format!("{command}\0");
        self.commands
            .write_all(text.as_bytes())
            .expect("the browser listens");
        loop {
            let answer = self.answers.recv_timeout(LIMIT);
            let answer = answer.unwrap_or_else(|_| panic!("the browser does not answer {method}"));
            if answer["id"] == self.last {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.note(&answer);
        }
    }

    /// Keeps what the page's script or the browser complains of.
    fn note(&mut self, event: &Value) {
        let is_complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => true,
            // Answers such as 401 are the page's own business.
            Some("Log.entryAdded") => {
                event.pointer("/params/entry/source") != Some(&json!("network"))
            }
            _ => false,
        };
        if is_complaint {
            self.complaints.push(event["params"].to_string());
        }
    }

    /// What the script of the page and the browser complained of.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// The value of an expression in the page; promises are waited for.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let told = self.call("Runtime.evaluate", asked);
        assert!(
            told.get("exceptionDetails").is_none(),
            "{expression}: {told}"
        );
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true. One that throws is not: the page may not be there yet.
    ///
    /// # Panics
    /// With the text of the page, if it does not become so in time.
    pub fn wait(&mut self, expression: &str) {
        let question = format!(
            "(() => {{ try {{ return {expression}; }} catch (e) {{ return String(e); }} }})()"
        );
        let started = Instant::now();
        loop {
            let value = self.evaluate(&question);
            if value == json!(true) {
                return;
            }
            if started.elapsed() > LIMIT {
                let text = self.evaluate("document.body?.innerText");
                let complaints = &self.complaints;
                panic!("{expression} is {value} on the page\n{text}\n{complaints:?}");
            }
            std::thread::sleep(STEP);
        }
    }

    /// Presses a key: `Tab`, `Enter`, ` ` or a letter; `modifiers` is 8 for shift.
    pub fn press(&mut self, key: &str, modifiers: u32) {
        let (code, text) = match key {
            "Tab" => (9, String::new()),
            "Enter" => (13, "\r".to_owned()),
            "Backspace" => (8, String::new()),
            _ => (0, key.to_owned()),
        };
        let down = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        let event = |kind: &str| {
            let mut event = json!({"type": kind, "key": key, "code": key, "modifiers": modifiers,
                "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            event
        };
        self.call("Input.dispatchKeyEvent", event(down));
        self.call("Input.dispatchKeyEvent", event("keyUp"));
    }

    /// Presses the keys of a text.
    pub fn write(&mut self, text: &str) {
        for letter in text.chars() {
            self.press(&letter.to_string(), 0);
        }
    }

    /// Moves the focus by Tab until an expression is true of the element `focused`.
    ///
    /// # Panics
    /// If `most` steps do not lead there.
    pub fn tab_to(&mut self, condition: &str, most: u32) {
        let question = format!("((focused) => {condition})(document.activeElement)");
        for _ in 0..most {
            self.press("Tab", 0);
            if self.evaluate(&question) == json!(true) {
                return;
            }
        }
        panic!("{most} steps by Tab lead to nothing for which {condition}");
    }

    /// A picture of the page as PNG, in base64.
    #[must_use]
    pub fn picture(&mut self) -> String {
        let told = self.call("Page.captureScreenshot", json!({"format": "png"}));
        told["data"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
