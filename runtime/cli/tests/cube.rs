//! `mizar cube` as its users see it: exit codes, one message, no half-made output, several
//! ranks under `mpirun`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mizar_array::dataset::{AttrValue, DType, Dataset, Dimension, Variable};
use mizar_array::storage::Source;
use mizar_array::write::{WriteOptions, Writer};

const STEPS: usize = 60;
const CELLS: usize = 30;

fn mizar(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
    command
        .arg("cube")
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

/// `None` without mpirun.
fn mpirun(ranks: usize, arguments: &str) -> Option<Output> {
    mizar_lab::mpirun(ranks, env!("CARGO_BIN_EXE_mizar").as_ref(), |command| {
        command.arg("cube").args(arguments.split_whitespace());
    })
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two months of daily values on 5 x 6 cells, with a gap.
fn write_input(path: &Path) {
    let text = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), AttrValue::from(*value)))
            .collect()
    };
    let dimension = |name: &str, len, unlimited| Dimension {
        name: name.to_owned(),
        len,
        unlimited,
    };
    let variable = |name: &str, dtype, dims: &[usize], pairs: &[(&str, &str)]| Variable {
        name: name.to_owned(),
        dtype,
        dims: dims.to_vec(),
        attributes: text(pairs),
    };
    let dataset = Dataset {
        dimensions: vec![
            dimension("time", STEPS, true),
            dimension("lat", 5, false),
            dimension("lon", 6, false),
        ],
        variables: vec![
            variable(
                "time",
                DType::F64,
                &[0],
                &[("units", "days since 2001-01-01")],
            ),
            variable("lat", DType::F64, &[1], &[("units", "degrees_north")]),
            variable("lon", DType::F64, &[2], &[("units", "degrees_east")]),
            variable("tas", DType::F32, &[0, 1, 2], &[("units", "K")]),
        ],
        attributes: text(&[]),
    };
    let mut writer = Writer::create(path, &dataset, &WriteOptions::default()).unwrap();
    let mut write = |index: usize, values: Vec<f64>| {
        writer
            .write_f64(index, &dataset.whole(index), &values)
            .unwrap();
    };
    write(0, (0..STEPS).map(|day| day as f64).collect());
    write(1, vec![-60.0, -30.0, 0.0, 30.0, 60.0]);
    write(2, (0..6).map(|i| f64::from(i) * 60.0).collect());
    let value = |place: usize| {
        if place % 31 == 7 {
            f64::NAN
        } else {
            (place % 17) as f64 / 3.0
        }
    };
    write(3, (0..STEPS * CELLS).map(value).collect());
    writer.commit().unwrap();
}

fn bits(path: &Path) -> Vec<u64> {
    let source = Source::open(path).unwrap();
    let index = source.dataset().variable_index("tas").unwrap();
    let mut values = vec![0.0; source.dataset().shape(index).iter().product()];
    source
        .read_f64(index, &source.dataset().whole(index), &mut values)
        .unwrap();
    values.into_iter().map(f64::to_bits).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.nc"), folder.path().join("out.nc"));
    write_input(&input);
    (folder, input, output)
}

#[test]
fn a_chain_runs_and_history_tells_of_it() {
    let (_folder, input, output) = folder();
    let line = format!(
        "-timmean -sellonlatbox,0,90,0,45 {} {}",
        input.display(),
        output.display()
    );
    let result = mizar(&line);
    assert!(result.status.success(), "{}", stderr(&result));
    assert!(result.stdout.is_empty() && result.stderr.is_empty());
    let source = Source::open(&output).unwrap();
    let history = source.dataset().attributes.get_text("history").unwrap();
    assert!(
        history.ends_with(&format!(" mizar cube {line}")),
        "{history}"
    );
    assert_eq!(bits(&output).len(), 2 * 2);
}

#[test]
fn ranks_under_mpirun_give_the_same_bits() {
    let (folder, input, output) = folder();
    for operators in ["-timmean", "-ymonmean", "-fldmean -monmean"] {
        let expected = folder.path().join("single.nc");
        let line = format!("{operators} {}", input.display());
        assert!(
            mizar(&format!("{line} {}", expected.display()))
                .status
                .success()
        );
        for ranks in 2..=4 {
            let Some(result) = mpirun(ranks, &format!("-P 1 {line} {}", output.display())) else {
                return;
            };
            assert!(result.status.success(), "{}", stderr(&result));
            assert_eq!(
                bits(&output),
                bits(&expected),
                "{operators} on {ranks} ranks"
            );
        }
    }
}

#[test]
fn a_plan_tells_what_would_be_done_and_does_nothing() {
    let (_folder, input, output) = folder();
    for (line, step) in [
        (
            "-timmean,timmax",
            "reduce over time tas_timmean, tas_timmax: ",
        ),
        ("-timpctl,90", "read whole series tas: "),
        ("-timsort", "read whole series tas: "),
        ("-mulc,2", "stream tas: "),
        ("-sub -timmean", "stream tas: "),
    ] {
        let extra = if line.starts_with("-sub") {
            format!(" {}", input.display())
        } else {
            String::new()
        };
        let line = format!(
            "--plan {line} {}{extra} {}",
            input.display(),
            output.display()
        );
        let result = mizar(&line);
        let told = String::from_utf8_lossy(&result.stdout).into_owned();
        assert!(
            result.status.success() && told.contains(step),
            "{line}: {told}{}",
            stderr(&result)
        );
        assert!(told.contains("#SBATCH --mem-per-cpu="), "{told}");
        assert!(
            !output.exists() && std::fs::read_dir(output.parent().unwrap()).unwrap().count() == 1
        );
    }
}

#[test]
fn unreadable_inputs_give_one_message_and_no_output() {
    let (folder, input, output) = folder();
    let whole = std::fs::read(&input).unwrap();
    for (name, content, problem) in [
        ("empty.nc", &b""[..], "is empty"),
        (
            "text.nc",
            b"this is not NetCDF, whatever its name",
            "is not a NetCDF file",
        ),
        ("cut.nc", &whole[..whole.len() / 2], ""),
    ] {
        let damaged = folder.path().join(name);
        std::fs::write(&damaged, content).unwrap();
        let line = format!("-timmean {} {}", damaged.display(), output.display());
        let alone = mizar(&line);
        let together = mpirun(3, &line);
        for result in [Some(alone), together].into_iter().flatten() {
            let text = stderr(&result);
            assert_eq!(result.status.code(), Some(1), "{text}");
            let ours: Vec<&str> = text
                .lines()
                .filter(|line| line.contains("mizar cube:"))
                .collect();
            assert_eq!(ours.len(), 1, "{text}");
            assert!(
                ours[0].contains(name) && ours[0].contains(problem),
                "{text}"
            );
            assert!(!output.exists(), "{name}");
        }
    }
}

#[test]
fn an_existing_output_survives_a_failure_and_is_replaced_by_success() {
    let (_folder, input, output) = folder();
    std::fs::write(&output, "before").unwrap();
    let line = format!("-selmon,7 {} {}", input.display(), output.display());
    assert_eq!(mizar(&line).status.code(), Some(1));
    assert_eq!(std::fs::read(&output).unwrap(), b"before");
    let line = format!("-timmean {} {}", input.display(), output.display());
    assert!(mizar(&line).status.success());
    assert_eq!(bits(&output).len(), CELLS);
}

#[test]
fn an_input_is_not_replaced_by_its_own_result() {
    let (folder, input, _) = folder();
    let link = folder.path().join("link.nc");
    std::os::unix::fs::symlink(&input, &link).unwrap();
    let before = std::fs::read(&input).unwrap();
    for output in [&input, &link] {
        let run = mizar(&format!(
            "-timmean {} {}",
            input.display(),
            output.display()
        ));
        assert_eq!(run.status.code(), Some(2));
        let expected = format!(
            "mizar cube: the output {} is an input too: give it another name\n",
            output.display()
        );
        assert_eq!(stderr(&run), expected);
    }
    assert_eq!(std::fs::read(&input).unwrap(), before);
    assert!(link.is_symlink());
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for (line, message) in [
        ("", "mizar cube: no operator given"),
        ("-timmen in.nc out.nc", "did you mean `timmean`?"),
        ("-timmean,1 in.nc out.nc", "takes no parameters, found 1"),
        ("-sub in.nc out.nc", "needs 2 inputs"),
    ] {
        let result = mizar(line);
        assert_eq!(result.status.code(), Some(2), "{line}: {}", stderr(&result));
        assert!(
            stderr(&result).contains(message),
            "{line}: {}",
            stderr(&result)
        );
    }
}

#[test]
fn help_lists_operators_and_examples() {
    let output = |line: &str| {
        let result = mizar(line);
        assert!(result.status.success(), "{line}");
        String::from_utf8(result.stdout).unwrap()
    };
    assert!(output("--help").contains("mizar cube -timmean -sellonlatbox,0,90,0,45 in.nc out.nc"));
    let operators = output("--operators");
    for name in ["selname", "timstd", "ymonsub", "zonmean"] {
        assert!(
            operators.lines().any(|line| line.starts_with(name)),
            "{name}"
        );
    }
    assert!(
        output("-h sellonlatbox").contains("sellonlatbox,west,east,south,north infile outfile")
    );
    assert!(output("help timmean").contains("Missing values are skipped"));
}

/// A socket that nobody serves costs its deadline and nothing else.
#[test]
fn a_dead_daemon_neither_fails_nor_delays() {
    let (folder, input, output) = folder();
    let socket = folder.path().join("mizard.sock");
    let _hung = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let started = std::time::Instant::now();
    let result = Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(["cube", "-timmean"])
        .args([&input, &output])
        .env("MIZAR_SOCKET", &socket)
        .env("SLURM_JOB_ID", "7")
        .env("SLURM_STEP_ID", "0")
        .output()
        .unwrap();
    assert!(
        result.status.success() && result.stderr.is_empty(),
        "{}",
        stderr(&result)
    );
    assert!(
        started.elapsed().as_secs() < 20,
        "a busy machine, not a wait without end"
    );
}
