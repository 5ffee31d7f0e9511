//! `mizar cube` with inputs on servers: a real S3 service that checks signatures, and a web
//! server with a certificate of its own. Results are those of the same files on disk, and what
//! is refused is said with its remedy and without secrets.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

#[path = "../../array/tests/python/mod.rs"]
mod python;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mizar_array::storage::Source;
use serde_json::Value;

/// A server that ends with the test, and what it told when it had started.
struct Server {
    child: Child,
    told: Value,
}

impl Server {
    /// `None` with a line that says what is missing.
    fn start(arguments: &[&str]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/object_store.py");
        let mut child = Command::new(mizar_lab::venv::python()?)
            .args(["-W", "ignore"])
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap();
        Some(Self { child, told })
    }

    fn told(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Inputs, and the service that has them under `s3://climate/a b/`.
struct Case {
    folder: tempfile::TempDir,
    server: Server,
}

impl Case {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let inputs = folder.path().join("in");
        std::fs::create_dir(&inputs).unwrap();
        let inputs = inputs.to_str().unwrap().to_owned();
        let script = "../../array/tests/remote_files.py";
        python::run_script(script, "make", std::slice::from_ref(&inputs))?;
        let server = Server::start(&["s3", &inputs])?;
        Some(Self { folder, server })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `mizar cube` with the reader's keys, and then other variables.
    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Output {
        let own = [
            ("AWS_ENDPOINT_URL", self.server.told("url")),
            ("AWS_ACCESS_KEY_ID", self.server.told("id")),
            ("AWS_SECRET_ACCESS_KEY", self.server.told("secret")),
            ("AWS_REGION", "eu-north-1"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command.arg("cube").args(words).env_remove("AWS_PROFILE");
        command.env("HOME", self.folder.path());
        for (name, value) in own.iter().chain(variables) {
            command.env(name, value);
        }
        command.output().unwrap()
    }

    /// Runs operators on an input of the service and on the same on disk, and compares all that
    /// the outputs hold but their histories, which it gives.
    fn compare(&self, operators: &[&str], input: &str) -> String {
        let outputs = [self.path("remote.nc"), self.path("local.nc")];
        let inputs = [
            format!("s3://climate/a b/{input}"),
            self.path("in").join(input).to_str().unwrap().to_owned(),
        ];
        for (input, output) in inputs.iter().zip(&outputs) {
            let words = [&["-s"], operators, &[input, output.to_str().unwrap()]].concat();
            succeeds(&self.run(&words, &[]));
        }
        let [remote, local] = outputs.map(|output| Source::open(&output).unwrap());
        let numbers = |source: &Source| -> Vec<Vec<f64>> {
            let read = |index| {
                let whole = source.dataset().whole(index);
                let cells = whole.iter().map(ExactSizeIterator::len).product();
                let mut out = vec![0.0; cells];
                source.read_f64(index, &whole, &mut out).unwrap();
                out
            };
            (0..source.dataset().variables.len()).map(read).collect()
        };
        assert_eq!(numbers(&remote), numbers(&local), "{operators:?} {input}");
        assert_eq!(
            format!("{:?}", remote.dataset().variables),
            format!("{:?}", local.dataset().variables)
        );
        let history = remote.dataset().attributes.get_text("history");
        history.unwrap().to_owned()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_object_store_gives_what_the_disk_gives() {
    let Some(case) = Case::new() else { return };
    let history = case.compare(&["-fldmean", "-selname,tas"], "chunked.nc");
    assert!(history.contains("s3://climate/a b/chunked.nc"), "{history}");
    case.compare(&["-timmean"], "classic.nc");
    case.compare(&["-timmax", "-seltimestep,5/30"], "v3.zarr");
    // Its metadata is in one file an array, which a list tells.
    case.compare(&["-sellonlatbox,10,20,5,30", "-seltimestep,7"], "plain");
    case.compare(&["-timsum"], "part_*.nc");
    let seen = case.run(&["-sinfo", "s3://climate/a b/part_0.nc"], &[]);
    assert!(succeeds(&seen).contains("lonlat"), "{seen:?}");
    let plan = ["--plan", "-timmean", "s3://climate/a b/chunked.nc", "o.nc"];
    let plan = succeeds(&case.run(&plan, &[]));
    let size = std::fs::metadata(case.path("in/chunked.nc")).unwrap().len();
    assert!(
        size > 4_000_000 && plan.contains("s3://climate/a b/chunked.nc"),
        "{plan}"
    );
    let none = case.run(&["-timsum", "s3://climate/a b/none_*.nc", "o.nc"], &[]);
    assert!(
        stderr(&none).contains("no file is called s3://"),
        "{none:?}"
    );
    what_is_refused_has_a_remedy_and_no_secret(&case);
}

fn what_is_refused_has_a_remedy_and_no_secret(case: &Case) {
    let input = "s3://climate/a b/part_0.nc";
    let output = case.path("none.nc");
    let words = ["-timmean", input, output.to_str().unwrap()];
    let secret = case.server.told("secret");
    for (variables, expected) in [
        (
            &[("AWS_SECRET_ACCESS_KEY", "hidden+secret")][..],
            "SignatureDoesNotMatch): check AWS_ACCESS_KEY_ID",
        ),
        (&[("AWS_ACCESS_KEY_ID", "NOBODY")], "InvalidAccessKeyId"),
        (&[("AWS_ACCESS_KEY_ID", "")], "AWS_ACCESS_KEY_ID is not"),
        (&[("AWS_SKIP_SIGNATURE", "true")], "no keys were sent"),
        (&[("AWS_PROFILE", "absent")], "AWS_PROFILE is \"absent\""),
    ] {
        let run = case.run(&words, variables);
        let message = stderr(&run);
        assert_eq!(run.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{variables:?}: {message}");
        assert!(message.contains(input), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(
            !message.contains("hidden") && !message.contains(secret),
            "{message}"
        );
        assert!(!output.exists());
    }
    for (input, expected) in [
        (
            "s3://climate/none.nc",
            "nothing under this name (HTTP 404, NoSuchKey)",
        ),
        ("s3://none/a.nc", "NoSuchBucket"),
        ("s3://climate/none.zarr", "not a Zarr store"),
    ] {
        let message = stderr(&case.run(&["-timmean", input, "o.nc"], &[]));
        assert!(message.contains(expected), "{message}");
    }
    let run = case.run(&["-timmean", input, "s3://climate/out.nc"], &[]);
    assert_eq!(run.status.code(), Some(2));
    assert!(
        stderr(&run).contains("results are written to files only"),
        "{run:?}"
    );
}

#[test]
fn a_certificate_is_trusted_if_its_authority_is_and_a_signed_link_stays_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let inputs = folder.path().to_str().unwrap().to_owned();
    let pem = folder.path().join("own.pem");
    let script = "../../array/tests/remote_files.py";
    let made = python::run_script(script, "make", std::slice::from_ref(&inputs));
    let server = Server::start(&["web", &inputs, pem.to_str().unwrap()]);
    let (Some(_), Some(server)) = (made, server) else {
        return;
    };
    let url = format!("{}/part_0.nc", server.told("url"));
    let link = format!("{url}?X-Amz-Signature=hidden");
    let output = folder.path().join("out.nc");
    let mean = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command.args(["cube", "--json", "-fldmean", &link]);
        command.arg(&output);
        command
    };
    let trusted = mean().env("SSL_CERT_FILE", &pem).output().unwrap();
    let told = succeeds(&trusted) + &stderr(&trusted);
    let source = Source::open(&output).unwrap();
    let history = source.dataset().attributes.get_text("history").unwrap();
    for text in [history, &told] {
        assert!(text.contains(&url) && !text.contains("hidden"), "{text}");
    }
    let message = stderr(&mean().output().unwrap());
    assert!(message.contains("no secure connection"), "{message}");
    assert!(
        message.contains("SSL_CERT_FILE") && !message.contains("hidden"),
        "{message}"
    );
}
