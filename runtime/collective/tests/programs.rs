//! The library as programs in C and Python use it, the latter by `mizar.py`: with NumPy alone, and under PyTorch's DDP
//! where that is installed (`make torch`).
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use mizar_lab::{binary, venv};

fn script(python: &Path, name: &str) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(python);
    command
        .arg(here.join("tests").join(name))
        .env("PYTHONPATH", here.join("../preload/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MIZAR_COLLECTIVE", binary("libmizar_collective.so"));
    command
}

/// A folder that no other user can open.
fn private_folder() -> tempfile::TempDir {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let mut folder = tempfile::Builder::new();
    folder.permissions(mode).tempdir().unwrap()
}

/// Runs ranks to their end; each says what went wrong.
fn all_succeed(ranks: Vec<Command>) {
    let start = |mut command: Command| command.stderr(Stdio::piped()).spawn().unwrap();
    let children: Vec<Child> = ranks.into_iter().map(start).collect();
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let failed = outputs.iter().enumerate();
    let failed = failed.filter(|(_, output)| !output.status.success());
    let said = failed.map(|(rank, output)| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("rank {rank}: {said}")
    });
    assert_eq!(said.collect::<String>(), "");
}

fn numpy(mode: &str, size: usize, timeout: &str) {
    let Some(python) = venv::python_with("numpy, ml_dtypes") else {
        return;
    };
    let folder = private_folder();
    let ranks = (0..size).map(|rank| {
        let mut command = script(&python, "sums.py");
        command.arg(mode).arg(folder.path());
        command.args([rank.to_string(), size.to_string(), timeout.to_owned()]);
        command
    });
    all_succeed(ranks.collect());
    assert_eq!(mizar_lab::names_in(folder.path()), [] as [&str; 0]);
}

#[test]
fn sums_of_every_kind_are_those_of_numpy() {
    for size in [1, 2, 4] {
        numpy("sums", size, "60");
    }
}

#[test]
fn ranks_that_bring_other_lengths_are_told_so() {
    numpy("lengths", 2, "20");
    numpy("lengths", 3, "20");
}

#[test]
fn a_rank_that_is_gone_is_named_in_time() {
    numpy("killed", 2, "2");
    numpy("killed", 3, "2");
}

#[test]
fn arrays_that_are_none_are_refused() {
    numpy("refused", 1, "10");
}

/// The header is what the library has.
#[test]
fn a_c_program_sums_too() {
    let folder = private_folder();
    let program = folder.path().join("group");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-o"]).arg(&program);
    cc.arg(here.join("tests/group.c"))
        .arg("-I")
        .arg(here.join("include"));
    cc.arg(binary("libmizar_collective.so"));
    assert!(cc.status().unwrap().success());
    let meeting = private_folder();
    let mut run = Command::new(&program);
    run.arg(meeting.path());
    run.env(
        "LD_LIBRARY_PATH",
        binary("libmizar_collective.so").parent().unwrap(),
    );
    let output = run.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// The example that is train_unet.yaml in PyTorch, for two epochs.
#[test]
fn the_example_beats_persistence() {
    let samples = venv::cmip6("ta_day_TaiESM1_");
    let Some((python, input)) = venv::torch().zip(samples) else {
        return;
    };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/pytorch_unet.py");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let start = |rank: usize| {
        let mut command = script(&python, example.to_str().unwrap());
        command.arg(&input).arg("2").env("MASTER_ADDR", "127.0.0.1");
        command.env("MASTER_PORT", &port).env("WORLD_SIZE", "2");
        command
            .env("RANK", rank.to_string())
            .env("OMP_NUM_THREADS", "1");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let ranks: Vec<Child> = (0..2).map(start).collect();
    let outputs = ranks
        .into_iter()
        .map(|rank| rank.wait_with_output().unwrap());
    let outputs: Vec<_> = outputs.collect();
    let said = String::from_utf8_lossy(&outputs[0].stderr);
    assert!(outputs.iter().all(|o| o.status.success()), "{said}");
    assert!(!said.contains("as before"), "{said}");
    let told = String::from_utf8(outputs[0].stdout.clone()).unwrap();
    let number = |key: &str| -> f64 {
        let (_, rest) = told.split_once(&format!("\"{key}\": ")).unwrap();
        let end = rest.find([',', '}']).unwrap();
        rest[..end].parse().unwrap()
    };
    let (loss, persistence) = (number("validation_loss"), number("persistence"));
    assert!(loss < persistence, "{told}");
}

#[test]
fn gradients_are_those_of_gloo_and_a_wrong_layer_is_named() {
    let Some(python) = venv::torch() else { return };
    for (size, nodes) in [(2, 1), (3, 1), (3, 2), (4, 2)] {
        let folder = private_folder();
        let ranks = (0..size).map(|rank| {
            let mut command = script(&python, "ddp.py");
            command.arg(folder.path());
            command.args([rank, size, nodes].map(|number| number.to_string()));
            command
        });
        all_succeed(ranks.collect());
    }
}
