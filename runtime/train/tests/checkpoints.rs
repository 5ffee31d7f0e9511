//! What was interrupted goes on as if it had not been; what is damaged is passed over and said.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mizar_train::{
    Checkpoint, End, LocalSgd, Optimizer, Options, Outcome, Precision, Resume, Sgd, Strategy,
    TrainError,
};
use support::{Case, Memory, Mlp, assert_close, assert_same_bits, losses, text};

/// Two epochs of six steps.
fn case(strategy: Strategy, folder: Option<&Path>) -> Case {
    let mut case = Case::new(Options {
        epochs: 2,
        batch_size: 8,
        learning_rate: 0.02,
        clip_norm: Some(1.0),
        ema: Some(0.9),
        bucket_mb: 80e-6,
        first_bucket_mb: 20e-6,
        local_sgd: LocalSgd { every: 2 },
        strategy,
        checkpoint: Checkpoint {
            dir: folder.map(Path::to_owned),
            every: 0,
            keep: 3,
        },
        resume: Resume::Auto,
        ..Options::default()
    });
    case.validation = Some(Memory::waves(9).into());
    case
}

fn assert_same(found: &Outcome, right: &Outcome, what: &str) {
    assert_same_bits(&found.parameters, &right.parameters, what);
    let means = (
        found.averaged.as_ref().unwrap(),
        right.averaged.as_ref().unwrap(),
    );
    assert_same_bits(means.0, means.1, what);
    assert_eq!(losses(found), losses(right), "{what}");
    assert_eq!((found.step, &found.end), (right.step, &right.end), "{what}");
}

#[test]
fn a_run_stopped_after_any_step_goes_on_bit_for_bit() {
    for strategy in Strategy::ALL {
        let (whole, _) = case(strategy, None).run(2);
        for after in 1..=12 {
            let folder = tempfile::tempdir().unwrap();
            let mut case = case(strategy, Some(folder.path()));
            case.stop_after = Some(after);
            let (stopped, notes) = case.run(2);
            let what = format!("{strategy:?}, stopped after step {after}");
            // Ranks that step alone are asked when they meet.
            let met = match strategy {
                Strategy::LocalSgd => after.next_multiple_of(2),
                _ => after,
            };
            assert_eq!(stopped.step, met, "{what}");
            let checkpoint = folder.path().join(format!("step-{met:010}"));
            let end = End::Interrupted {
                checkpoint: Some(checkpoint.clone()),
            };
            assert_eq!(stopped.end, end, "{what}");
            assert_eq!(notes.made.last().unwrap().path, checkpoint, "{what}");
            case.stop_after = None;
            let (resumed, notes) = case.run(2);
            assert_same(&resumed, &whole, &what);
            assert_eq!(notes.resumed[0].step, met, "{what}");
            assert_eq!(notes.warnings, [""; 0], "{what}");
        }
    }
}

#[test]
fn optimizers_and_precisions_go_on_bit_for_bit() {
    let momentum = Optimizer::Sgd(Sgd {
        momentum: 0.9,
        nesterov: true,
        ..Sgd::default()
    });
    let variants: [fn(&mut Options, Optimizer); 4] = [
        |options, momentum| options.optimizer = momentum,
        |options, _| options.optimizer = Optimizer::Sgd(Sgd::default()),
        |options, _| options.precision = Precision::Bf16,
        |options, _| {
            options.precision = Precision::F16;
            // It overflows at first, so the scale is part of what must be kept.
            options.loss_scale = 16_777_216.0;
        },
    ];
    for (index, variant) in variants.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = case(Strategy::Zero2, None);
        variant(&mut whole.options, momentum);
        let mut parts = case(Strategy::Zero2, Some(folder.path()));
        variant(&mut parts.options, momentum);
        parts.stop_after = Some(5);
        parts.run(3);
        parts.stop_after = None;
        assert_same(
            &parts.run(3).0,
            &whole.run(3).0,
            &format!("variant {index}"),
        );
    }
}

#[test]
fn a_run_goes_on_with_other_ranks_and_another_strategy() {
    let (whole, _) = case(Strategy::Ddp, None).run(1);
    for (before, after) in [
        ((3, Strategy::Zero3), (2, Strategy::Ddp)),
        ((1, Strategy::Ddp), (4, Strategy::Zero3)),
        ((2, Strategy::Zero1), (3, Strategy::Zero2)),
        ((4, Strategy::Fused), (1, Strategy::Zero1)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut first = case(before.1, Some(folder.path()));
        first.stop_after = Some(7);
        let (stopped, _) = first.run(before.0);
        let (resumed, notes) = case(after.1, Some(folder.path())).run(after.0);
        let what = format!("{before:?} to {after:?}");
        // What is taken over is exact; what follows is summed by other ranks.
        assert_eq!(notes.start.unwrap().digest, stopped.digest, "{what}");
        assert_eq!(notes.resumed[0].ranks_before, before.0);
        assert_close(&resumed.parameters, &whole.parameters, 1e-4, &what);
        assert_eq!(resumed.step, 12);
        assert_eq!(resumed.epochs.len(), 2);
    }
}

#[test]
fn tensors_that_never_change_are_in_checkpoints_too() {
    for strategy in [Strategy::Ddp, Strategy::Zero3] {
        let folder = tempfile::tempdir().unwrap();
        let mut case = case(strategy, Some(folder.path()));
        case.model = Mlp::new(&[3, 8, 2]).with_lower_frozen();
        case.stop_after = Some(3);
        case.run(2);
        case.stop_after = None;
        let (resumed, _) = case.run(2);
        case.options.checkpoint.dir = None;
        let (whole, _) = case.run(2);
        assert_same(&resumed, &whole, &format!("{strategy:?}"));
    }
}

/// Four checkpoints, after steps 3, 6, 9 and 12.
fn four_checkpoints(folder: &Path) -> Case {
    let mut case = case(Strategy::Zero1, Some(folder));
    case.options.checkpoint.every = 3;
    case.options.checkpoint.keep = 4;
    let (_, notes) = case.run(2);
    let made: Vec<u64> = notes.made.iter().map(|made| made.step).collect();
    assert_eq!(made.last(), Some(&12));
    case
}

fn newest(folder: &Path) -> PathBuf {
    folder.join(mizar_lab::names_in(folder).pop().unwrap())
}

#[test]
fn damage_is_told_and_the_run_goes_on_from_the_one_before() {
    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let place = bytes.len() - 3;
        bytes[place] ^= 16;
        std::fs::write(path, bytes).unwrap();
    };
    type Damage<'a> = (&'a dyn Fn(&Path), &'a str);
    let damages: [Damage; 7] = [
        (
            &|folder| flip(&folder.join("shard-1-of-2.safetensors")),
            "shard-1-of-2.safetensors is damaged: its SHA-256 is not that of its manifest",
        ),
        (
            &|folder| {
                let path = folder.join("shard-0-of-2.safetensors");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "bytes, its manifest says",
        ),
        (
            &|folder| std::fs::remove_file(folder.join("shard-0-of-2.safetensors")).unwrap(),
            "shard-0-of-2.safetensors cannot be read: No such file",
        ),
        (
            &|folder| std::fs::write(folder.join("manifest.json"), "{}").unwrap(),
            "manifest.json is damaged: it is no manifest",
        ),
        (
            &|folder| {
                let path = folder.join("manifest.json");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text.replace("\"step\": 12", "\"step\": 13")).unwrap();
            },
            "manifest.json is damaged: its SHA-256 is not its own",
        ),
        (
            &|folder| {
                let path = folder.join("manifest.json");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, &text[..text.len() / 2]).unwrap();
            },
            "manifest.json is damaged: it is no manifest",
        ),
        (
            // It is of another run: whole, and not of this one.
            &|folder| {
                let other = tempfile::tempdir().unwrap();
                let mut case = case(Strategy::Zero1, Some(other.path()));
                case.options.seed = 77;
                case.run(2);
                let from = newest(other.path()).join("manifest.json");
                std::fs::copy(from, folder.join("manifest.json")).unwrap();
            },
            "is of another run: its seed is 77, here it is 0",
        ),
    ];
    let kept = tempfile::tempdir().unwrap();
    let case = four_checkpoints(kept.path());
    let (whole, _) = case.run(2);
    for (damage, message) in damages {
        let folder = tempfile::tempdir().unwrap();
        copy(kept.path(), folder.path());
        let mut case = case.clone();
        case.options.checkpoint.dir = Some(folder.path().to_owned());
        damage(&newest(folder.path()));
        let (resumed, notes) = case.run(2);
        assert_eq!(notes.resumed[0].step, 9, "{message}");
        assert_eq!(notes.warnings.len(), 1, "{:?}", notes.warnings);
        assert!(notes.warnings[0].contains(message), "{}", notes.warnings[0]);
        assert_same(&resumed, &whole, message);
        // What was damaged has been made again.
        let (again, notes) = case.run(2);
        assert_eq!(notes.resumed[0].step, 12);
        assert_same(&again, &whole, message);
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).unwrap();
        }
    }
}

#[test]
fn a_run_of_something_else_is_refused_with_the_reason() {
    type Change = (fn(&mut Case), &'static str);
    let changes: [Change; 6] = [
        (
            |case| case.model = Mlp::new(&[3, 9, 2]),
            "its tensor is 0.weight [8, 3], here it is 0.weight [9, 3]",
        ),
        (
            |case| case.model = Mlp::new(&[3, 8, 8, 2]),
            "its number of tensors is 4, here it is 6",
        ),
        (
            |case| case.options.batch_size = 4,
            "its batch_size is 8, here it is 4",
        ),
        (
            |case| case.options.optimizer = Optimizer::Sgd(Sgd::default()),
            "its optimizer is adam, here it is sgd",
        ),
        (
            |case| case.options.ema = None,
            "its arrays is parameters, exp_avg, exp_avg_sq, ema",
        ),
        (
            |case| {
                let mut other = Memory::waves(44);
                other.name = "other".to_owned();
                case.train = other.into();
            },
            "its data is memory of 44, here it is other of 44",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let case = four_checkpoints(folder.path());
    for (change, message) in changes {
        let mut case = case.clone();
        change(&mut case);
        for (outcome, notes) in case.try_run(2, None) {
            let error = outcome.unwrap_err();
            assert!(
                matches!(error, TrainError::NothingToResume { .. }),
                "{error}"
            );
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(notes.warnings.len(), 4, "each of them is told");
        }
    }
}

#[test]
fn the_newest_are_kept_and_what_never_became_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut case = case(Strategy::Ddp, Some(folder.path()));
    case.options.checkpoint.every = 1;
    case.options.checkpoint.keep = 2;
    let unfinished = folder.path().join("step-0000000004");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("shard-0-of-9.safetensors"), "half").unwrap();
    std::fs::write(folder.path().join("mine.txt"), "a user's file").unwrap();
    let (outcome, _) = case.run(2);
    let last = mizar_lab::names_in(folder.path());
    assert_eq!(last, ["mine.txt", "step-0000000011", "step-0000000012"]);
    assert!(outcome.totals.checkpoints >= 2);
}

#[test]
fn a_new_run_does_not_mix_with_an_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut case = four_checkpoints(folder.path());
    case.options.resume = Resume::Never;
    for (outcome, _) in case.try_run(2, None) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, TrainError::FolderInUse { .. }), "{error}");
        assert!(error.to_string().contains("step-0000000012"), "{error}");
    }
    case.options.resume = Resume::Must;
    let empty = tempfile::tempdir().unwrap();
    case.options.checkpoint.dir = Some(empty.path().to_owned());
    for (outcome, _) in case.try_run(2, None) {
        let error = outcome.unwrap_err().to_string();
        assert!(error.ends_with("there is none"), "{error}");
    }
}

#[test]
fn without_a_place_for_checkpoints_nothing_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut case = case(Strategy::Ddp, Some(&file.join("checkpoints")));
    for (outcome, notes) in case.try_run(2, None) {
        let error = text(&outcome.unwrap_err());
        assert!(error.contains("file/checkpoints cannot be"), "{error}");
        assert!(notes.steps.is_empty());
    }
    // A run without such a folder can be stopped all the same.
    case.options.checkpoint.dir = None;
    case.stop_after = Some(2);
    let (outcome, notes) = case.run(2);
    assert_eq!(outcome.end, End::Interrupted { checkpoint: None });
    assert_eq!(notes.steps.len(), 2);
}

#[test]
fn more_epochs_can_be_added_to_a_finished_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut short = case(Strategy::Zero3, Some(folder.path()));
    let (finished, notes) = short.run(2);
    // One after each epoch; each was waited for a little, and that is counted.
    let made: Vec<u64> = notes.made.iter().map(|made| made.step).collect();
    assert_eq!(made, [6, 12]);
    assert!(finished.totals.checkpoint_stall_s > 0.0);
    // Done is done.
    let (again, notes) = short.run(2);
    assert_same(&again, &finished, "again");
    assert!(notes.steps.is_empty() && notes.made.is_empty());
    short.options.epochs = 4;
    let (longer, _) = short.run(2);
    let mut whole = case(Strategy::Zero3, None);
    whole.options.epochs = 4;
    assert_same(&longer, &whole.run(2).0, "longer");
}

const CHILD_VARIABLE: &str = "MIZAR_TEST_TRAIN_FOLDER";

/// Many epochs with a checkpoint after each step.
fn long_case(folder: Option<&Path>) -> Case {
    let mut case = case(Strategy::Zero2, folder);
    case.options.epochs = 40;
    case.options.checkpoint.every = 1;
    case
}

/// The process that is killed by [`a_killed_process_loses_no_more_than_a_step`], and the one
/// whose disk is full; else nothing.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD_VARIABLE) else {
        return;
    };
    let mut case = long_case(Some(Path::new(&folder)));
    if std::env::var_os("MIZAR_TEST_TRAIN_LARGE").is_some() {
        // Each checkpoint has 550 kB; nothing is removed.
        case.model = Mlp::new(&[3, 5700, 2]);
        case.options.checkpoint.keep = 1000;
    }
    for (outcome, _) in case.try_run(2, None) {
        match outcome {
            Ok(_) => println!("a rank is done"),
            Err(error) => println!("a rank says: {}", text(&error)),
        }
    }
}

fn child_command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD_VARIABLE, folder);
    command
}

#[test]
fn a_killed_process_loses_no_more_than_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    for wanted in [3, 40, 90] {
        let mut command = child_command(&program, folder.path());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        let reached =
            |name: &String| name.strip_prefix("step-").unwrap().parse::<u64>().unwrap() >= wanted;
        while !mizar_lab::names_in(folder.path()).iter().any(reached) {
            assert!(begin.elapsed() < Duration::from_secs(120));
            assert!(child.try_wait().unwrap().is_none(), "it ended early");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (resumed, notes) = long_case(Some(folder.path())).run(2);
    assert!(notes.resumed[0].step >= 88, "{:?}", notes.resumed);
    assert_same(&resumed, &long_case(None).run(2).0, "killed three times");
}

/// On a file system of its own, in a mount namespace of its own.
#[test]
fn a_full_disk_is_told_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=3m tmpfs \"$1\" || exit 77; folder=$1; shift; \
                  \"$@\"; ls \"$folder\"; ls \"$folder\"/*";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    command.arg(folder.path());
    let child = child_command(&program, folder.path());
    command.arg(child.get_program()).args(child.get_args());
    command.env(CHILD_VARIABLE, folder.path());
    command.env("MIZAR_TEST_TRAIN_LARGE", "1");
    let result = command.output().unwrap();
    let told = String::from_utf8_lossy(&result.stdout);
    let errors = String::from_utf8_lossy(&result.stderr);
    if result.status.code() == Some(77) || errors.contains("unshare failed") {
        println!("SKIP: the kernel gives no mount namespaces: {errors}");
        return;
    }
    assert!(!told.contains("a rank is done"), "{told}{errors}");
    assert_eq!(told.matches("a rank says: ").count(), 2, "{told}{errors}");
    assert!(told.contains("No space left on device"), "{told}");
    assert!(told.contains("is whole, resume from there"), "{told}");
    // Only whole ones are left: each has its manifest and both files.
    let files = |name: &str| told.lines().filter(|line| *line == name).count();
    let left = told
        .lines()
        .filter(|line| line.starts_with("step-"))
        .count();
    assert!(left >= 2, "{told}");
    for name in [
        "manifest.json",
        "shard-0-of-2.safetensors",
        "shard-1-of-2.safetensors",
    ] {
        assert_eq!(files(name), left, "{told}");
    }
}
