//! `mizar infer --serve` asked by a client of KServe's protocol over gRPC that is not ours.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serving::{Server, model};

mod serving;

/// Runs the client; nothing where it is not installed.
fn ask(address: &str, token: &str) -> Option<Value> {
    let Some(python) = mizar_lab::venv::python_with("tritonclient.grpc") else {
        println!("SKIP: the Python environment with tritonclient (make venv)");
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/infer_grpc.py");
    let mut command = Command::new(python);
    command.arg(script).arg(address).arg(model("mlp_in.npy"));
    let output = command.arg(token).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Rows of the golden array: see runtime/infer/tests/models.
fn golden() -> Vec<f64> {
    let bytes = std::fs::read(model("mlp_out.npy")).unwrap();
    let numbers = bytes[128..].as_chunks::<4>().0.iter();
    numbers
        .map(|four| f64::from(f32::from_le_bytes(*four)))
        .collect()
}

fn check(told: &Value) {
    for what in ["live", "ready", "model_ready", "same"] {
        assert_eq!(told[what], true, "{what}: {told:#}");
    }
    assert_eq!(told["server"], "mizar");
    assert_eq!(told["input_shape"], json!([-1, 4]));
    assert_eq!(told["input_type"], "FP32");
    assert_eq!(told["id"], "7");
    assert_eq!(told["version"].as_str().unwrap().len(), 64);
    assert_eq!(told["answer_version"], told["version"]);
    let golden = golden();
    for (what, rows) in [("y", 1), ("y_typed", 1), ("y_all", 5)] {
        let found = told[what].as_array().unwrap();
        assert_eq!(found.len(), rows, "{what}");
        let found = found.iter().flat_map(|row| row.as_array().unwrap());
        for (found, expected) in found.zip(&golden) {
            assert!(
                (found.as_f64().unwrap() - expected).abs() < 1e-5,
                "{what}: {told:#}"
            );
        }
    }
    for (what, code, reason) in [
        ("no_model", "NOT_FOUND", "there is no model `other`"),
        ("no_version", "NOT_FOUND", "not 1"),
        ("no_output", "INVALID_ARGUMENT", "no output `z`"),
        ("no_input", "INVALID_ARGUMENT", "needs the input x"),
        ("no_fit", "INVALID_ARGUMENT", "[?, 4]"),
        ("no_method", "UNIMPLEMENTED", "RepositoryIndex"),
        ("too_large", "RESOURCE_EXHAUSTED", "larger than"),
    ] {
        let (found, message) = (&told[what][0], told[what][1].as_str().unwrap_or_default());
        assert_eq!(found, &format!("StatusCode.{code}"), "{what}: {message}");
        assert!(message.contains(reason), "{what}: {message}");
    }
}

#[test]
fn a_client_of_grpc_is_answered_over_the_socket() {
    let server = Server::start(&["mlp.onnx"], &["--max-body", "1"]);
    let Some(told) = ask(&format!("unix:{}", server.socket.display()), "") else {
        return;
    };
    check(&told);
    // HTTP/1 goes on beside it.
    assert_eq!(server.get("/v2/models/mlp/ready").0, 200);
}

#[test]
fn over_tcp_grpc_wants_the_token_too() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let flags = ["--token-file", token.to_str().unwrap(), "--max-body", "1"];
    let server = Server::at("127.0.0.1:0", folder, &["mlp.onnx"], &flags);
    let Some(told) = ask(&server.told, "secret") else {
        return;
    };
    check(&told);
    assert_eq!(
        told["no_token"][0], "StatusCode.UNAUTHENTICATED",
        "{told:#}"
    );
    let reason = told["no_token"][1].as_str().unwrap();
    assert!(reason.contains("bring the token"), "{reason}");
}

#[test]
fn a_client_that_says_nothing_does_not_keep_its_place() {
    let server = Server::start(&["mlp.onnx"], &[]);
    let mut silent = UnixStream::connect(&server.socket).unwrap();
    let begun = Instant::now();
    silent
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut byte = [0];
    assert_eq!(silent.read(&mut byte).unwrap(), 0, "it was hung up on");
    assert!(begun.elapsed() > Duration::from_secs(5));
}
