//! `mizar infer` as users run it: under MPI, on arrays, and when things go wrong.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mizar_array::dataset::{DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};
use mizar_lab::has_mpirun;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn model(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/tests/models");
    Path::new(models).join(name)
}

/// Writes variables of (time, y, x).
fn write(path: &Path, shape: [usize; 3], variables: &[(&str, Vec<f32>)]) {
    let dimension = |(name, len): (&str, usize)| Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    };
    let variable = |(name, _): &(&str, Vec<f32>)| Variable {
        name: (*name).to_owned(),
        dtype: DType::F32,
        dims: vec![0, 1, 2],
        attributes: std::iter::empty().collect(),
    };
    let dataset = Dataset {
        dimensions: ["time", "y", "x"]
            .into_iter()
            .zip(shape)
            .map(dimension)
            .collect(),
        variables: variables.iter().map(variable).collect(),
        attributes: std::iter::empty().collect(),
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    for (index, (_, values)) in variables.iter().enumerate() {
        writer
            .write_f32(index, &dataset.whole(index), values)
            .unwrap();
    }
    writer.commit().unwrap();
}

fn noise(count: usize) -> Vec<f32> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 1e6
    };
    (0..count).map(|_| next()).collect()
}

fn bits(path: &Path, name: &str) -> Vec<u64> {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index(name).unwrap();
    let values = source.read_whole(index).unwrap();
    values.into_iter().map(f64::to_bits).collect()
}

fn mizar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Ranks that run on when one dies, as under `srun`.
fn mpirun(ranks: usize) -> Command {
    let mizar = Path::new(env!("CARGO_BIN_EXE_mizar"));
    let mut command = mizar_lab::mpirun_command(ranks, &["--quiet", "--enable-recovery"], mizar);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `infer MODEL -i IN -o OUT`, by the back end that needs no library.
fn words(name: &str, folder: &Path, output: &str) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let model = model(name).display().to_string();
    let own = ["infer", &model, "-i", &path("in.nc"), "-o", &path(output)].map(str::to_owned);
    let more = ["--backend", "tract", "--threads", "1"].map(str::to_owned);
    own.into_iter().chain(more).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn ranks_of_mpi_change_no_bit() {
    if !has_mpirun() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let field = || noise(5 * 30 * 41);
    let variables = [("tas", field()), ("wind", field())];
    write(&folder.path().join("in.nc"), [5, 30, 41], &variables);
    let alone = words("conv.onnx", folder.path(), "out1.nc");
    let output = mizar().args(&alone).args(["--halo", "3"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("conv.onnx by tract"),
        "{}",
        stderr(&output)
    );
    let expected = bits(&folder.path().join("out1.nc"), "risk");
    for (ranks, name) in [(2, "out2.nc"), (3, "out3.nc"), (2, "out.zarr")] {
        let words = words("conv.onnx", folder.path(), name);
        let output = mpirun(ranks)
            .args(words)
            .args(["--halo", "3"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let said = stderr(&output);
        assert_eq!(said.matches("conv.onnx by").count(), 1, "{said}");
        assert_eq!(bits(&folder.path().join(name), "risk"), expected, "{name}");
    }
}

#[test]
fn arrays_go_through_as_python_has_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, golden) in [("mlp", "mlp"), ("mlp_batch_3", "mlp"), ("conv", "conv")] {
        let out = folder.path().join(format!("{name}.npy"));
        let mut run = mizar();
        run.arg("infer").arg(model(&format!("{name}.onnx")));
        run.arg("-i")
            .arg(model(&format!("{golden}_in.npy")))
            .arg("-o")
            .arg(&out);
        let output = run.args(["--backend", "tract"]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let found = std::fs::read(&out).unwrap();
        let expected = std::fs::read(model(&format!("{golden}_out.npy"))).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        let numbers = |bytes: &[u8]| -> Vec<f32> {
            let numbers = bytes[128..].as_chunks::<4>().0.iter();
            numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        for (found, expected) in numbers(&found).iter().zip(numbers(&expected)) {
            assert!(
                (found - expected).abs() < 2e-6,
                "{name}: {found} {expected}"
            );
        }
    }
}

#[test]
fn failed_items_are_named_once_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut field = vec![4.0; 3 * 2 * 5];
    field[13] = -1.0;
    write(&folder.path().join("in.nc"), [3, 2, 5], &[("tas", field)]);
    let mut runs = vec![(mizar(), 3)];
    if has_mpirun() {
        // With `--enable-recovery` it does not hand on codes of ranks.
        runs.push((mpirun(2), 0));
    }
    for (mut run, code) in runs {
        let output = run
            .args(words("root.onnx", folder.path(), "out.nc"))
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert_eq!(
            said.matches("steps 1..2, rows 0..2, columns 0..5").count(),
            1,
            "{said}"
        );
        assert_eq!(said.matches("1 of 3 items failed").count(), 1, "{said}");
        let missing = bits(&folder.path().join("out.nc"), "tas");
        let missing = missing
            .iter()
            .filter(|bits| f64::from_bits(**bits).is_nan());
        assert_eq!(missing.count(), 1);
    }
}

#[test]
fn a_model_that_cannot_be_used_is_one_message_and_no_output() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("in.nc"),
        [1, 2, 5],
        &[("tas", noise(10))],
    );
    let cut = folder.path().join("cut.onnx");
    let whole = std::fs::read(model("conv.onnx")).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    for (name, message) in [
        (cut.as_path(), "cut short"),
        (Path::new("absent.onnx"), "cannot read the model"),
        (Path::new("half.onnx"), "of ONNX type 10"),
        (Path::new("mlp.onnx"), "takes 4 channels"),
    ] {
        let words = words(name.to_str().unwrap(), folder.path(), "out.nc");
        let output = mizar().args(words).arg("--quiet").output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(message), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(names(folder.path()), ["cut.onnx", "in.nc"]);
    }
}

/// On a file system of its own, in a mount namespace of its own.
#[test]
fn a_full_disk_is_told_once_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("in.nc"),
        [8, 300, 400],
        &[("tas", noise(8 * 300 * 400))],
    );
    let small = folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" || exit 77; cd \"$1\"; shift; \
                  \"$@\"; code=$?; ls -A; exit $code";
    for output in ["small/out.nc", "small/out.zarr"] {
        let mut run = Command::new("unshare");
        run.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
            .arg(&small);
        run.arg(env!("CARGO_BIN_EXE_mizar"))
            .args(words("identity.onnx", folder.path(), output));
        let result = run.arg("--quiet").output().unwrap();
        if result.status.code() == Some(77) || stderr(&result).contains("unshare failed") {
            println!(
                "SKIP: the kernel gives no mount namespaces: {}",
                stderr(&result)
            );
            return;
        }
        let said = stderr(&result);
        assert_eq!(result.status.code(), Some(1), "{said}");
        assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
        assert_eq!(
            String::from_utf8_lossy(&result.stdout),
            "",
            "{output} stays"
        );
    }
}

/// The process of a rank that `mpirun` started for this output.
fn process_of_rank(rank: usize, output: &Path) -> Option<i32> {
    let wanted = format!("OMPI_COMM_WORLD_RANK={rank}");
    let has = |bytes: Vec<u8>, text: &str| bytes.split(|b| *b == 0).any(|w| w == text.as_bytes());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let is_ours =
            read("comm").starts_with(b"mizar") && has(read("cmdline"), output.to_str().unwrap());
        is_ours && has(read("environ"), &wanted)
    })
}

fn wait_for_writing(folder: &Path, run: &mut Child) {
    let started = Instant::now();
    while !names(folder).iter().any(|name| name.ends_with(".part")) {
        assert!(started.elapsed().as_secs() < 60, "nothing is written");
        assert!(run.try_wait().unwrap().is_none(), "it ended early");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_others_with_one_message() {
    if !has_mpirun() {
        return;
    }
    for victim in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        // A unit a step, one item at a time: it takes long.
        let shape = [400, 120, 120];
        write(
            &folder.path().join("in.nc"),
            shape,
            &[("tas", vec![1.0; 400 * 120 * 120])],
        );
        let output = folder.path().join("out.nc");
        let mut run = mpirun(3);
        run.args(words("identity.onnx", folder.path(), "out.nc"));
        run.args(["--tile", "8x8", "--halo", "3", "--batch", "1"]);
        let mut run = run.spawn().unwrap();
        wait_for_writing(folder.path(), &mut run);
        let pid = process_of_rank(victim, &output).expect("the victim runs");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let result = run.wait_with_output().unwrap();
        let said = stderr(&result);
        let message = format!("mizar infer: rank {victim} on ");
        assert_eq!(said.matches(&message).count(), 1, "{said}");
        assert!(!output.exists());
    }
}

#[test]
fn a_run_that_is_stopped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shape = [400, 120, 120];
    write(
        &folder.path().join("in.nc"),
        shape,
        &[("tas", vec![1.0; 400 * 120 * 120])],
    );
    let mut run = mizar();
    run.args(words("identity.onnx", folder.path(), "out.nc"));
    let mut run = run
        .args(["--tile", "8x8", "--halo", "3", "--batch", "1"])
        .spawn()
        .unwrap();
    wait_for_writing(folder.path(), &mut run);
    kill(Pid::from_raw(run.id().cast_signed()), Signal::SIGTERM).unwrap();
    run.wait().unwrap();
    assert_eq!(names(folder.path()), ["in.nc"]);
}
