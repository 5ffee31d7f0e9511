//! `mizar cube` while things go wrong: a full disk, an input that changes, a rank that dies, a
//! signal. Whatever happens: one clear message, no output, nothing half made.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mizar_array::dataset::{DType, Dataset, Dimension, Variable};
use mizar_array::write::{WriteOptions, Writer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A folder with a field that takes a while to deflate.
struct Case {
    folder: tempfile::TempDir,
    input: PathBuf,
    output: PathBuf,
}

/// The names of outputs: every test is one of files and of stores.
const OUTPUTS: [&str; 2] = ["out.nc", "out.zarr"];

impl Case {
    fn new(output: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.nc"), folder.path().join(output));
        write_noise(&input);
        Self {
            folder,
            input,
            output,
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    /// The words of a run that writes slowly.
    fn words(&self) -> Vec<String> {
        let (input, output) = (self.input.display(), self.output.display());
        let line = format!("cube -P 1 -b F64 -z zip_9 -selname,noise {input} {output}");
        line.split(' ').map(str::to_owned).collect()
    }

    /// Waits until the output has been begun. Much of a NetCDF file is written by its last
    /// wave, so a test that waited for more of it could find the run at its end.
    fn wait_for_writing(&self, run: &mut Child) {
        let started = Instant::now();
        while !self.names().iter().any(|name| name.ends_with(".part")) {
            assert!(started.elapsed().as_secs() < 60, "nothing is written");
            assert!(run.try_wait().unwrap().is_none(), "it ended early");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a part of a Zarr store is in it.
    fn wait_for_a_chunk(&self) {
        let started = Instant::now();
        let total = || size_bytes(self.folder.path()) - size_bytes(&self.input);
        while total() < 100_000 {
            assert!(started.elapsed().as_secs() < 60, "no chunk is written");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The size of a file, or of all files in a folder, which may vanish meanwhile.
fn size_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let inside: u64 = entries.map(|entry| size_bytes(&entry.path())).sum();
    let own = std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file);
    inside + own.map_or(0, |status| status.len())
}

fn write_noise(path: &Path) {
    const SIDE: usize = 400;
    let dimension = |name: &str, len| Dimension {
        name: name.to_owned(),
        len,
        unlimited: false,
    };
    let dataset = Dataset {
        dimensions: vec![
            dimension("time", 60),
            dimension("y", SIDE),
            dimension("x", SIDE),
        ],
        variables: vec![Variable {
            name: "noise".to_owned(),
            dtype: DType::F32,
            dims: vec![0, 1, 2],
            attributes: std::iter::empty().collect(),
        }],
        attributes: std::iter::empty().collect(),
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    let mut state = 1_u32;
    let values: Vec<f64> = (0..60 * SIDE * SIDE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8)
        })
        .collect();
    writer.write_f64(0, &dataset.whole(0), &values).unwrap();
    writer.commit().unwrap();
}

fn mizar() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Three ranks under an `mpirun` that lets the others run on when one dies, as `srun` does.
fn mpirun() -> Command {
    let program = env!("CARGO_BIN_EXE_mizar").as_ref();
    let mut command = mizar_lab::mpirun_command(3, &["--enable-recovery"], program);
    command.stderr(Stdio::piped());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `mpirun` and its library report the lost process too, in the middle of our line at times.
fn assert_one_message(output: &Output, message: &str) {
    let mut text = stderr(output);
    while let Some(noise) = text.find(" PMIX ERROR:") {
        let start = text[..noise].rfind('[').unwrap_or(noise);
        let end = text[noise..]
            .find('\n')
            .map_or(text.len(), |end| noise + end + 1);
        text.replace_range(start..end, "");
    }
    assert_eq!(text.matches("mizar cube:").count(), 1, "{text}");
    assert!(text.contains(message), "{text}");
}

#[test]
fn a_run_that_is_stopped_leaves_nothing() {
    for output in OUTPUTS {
        let case = Case::new(output);
        let mut run = mizar().args(case.words()).spawn().unwrap();
        case.wait_for_writing(&mut run);
        let _ = kill(pid(&run), Signal::SIGTERM);
        let status = run.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(15));
        assert_eq!(case.names(), ["in.nc"], "{output}");
    }
}

/// Nobody can clean up after it, but what stood under the name stands.
#[test]
fn a_run_that_is_killed_leaves_the_old_output() {
    for output in OUTPUTS {
        let case = Case::new(output);
        let mut words = case.words();
        *words
            .iter_mut()
            .find(|word| *word == "-selname,noise")
            .unwrap() = "-mulc,0".to_owned();
        assert!(mizar().args(&words).status().unwrap().success());
        let before = size_bytes(&case.output);
        let mut run = mizar().args(case.words()).spawn().unwrap();
        let is_new = |name: &String| name.ends_with(".part");
        case.wait_for_writing(&mut run);
        std::thread::sleep(Duration::from_millis(200));
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(size_bytes(&case.output), before, "{output}");
        let left = case.names().into_iter().filter(|name| !is_new(name));
        assert_eq!(left.count(), 2, "the input and the old output");
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

#[test]
fn an_input_that_changes_while_it_is_read_is_noticed() {
    use std::io::Write as _;
    let case = Case::new("out.nc");
    let mut run = mizar().args(case.words()).spawn().unwrap();
    case.wait_for_writing(&mut run);
    let input = std::fs::OpenOptions::new().append(true).open(&case.input);
    input.unwrap().write_all(b"more").unwrap();
    let result = run.wait_with_output().unwrap();
    assert_eq!(result.status.code(), Some(1));
    assert_one_message(&result, "changed while it was read");
    assert_eq!(case.names(), ["in.nc"]);
}

/// On a file system of its own, in a mount namespace of its own.
#[test]
fn a_full_disk_is_told_once_and_leaves_nothing() {
    let case = Case::new("out.nc");
    let small = case.folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$1\" || exit 77; cd \"$1\"; shift; \
                  \"$@\"; code=$?; ls -A; exit $code";
    for (ranks, output) in [1, 2]
        .into_iter()
        .flat_map(|n| OUTPUTS.map(|name| (n, name)))
    {
        if ranks == 2 && !mizar_lab::has_mpirun() {
            return;
        }
        let mut words = case.words();
        let last = words.len() - 1;
        words[last] = small.join(output).display().to_string();
        let mut run = Command::new("unshare");
        run.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
        run.arg(&small);
        if ranks == 2 {
            run.args([
                "mpirun",
                "--allow-run-as-root",
                "--oversubscribe",
                "--quiet",
                "-n",
                "2",
            ]);
            run.env("OMPI_MCA_btl_tcp_if_include", "lo");
            run.env("OMPI_MCA_oob_tcp_if_include", "lo");
        }
        run.arg(env!("CARGO_BIN_EXE_mizar")).args(words);
        let result = run.output().unwrap();
        if result.status.code() == Some(77) || stderr(&result).contains("unshare failed") {
            println!(
                "SKIP: the kernel gives no mount namespaces: {}",
                stderr(&result)
            );
            return;
        }
        assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
        assert_one_message(&result, "No space left on device");
        let left = String::from_utf8_lossy(&result.stdout);
        assert_eq!(left, "", "{ranks} ranks leave {output} on the full disk");
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

#[test]
fn a_rank_that_is_killed_ends_the_others_with_one_message() {
    if !mizar_lab::has_mpirun() {
        return;
    }
    for (victim, output) in [
        (0, "out.nc"),
        (1, "out.nc"),
        (0, "out.zarr"),
        (1, "out.zarr"),
    ] {
        let case = Case::new(output);
        let mut run = mpirun().args(case.words()).spawn().unwrap();
        case.wait_for_writing(&mut run);
        if output == "out.zarr" {
            // Its chunks are files: all ranks know of the folder once one is there.
            case.wait_for_a_chunk();
        }
        let pid = process_of_rank(victim, &case.output).expect("the victim runs");
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let killed = Instant::now();
        let result = run.wait_with_output().unwrap();
        assert!(killed.elapsed().as_secs() < 10, "{:?}", killed.elapsed());
        assert_one_message(&result, &format!("mizar cube: rank {victim} on "));
        assert!(!case.output.exists(), "rank {victim}, {output}");
        if output == "out.zarr" {
            // The ranks that are left take the folder away that they filled.
            assert_eq!(case.names(), ["in.nc"], "rank {victim}");
        }
    }
}
