//! What the site wrote in plugstack.conf, what the user wrote after `--mizar=`, and what
//! follows from both.
//!
//! Wrong user values are refused at submission with the valid ones; wrong site values are
//! reported and left at their defaults, because no typing error may stop a job.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `--mizar` accepts, as shown with every refusal.
pub(crate) const VALID_OPTIONS: &str = "on, off, require, comm, sample=<n>hz, sample=<n>s, sample=<n>ms (10 ms to 1 h), joined by \
     commas";

/// What a line of plugstack.conf accepts after the plugin's path.
const VALID_ARGUMENTS: &str = "socket=<path, %n is the node>, default=on|off, require, \
                               sample=<n>hz|<n>s|<n>ms, budget_ms=1..1000, \
                               comm_lib=<path of libmizar_comm.so>";

/// Time that a step may spend on the daemon unless the site says otherwise.
const DEFAULT_BUDGET_MS: u32 = 50;
const MAX_BUDGET_MS: u32 = 1_000;

/// 100 Hz: sampling faster than this costs more than it tells.
const MIN_SAMPLE_MS: f64 = 10.0;
const MAX_SAMPLE_MS: f64 = 3_600_000.0;

/// The site's choice: the arguments in plugstack.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    socket: String,
    default_on: bool,
    require: bool,
    sample_ms: Option<u32>,
    budget_ms: u32,
    comm_library: String,
    /// For tests alone: the hook that shall panic (`test-panic=NAME`).
    pub(crate) test_panic: Option<String>,
}

/// The user's choice: `--mizar[=…]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    on: bool,
    require: bool,
    sample_ms: Option<u32>,
    comm: bool,
}

/// What holds for one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Does Mizar do anything?
    pub(crate) enabled: bool,
    /// Shall the step fail without a daemon?
    pub(crate) require: bool,
    /// The sampling interval asked for.
    pub(crate) sample_ms: Option<u32>,
    /// Shall communication be told from computation?
    pub(crate) comm: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            socket: mizar_api::DEFAULT_SOCKET.to_owned(),
            default_on: false,
            require: false,
            sample_ms: None,
            budget_ms: DEFAULT_BUDGET_MS,
            comm_library: mizar_api::DEFAULT_COMM_LIBRARY.to_owned(),
            test_panic: None,
        }
    }
}

impl Site {
    /// Reads the arguments; also returns what is wrong with them, for the log.
    pub(crate) fn parse(arguments: &[String]) -> (Self, Vec<String>) {
        let mut site = Self::default();
        let problems = arguments
            .iter()
            .filter(|argument| site.set(argument).is_none())
            .map(|argument| {
                format!("plugstack.conf: `{argument}` is not valid; valid are {VALID_ARGUMENTS}")
            })
            .collect();
        (site, problems)
    }

    fn set(&mut self, argument: &str) -> Option<()> {
        match argument.split_once('=') {
            None if argument == "require" => self.require = true,
            Some(("socket", path)) if path.starts_with('/') => self.socket = path.to_owned(),
            Some(("comm_lib", path)) if path.starts_with('/') => {
                self.comm_library = path.to_owned();
            }
            Some(("default", "on")) => self.default_on = true,
            Some(("default", "off")) => self.default_on = false,
            Some(("sample", interval)) => self.sample_ms = Some(parse_interval_ms(interval)?),
            Some(("budget_ms", number)) => {
                let number = number.parse().ok();
                self.budget_ms = number.filter(|ms| (1..=MAX_BUDGET_MS).contains(ms))?;
            }
            Some(("test-panic", hook)) => self.test_panic = Some(hook.to_owned()),
            _ => return None,
        }
        Some(())
    }

    /// Where the daemon of `node` listens.
    pub(crate) fn socket(&self, node: &str) -> PathBuf {
        PathBuf::from(self.socket.replace("%n", node))
    }

    /// The library that `--mizar=comm` preloads.
    pub(crate) fn comm_library(&self) -> &Path {
        Path::new(&self.comm_library)
    }

    /// Time that one step may spend on the daemon.
    pub(crate) fn budget(&self) -> Duration {
        Duration::from_millis(u64::from(self.budget_ms))
    }

    /// What holds for a step whose user chose `choice`. `--mizar=off` also sets aside the
    /// site's `require`: what is not watched needs no daemon.
    pub(crate) fn settings(&self, choice: Option<Choice>) -> Settings {
        Settings {
            enabled: choice.map_or(self.default_on, |choice| choice.on),
            require: self.require || choice.is_some_and(|choice| choice.require),
            sample_ms: choice
                .and_then(|choice| choice.sample_ms)
                .or(self.sample_ms),
            comm: choice.is_some_and(|choice| choice.comm),
        }
    }
}

impl Choice {
    /// Reads what stands after `--mizar=`; `--mizar` alone is `on`.
    ///
    /// # Errors
    /// The message for the user.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut choice = Self {
            on: true,
            require: false,
            sample_ms: None,
            comm: false,
        };
        // Slurm hands an absent argument on to inner steps as glibc prints a null pointer.
        let text = text.filter(|text| *text != "(null)").unwrap_or_default();
        if text == "off" {
            return Ok(Self {
                on: false,
                ..choice
            });
        }
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word.split_once('=') {
                None if word == "on" => {}
                None if word == "require" => choice.require = true,
                None if word == "comm" => choice.comm = true,
                Some(("sample", interval)) => {
                    let interval = parse_interval_ms(interval).ok_or_else(|| refusal(word))?;
                    choice.sample_ms = Some(interval);
                }
                _ => return Err(refusal(word)),
            }
        }
        Ok(choice)
    }
}

fn refusal(word: &str) -> String {
    let shown: String = word.chars().take(60).collect();
    format!("`{shown}` is not valid for --mizar; valid are {VALID_OPTIONS}")
}

/// `2hz`, `0.5s` and `500ms` to milliseconds.
fn parse_interval_ms(text: &str) -> Option<u32> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
    if !number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let interval_ms = match unit {
        "hz" | "Hz" => 1_000.0 / number,
        "s" => number * 1_000.0,
        "ms" => number,
        _ => return None,
    };
    // In range, so that the conversion neither wraps nor loses more than the fraction.
    (MIN_SAMPLE_MS..=MAX_SAMPLE_MS)
        .contains(&interval_ms)
        .then_some(interval_ms.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(arguments: &[&str]) -> (Site, Vec<String>) {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        Site::parse(&arguments)
    }

    #[test]
    fn every_valid_option_is_read() {
        let on = Choice {
            on: true,
            require: false,
            sample_ms: None,
            comm: false,
        };
        for (text, choice) in [
            (None, on),
            (Some(""), on),
            (Some("(null)"), on),
            (Some("on"), on),
            (Some("off"), Choice { on: false, ..on }),
            (
                Some("require"),
                Choice {
                    require: true,
                    ..on
                },
            ),
            (
                Some("sample=2hz"),
                Choice {
                    sample_ms: Some(500),
                    ..on
                },
            ),
            (
                Some("sample=0.5hz"),
                Choice {
                    sample_ms: Some(2_000),
                    ..on
                },
            ),
            (
                Some("sample=2s"),
                Choice {
                    sample_ms: Some(2_000),
                    ..on
                },
            ),
            (
                Some("sample=250ms"),
                Choice {
                    sample_ms: Some(250),
                    ..on
                },
            ),
            (
                Some("sample=2hz,require"),
                Choice {
                    require: true,
                    sample_ms: Some(500),
                    ..on
                },
            ),
            (Some("comm"), Choice { comm: true, ..on }),
            (
                Some("sample=2hz,comm"),
                Choice {
                    comm: true,
                    sample_ms: Some(500),
                    ..on
                },
            ),
            (
                Some("on,sample=10hz"),
                Choice {
                    sample_ms: Some(100),
                    ..on
                },
            ),
            (
                Some("sample=100hz"),
                Choice {
                    sample_ms: Some(10),
                    ..on
                },
            ),
        ] {
            assert_eq!(Choice::parse(text), Ok(choice), "{text:?}");
        }
    }

    #[test]
    fn every_other_option_is_refused_with_the_valid_ones() {
        for text in [
            "bogus",
            "ON",
            "on,",
            ",",
            "off,require",
            "sample",
            "sample=",
            "sample=2",
            "sample=hz",
            "sample=0hz",
            "sample=101hz",
            "sample=9ms",
            "sample=2h",
            "sample=-1s",
            "sample=1e3ms",
            "sample=inf",
            "sample=nans",
            "sample=3601s",
            "require=1",
            "comm=1",
            "off,comm",
            "on=off",
            "é=ü",
        ] {
            let refusal = Choice::parse(Some(text)).unwrap_err();
            assert!(refusal.ends_with(VALID_OPTIONS), "{text}: {refusal}");
        }
    }

    #[test]
    fn site_arguments_are_read_and_wrong_ones_reported() {
        let (default, problems) = site(&[]);
        assert_eq!(
            (problems.len(), default.budget()),
            (0, Duration::from_millis(50))
        );
        assert_eq!(
            default.socket("n1"),
            PathBuf::from(mizar_api::DEFAULT_SOCKET)
        );

        let (full, problems) = site(&[
            "socket=/tmp/x/%n/mizard.sock",
            "default=on",
            "require",
            "sample=2s",
            "budget_ms=20",
            "comm_lib=/opt/mizar/lib/libmizar_comm.so",
            "test-panic=exit",
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(full.socket("n7"), PathBuf::from("/tmp/x/n7/mizard.sock"));
        assert_eq!(full.budget(), Duration::from_millis(20));
        let library = Path::new("/opt/mizar/lib/libmizar_comm.so");
        assert_eq!(full.comm_library(), library);
        assert!(!full.settings(None).comm);
        assert!(full.settings(Choice::parse(Some("comm")).ok()).comm);
        assert_eq!(full.test_panic.as_deref(), Some("exit"));

        for wrong in [
            "socket=rel",
            "default=yes",
            "requires",
            "sample=2",
            "budget_ms=0",
            "comm_lib=mizar_comm.so",
            "x=1",
        ] {
            let (site, problems) = site(&[wrong]);
            assert_eq!(site, default, "{wrong}");
            assert!(problems[0].contains(wrong) && problems[0].contains("budget_ms="));
        }
    }

    #[test]
    fn the_shipped_plugstack_conf_is_valid() {
        let text = include_str!("../plugstack.conf.example");
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let words: Vec<&str> = lines.next().unwrap().split(' ').collect();
        assert_eq!((words[0], lines.next()), ("optional", None));
        assert_eq!(site(&words[2..]).1, Vec::<String>::new());
    }

    #[test]
    fn the_user_decides_over_the_sites_default() {
        let (on, _) = site(&["default=on", "sample=2s"]);
        let (off, _) = site(&["default=off"]);
        assert!(on.settings(None).enabled);
        assert!(!on.settings(Choice::parse(Some("off")).ok()).enabled);
        assert!(!off.settings(None).enabled);
        assert!(off.settings(Choice::parse(None).ok()).enabled);
        assert_eq!(on.settings(None).sample_ms, Some(2_000));
        assert_eq!(
            on.settings(Choice::parse(Some("sample=1s")).ok()).sample_ms,
            Some(1_000)
        );
        assert!(off.settings(Choice::parse(Some("require")).ok()).require);
        assert!(
            site(&["require"])
                .0
                .settings(Choice::parse(None).ok())
                .require
        );
    }
}
