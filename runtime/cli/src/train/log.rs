//! What a run says while it runs: lines for the user, JSON lines for programs, events for
//! TensorBoard, marks for the job's record.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use mizar_core::marks;
use mizar_train::{
    CheckpointMade, End, EpochMetrics, Observer, Outcome, Resumed, Start, StepMetrics,
};
use serde::Serialize;
use serde_json::json;

use super::config::Config;
use super::events::Events;
use super::say;

/// The observer of a run; on other ranks than the first it only sets marks.
pub(super) struct Log {
    file: Option<(PathBuf, File)>,
    events: Option<Events>,
    baselines: Vec<(&'static str, f64)>,
    /// Lines for the user are wanted.
    speaks: bool,
    /// Steps are shown in place.
    is_terminal: bool,
    epochs: u64,
    steps_per_epoch: u64,
    phases: Vec<String>,
    section: Option<marks::Section>,
}

impl Log {
    /// For ranks that do not speak.
    pub(super) fn silent() -> Self {
        Self {
            file: None,
            events: None,
            baselines: Vec::new(),
            speaks: false,
            is_terminal: false,
            epochs: 0,
            steps_per_epoch: 0,
            phases: Vec::new(),
            section: None,
        }
    }

    /// Opens the files. A run that resumes appends.
    pub(super) fn create(
        config: &Config,
        baselines: Vec<(&'static str, f64)>,
        speaks: bool,
    ) -> anyhow::Result<Self> {
        let beside = || config.output.model.with_extension("jsonl");
        let path = config.output.log.clone().unwrap_or_else(beside);
        let resumes = config.train.resume != mizar_train::Resume::Never;
        let file = File::options()
            .create(true)
            .write(true)
            .append(resumes)
            .truncate(!resumes)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let folder = config.output.tensorboard.as_deref();
        let events = folder.map(|folder| {
            Events::create(folder)
                .with_context(|| format!("cannot write events to {}", folder.display()))
        });
        Ok(Self {
            file: Some((path, file)),
            events: events.transpose()?,
            baselines,
            speaks,
            is_terminal: std::io::stderr().is_terminal(),
            epochs: config.train.epochs,
            ..Self::silent()
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.as_ref().map_or(Path::new(""), |(path, _)| path)
    }

    pub(super) fn baselines(&self) -> serde_json::Map<String, serde_json::Value> {
        let pairs = self.baselines.iter();
        pairs
            .map(|(name, loss)| ((*name).to_owned(), json!(loss)))
            .collect()
    }

    /// The last lines.
    pub(super) fn finish(&mut self, outcome: &Outcome, identity: &str) {
        self.line(
            "end",
            &json!({"end": outcome.end, "step": outcome.step, "digest": identity}),
        );
        let end = match &outcome.end {
            End::StoppedEarly { .. } => "stopped early, it got no better",
            _ => "done",
        };
        let hidden = outcome.totals.hidden();
        let hidden = hidden.map_or_else(String::new, |share| {
            format!(", {:.0} % of communication hidden", 100.0 * share)
        });
        self.tell(&format!(
            "{end} after {} steps{hidden}; model {}",
            outcome.step,
            &identity[..12]
        ));
    }

    fn line(&mut self, kind: &str, value: &impl Serialize) {
        let Some((path, file)) = &mut self.file else {
            return;
        };
        let line = format!("{}\n", json!({"event": kind, "value": value}));
        if let Err(error) = file.write_all(line.as_bytes()) {
            say(&format!(
                "mizar train: {} cannot be written: {error}",
                path.display()
            ));
            self.file = None;
        }
    }

    fn event(&mut self, step: u64, values: &[(String, f64)]) {
        let Some(events) = &mut self.events else {
            return;
        };
        if let Err(error) = events.add(step, values) {
            say(&format!("mizar train: events cannot be written: {error}"));
            self.events = None;
        }
    }

    fn tell(&self, line: &str) {
        if self.speaks {
            let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
            say(&format!("{clear}{line}"));
        }
    }

    fn named(&self, prefix: &str, values: &[f64]) -> Vec<(String, f64)> {
        let name = |index: usize| match (self.phases.len(), self.phases.get(index)) {
            (2.., Some(phase)) => format!("{prefix}/{phase}"),
            _ => prefix.to_owned(),
        };
        let pairs = values.iter().enumerate();
        pairs.map(|(index, value)| (name(index), *value)).collect()
    }
}

impl Observer for Log {
    fn started(&mut self, start: &Start) {
        self.steps_per_epoch = start.steps_per_epoch;
        self.phases.clone_from(&start.phases);
        self.line("start", start);
        let baselines = self.baselines();
        self.line("baselines", &baselines);
        let nodes = if start.nodes == 1 { "node" } else { "nodes" };
        self.tell(&format!(
            "{} parameters, {} samples, {} ranks on {} {nodes}, {}",
            start.parameters, start.samples, start.ranks, start.nodes, start.strategy
        ));
    }

    fn resumed(&mut self, resumed: &Resumed) {
        self.line("resumed", resumed);
        self.tell(&format!(
            "goes on from {} (step {})",
            resumed.path.display(),
            resumed.step
        ));
    }

    fn epoch_began(&mut self, _epoch: u64) {
        self.section = Some(marks::section("epoch"));
    }

    fn step(&mut self, step: &StepMetrics) {
        self.line("step", step);
        let mut values = self.named("loss", &step.losses);
        values.push(("learning_rate".to_owned(), step.learning_rate));
        self.event(step.step, &values);
        if self.speaks && self.is_terminal {
            let of = self.steps_per_epoch.max(1);
            let loss = step.losses.first().copied().unwrap_or(f64::NAN);
            let at = (step.step.saturating_sub(1)) % of + 1;
            let line = format!(
                "\r\x1b[Kepoch {} step {at}/{of}  loss {loss:.4}",
                step.epoch + 1
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn epoch_ended(&mut self, epoch: &EpochMetrics) {
        self.section = None;
        self.line("epoch", epoch);
        let mut values = self.named("epoch_loss", &epoch.losses);
        values.extend(
            epoch
                .validation_loss
                .map(|loss| ("validation_loss".to_owned(), loss)),
        );
        values.push(("samples_per_s".to_owned(), epoch.samples_per_s));
        self.event(epoch.step, &values);
        if self.file.is_some() {
            for (name, value) in &values {
                marks::figure(name, *value);
            }
        }
        let losses: Vec<String> = self
            .named("loss", &epoch.losses)
            .iter()
            .map(|(name, loss)| format!("{name} {loss:.4}"))
            .collect();
        let validation = epoch.validation_loss.map_or_else(String::new, |loss| {
            let baselines: Vec<String> = self
                .baselines
                .iter()
                .map(|(name, loss)| format!("{name} {loss:.4}"))
                .collect();
            let beside = match baselines.is_empty() {
                true => String::new(),
                false => format!(" ({})", baselines.join(", ")),
            };
            format!("  validation {loss:.4}{beside}")
        });
        self.tell(&format!(
            "epoch {}/{}  {}{validation}  {:.1} samples/s",
            epoch.epoch + 1,
            self.epochs,
            losses.join("  "),
            epoch.samples_per_s
        ));
    }

    fn checkpoint(&mut self, made: &CheckpointMade) {
        self.line("checkpoint", made);
    }

    fn warning(&mut self, text: &str) {
        self.line("warning", &text);
        if self.file.is_some() {
            say(&format!("mizar train: warning: {text}"));
        }
    }

    fn stopped(&mut self, end: &End) {
        self.section = None;
        self.line("stopped", end);
    }
}
