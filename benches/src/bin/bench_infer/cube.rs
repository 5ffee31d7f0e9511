//! A cube by two processes: `mizar infer` beside a loop in Python.
//!
//! Both read the same cube, store their output in the same form and make it durable. Ours is one file
//! of two ranks; the loops write one each, which nobody joins. What a small cube takes is the start-up
//! of each program, and taken off.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use mizar_benches::{Cost, Figure, Report, watch};

use super::{Bench, PROCESSES};

/// Steps of the cubes that `data/infer_case.py` makes.
const STEPS: usize = 2000;
const STEPS_SMALL: usize = 32;

/// How outputs are stored: a name, and the word for each side.
const FORMS: [(&str, &str, &str); 2] = [
    ("deflated", "zip_1", "deflated"),
    ("plain", "none", "plain"),
];

impl Bench {
    /// Two ranks over a cube.
    fn cube_by_mizar(&self, cube: &str, compression: &str) -> anyhow::Result<Cost> {
        let mizar = mizar_lab::binary("mizar");
        let ranks = mizar_lab::mpirun_command(PROCESSES, &[], &mizar);
        let mut command = self.infer(ranks, "conv.onnx", 1);
        command.args(["-i", &self.path(cube), "-o", &self.path("out.nc")]);
        command.args(["--variables", "tas,pr", "--batch", "16", "-z", compression]);
        command.stderr(Stdio::inherit());
        Ok(watch(&mut [command])?)
    }

    /// Two processes over the halves of a cube, each into a file of its own.
    fn cube_by_python(&self, cube: &str, steps: usize, form: &str) -> anyhow::Result<Cost> {
        let name = cube.strip_suffix(".nc").unwrap_or(cube);
        let start = |part: usize| {
            let at = |part: usize| (steps * part / PROCESSES).to_string();
            let (first, last) = (at(part), at(part + 1));
            let mut command = self.script(&["cube"], &["conv", name, &first, &last, form]);
            command.stderr(Stdio::inherit());
            command
        };
        let mut commands: Vec<Command> = (0..PROCESSES).map(start).collect();
        Ok(watch(&mut commands)?)
    }
}

/// The best of what was measured.
fn least(one: Cost, other: Cost) -> Cost {
    Cost {
        wall_s: one.wall_s.min(other.wall_s),
        cpu_s: one.cpu_s.min(other.cpu_s),
        peak_mb: one.peak_mb.min(other.peak_mb),
    }
}

/// Each form in turn.
pub(super) fn compare(bench: &Bench, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    for (form, ours, theirs) in FORMS {
        let mut best: Option<[Cost; 4]> = None;
        for _ in 0..rounds.max(1) {
            let costs = [
                bench.cube_by_mizar("cube.nc", ours)?,
                bench.cube_by_python("cube.nc", STEPS, theirs)?,
                bench.cube_by_mizar("small.nc", ours)?,
                bench.cube_by_python("small.nc", STEPS_SMALL, theirs)?,
            ];
            let before = best.unwrap_or(costs);
            best = Some(std::array::from_fn(|index| {
                least(before[index], costs[index])
            }));
        }
        tell(form, best.context("no rounds")?, report);
    }
    Ok(())
}

fn tell(form: &str, [ours, theirs, our_start, their_start]: [Cost; 4], report: &mut Report) {
    let rate =
        |whole: Cost, start: Cost| (STEPS - STEPS_SMALL) as f64 / (whole.wall_s - start.wall_s);
    let (own, other) = (rate(ours, our_start), rate(theirs, their_start));
    let name = |what: &str| format!("cube, {form}, {PROCESSES} processes: {what}");
    let mut add = |what: &str, value: f64, unit: &str| {
        report.add(Figure::new(name(what), value, unit));
    };
    add("mizar infer", own, "steps/s");
    add("onnxruntime in Python", other, "steps/s");
    add(
        "the same with start-up, over Python",
        theirs.wall_s / ours.wall_s,
        "times",
    );
    add(
        "processor time, over Python's",
        ours.cpu_s / theirs.cpu_s,
        "times",
    );
    add("start-up of mizar infer", our_start.wall_s, "s");
    add("start-up of Python", their_start.wall_s, "s");
    let over = Figure::new(name("mizar infer over Python"), own / other, "times");
    report.add(over.at_least(1.0));
}
