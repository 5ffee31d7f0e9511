//! A job as a trace that Chrome (`chrome://tracing`) and Perfetto open: Chrome's JSON.
//!
//! A node is a process, a rank a thread of it. Steps and marked sections are spans, figures and
//! hangs instants, readings counters; times without readings are spans of their own. Microseconds
//! after the job's start.

use std::collections::{BTreeMap, HashMap};

use mizar_record::model::{
    JobRecord, MARK_BEGIN, MARK_END, MARK_FIGURE, MarkSample, NodeRecord, TaskSample, UNKNOWN,
};
use serde_json::{Value, json};

/// Counters of each kind keep this many readings a rank, evenly thinned; a viewer shows no more.
const MAX_COUNTER_POINTS: usize = 4000;
/// Marks of a node; more make a file that no viewer opens.
const MAX_MARKS: usize = 500_000;

/// The trace, as JSON text.
#[must_use]
pub fn chrome(record: &JobRecord) -> String {
    let mut events = Vec::new();
    for (index, node) in record.nodes.iter().enumerate() {
        // Numbers of steps are too large for the viewers' floating-point numbers.
        let tasks = node.tasks.iter().map(|task| (task.step.0, task.rank.0));
        Track {
            record,
            node,
            process: index as u32 + 1,
            threads: tasks.zip(1..).collect(),
        }
        .add(&mut events);
    }
    json!({
        "displayTimeUnit": "ms",
        "otherData": {
            "job": record.job.id,
            "name": record.job.name,
            "mizar": mizar_core::VERSION,
            "start_ns": record.job.start_ns,
        },
        "traceEvents": events,
    })
    .to_string()
}

struct Track<'r> {
    record: &'r JobRecord,
    node: &'r NodeRecord,
    process: u32,
    /// By step and rank; 0 is the node itself.
    threads: HashMap<(u32, u32), u32>,
}

impl Track<'_> {
    fn us(&self, time_ns: i64) -> f64 {
        (time_ns - self.record.job.start_ns) as f64 / 1e3
    }

    fn thread(&self, step: u32, rank: u32) -> u32 {
        self.threads.get(&(step, rank)).copied().unwrap_or(0)
    }

    fn span(
        &self,
        name: &str,
        category: &str,
        thread: u32,
        (from_ns, to_ns): (i64, i64),
        args: Value,
    ) -> Value {
        json!({
            "ph": "X", "name": name, "cat": category, "pid": self.process, "tid": thread,
            "ts": self.us(from_ns), "dur": (to_ns - from_ns).max(0) as f64 / 1e3, "args": args,
        })
    }

    fn counter(&self, name: &str, time_ns: i64, args: Value) -> Value {
        json!({ "ph": "C", "name": name, "pid": self.process, "ts": self.us(time_ns), "args": args })
    }

    fn named(&self, kind: &str, thread: u32, name: &str) -> Value {
        json!({ "ph": "M", "name": kind, "pid": self.process, "tid": thread, "args": { "name": name } })
    }

    fn add(&self, events: &mut Vec<Value>) {
        events.push(self.named("process_name", 0, &self.node.node));
        self.add_steps(events);
        self.add_marks(events);
        self.add_tasks(events);
        self.add_gpus(events);
        self.add_splits(events);
        self.add_calls(events);
        for gap in &self.node.gaps {
            events.push(self.span(&gap.reason, "gap", 0, (gap.from_ns, gap.to_ns), json!({})));
        }
        for hang in &self.node.hangs {
            events.push(json!({
                "ph": "i", "s": "p", "name": hang.text, "cat": "hang", "pid": self.process,
                "tid": 0, "ts": self.us(hang.time_ns),
            }));
        }
    }

    /// What still runs ends with the last reading.
    fn end_ns(&self) -> i64 {
        let readings = self.node.task_samples.iter().map(|sample| sample.time_ns);
        let last = readings.chain(self.record.job.end_ns).max();
        last.unwrap_or(self.record.job.start_ns)
    }

    fn add_steps(&self, events: &mut Vec<Value>) {
        let end_ns = self.end_ns();
        for task in &self.node.tasks {
            let thread = self.thread(task.step.0, task.rank.0);
            let step = self.node.steps.iter().find(|step| step.step == task.step);
            let command = step.map_or_else(String::new, |step| {
                mizar_prov::job::command_line(&step.command)
            });
            events.push(self.named(
                "thread_name",
                thread,
                &format!("step {} rank {}", task.step, task.rank),
            ));
            let args = json!({ "command": command, "pid": task.pid, "status": task.status });
            let span = (task.start_ns, task.end_ns.unwrap_or(end_ns));
            events.push(self.span(&format!("step {}", task.step), "step", thread, span, args));
        }
    }

    fn names(&self) -> HashMap<u32, &str> {
        let names = self.node.names.iter();
        names.map(|name| (name.id, &name.name[..])).collect()
    }

    fn add_marks(&self, events: &mut Vec<Value>) {
        let names = self.names();
        let mut marks: Vec<&MarkSample> = self.node.mark_samples.iter().take(MAX_MARKS).collect();
        marks.sort_by_key(|mark| mark.time_ns);
        let mut open: HashMap<(u32, u32, u32), i64> = HashMap::new();
        for mark in marks {
            let name = names.get(&mark.name).copied().unwrap_or("?");
            let key = (mark.step, mark.rank, mark.name);
            let thread = self.thread(mark.step, mark.rank);
            match mark.kind {
                MARK_BEGIN => drop(open.insert(key, mark.time_ns)),
                MARK_END => {
                    if let Some(from_ns) = open.remove(&key) {
                        events.push(self.span(name, "mark", thread, (from_ns, mark.time_ns), json!({})));
                    }
                }
                MARK_FIGURE => events.push(json!({
                    "ph": "i", "s": "t", "name": name, "cat": "figure", "pid": self.process,
                    "tid": thread, "ts": self.us(mark.time_ns), "args": { "value": number(mark.value) },
                })),
                _ => {}
            }
        }
        let end_ns = self.end_ns();
        for ((step, rank, name), from_ns) in open {
            let name = names.get(&name).copied().unwrap_or("?");
            let args = json!({ "not_ended": true });
            events.push(self.span(
                name,
                "mark",
                self.thread(step, rank),
                (from_ns, end_ns),
                args,
            ));
        }
    }

    fn add_tasks(&self, events: &mut Vec<Value>) {
        for ((step, rank), samples) in by_rank(&self.node.task_samples, |s| (s.step, s.rank)) {
            let title = |what: &str| format!("{what}, step {} rank {rank}", step_word(step));
            for (before, now) in thinned(&samples) {
                let rate = |of: fn(&TaskSample) -> u64| {
                    let (low, high) = (of(before), of(now));
                    let known = low != UNKNOWN && high != UNKNOWN && high >= low;
                    let passed_ns = now.time_ns - before.time_ns;
                    (known && passed_ns > 0).then(|| (high - low) as f64 / passed_ns as f64)
                };
                if let Some(cpus) = rate(|s| s.cpu_ns) {
                    events.push(self.counter(
                        &title("CPUs busy"),
                        now.time_ns,
                        json!({ "CPUs": cpus }),
                    ));
                }
                if now.rss_bytes != UNKNOWN {
                    let args = json!({ "bytes": now.rss_bytes });
                    events.push(self.counter(&title("memory"), now.time_ns, args));
                }
                let (read, written) = (rate(|s| s.rchar_bytes), rate(|s| s.wchar_bytes));
                if let Some((read, written)) = read.zip(written) {
                    let args = json!({ "read B/s": read * 1e9, "written B/s": written * 1e9 });
                    events.push(self.counter(&title("I/O"), now.time_ns, args));
                }
            }
        }
    }

    fn add_gpus(&self, events: &mut Vec<Value>) {
        for (gpu, samples) in by_rank(&self.node.gpu_samples, |s| s.gpu) {
            for (_, now) in thinned(&samples) {
                for (what, key, value) in [
                    ("busy", "%", f64::from(now.busy) * 100.0),
                    ("power", "W", f64::from(now.power_watts)),
                ] {
                    if value.is_finite() {
                        let name = format!("GPU {gpu} {what}");
                        events.push(self.counter(&name, now.time_ns, json!({ key: value })));
                    }
                }
            }
        }
    }

    fn add_splits(&self, events: &mut Vec<Value>) {
        for ((step, rank), samples) in by_rank(&self.node.split_samples, |s| (s.step, s.rank)) {
            for (before, now) in thinned(&samples) {
                let share = |of: fn(&mizar_record::model::SplitSample) -> u64| {
                    let passed = (now.time_ns - before.time_ns) as f64;
                    (passed > 0.0).then(|| of(now).saturating_sub(of(before)) as f64 / passed)
                };
                let parts = json!({
                    "compute": share(|s| s.compute_ns),
                    "exposed": share(|s| s.exposed_ns),
                    "io": share(|s| s.io_ns),
                    "idle": share(|s| s.idle_ns),
                });
                if now.time_ns > before.time_ns {
                    let name = format!("time, step {} rank {rank}", step_word(step));
                    events.push(self.counter(&name, now.time_ns, parts));
                }
            }
        }
    }

    fn add_calls(&self, events: &mut Vec<Value>) {
        let names = self.names();
        let by_call = by_rank(&self.node.call_samples, |s| (s.step, s.rank, s.call));
        for ((step, rank, call), samples) in by_call {
            let call = names.get(&call).copied().unwrap_or("?");
            for (before, now) in thinned(&samples) {
                let passed_s = (now.time_ns - before.time_ns) as f64 / 1e9;
                if passed_s > 0.0 {
                    let calls = now.calls.saturating_sub(before.calls) as f64 / passed_s;
                    let name = format!("{call}/s, step {} rank {rank}", step_word(step));
                    events.push(self.counter(&name, now.time_ns, json!({ "calls": calls })));
                }
            }
        }
    }
}

/// JSON has no NaN.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn step_word(step: u32) -> String {
    mizar_core::ids::StepId(step).to_string()
}

fn by_rank<S: Copy, K: Ord>(samples: &[S], key: impl Fn(&S) -> K) -> BTreeMap<K, Vec<S>> {
    let mut found: BTreeMap<K, Vec<S>> = BTreeMap::new();
    for sample in samples {
        found.entry(key(sample)).or_default().push(*sample);
    }
    found
}

/// Neighbouring readings, at most so many pairs; counters between them lose nothing.
fn thinned<S>(samples: &[S]) -> impl Iterator<Item = (&S, &S)> {
    let step = samples.len().div_ceil(MAX_COUNTER_POINTS).max(1);
    let mut kept: Vec<&S> = samples.iter().step_by(step).collect();
    // Without the last one a trace would end early.
    if !samples.is_empty() && !(samples.len() - 1).is_multiple_of(step) {
        kept.extend(samples.last());
    }
    let pairs: Vec<(&S, &S)> = kept.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter()
}
