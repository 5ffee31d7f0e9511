//! `mizar infer --serve` and its clients: the protocol, limits, isolation, and its end.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use serving::{Server, answer, model, post};

mod serving;

fn row(values: [f32; 4]) -> Value {
    json!({ "id": "7", "inputs": [
        { "name": "x", "shape": [1, 4], "datatype": "FP32", "data": values }
    ]})
}

#[test]
fn the_protocol_is_spoken() {
    let server = Server::start(&["mlp.onnx"], &[]);
    assert_eq!(server.get("/v2").1["name"], "mizar");
    assert_eq!(server.get("/v2/health/live").0, 200);
    assert_eq!(server.get("/v2/health/ready").0, 200);
    assert_eq!(server.get("/v2/models/mlp/ready").0, 200);
    let (status, described) = server.get("/v2/models/mlp");
    assert_eq!(status, 200);
    assert_eq!(
        described["inputs"][0],
        json!({ "name": "x", "datatype": "FP32", "shape": [-1, 4] })
    );
    let version = described["versions"][0].as_str().unwrap().to_owned();
    assert_eq!(version.len(), 64);
    assert_eq!(
        server.get(&format!("/v2/models/mlp/versions/{version}")).0,
        200
    );
    assert_eq!(server.get("/v2/models/mlp/versions/1").0, 404);
    assert_eq!(server.get("/v2/models/other").0, 404);
    assert_eq!(server.get("/v3").0, 404);

    // The first row of the golden array: see runtime/infer/tests/models.
    let (status, found) = server.post("/v2/models/mlp/infer", &row([-1.0, -0.26, 0.48, -0.8]));
    assert_eq!(status, 200, "{found}");
    assert_eq!(
        (&found["id"], &found["model_version"]),
        (&json!("7"), &json!(version))
    );
    assert_eq!(found["outputs"][0]["shape"], json!([1, 2]));
    let data = found["outputs"][0]["data"].as_array().unwrap();
    let golden = std::fs::read(model("mlp_out.npy")).unwrap();
    let golden = golden[128..].as_chunks::<4>().0;
    for (found, expected) in data.iter().zip(golden) {
        let expected = f64::from(f32::from_le_bytes(*expected));
        assert!(
            (found.as_f64().unwrap() - expected).abs() < 1e-5,
            "{data:?}"
        );
    }
}

#[test]
fn numbers_travel_as_bytes_too() {
    let server = Server::start(&["mlp.onnx"], &[]);
    let head = json!({
        "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP32",
                     "parameters": { "binary_data_size": 16 } }],
        "outputs": [{ "name": "y", "parameters": { "binary_data": true } }],
    })
    .to_string();
    let numbers: Vec<u8> = [-1.0_f32, -0.26, 0.48, -0.8]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let body = [head.as_bytes(), &numbers].concat();
    let length = format!("inference-header-content-length: {}\r\n", head.len());
    let (status, bytes) = server.ask(&post("/v2/models/mlp/infer", &body, &length));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&bytes));
    let (json, numbers) = bytes.split_at(bytes.len() - 8);
    let json: Value = serde_json::from_slice(json).unwrap();
    assert_eq!(json["outputs"][0]["parameters"]["binary_data_size"], 8);
    let first = f32::from_le_bytes(numbers[..4].try_into().unwrap());
    let (_, plain) = server.post("/v2/models/mlp/infer", &row([-1.0, -0.26, 0.48, -0.8]));
    let plain = plain["outputs"][0]["data"][0].as_f64().unwrap();
    assert!((f64::from(first) - plain).abs() < 1e-6);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let server = Server::start(&["mlp.onnx"], &["--max-body", "1"]);
    let infer = "/v2/models/mlp/infer";
    for (body, code, message) in [
        (json!({}), 400, "needs the input x"),
        (json!({ "inputs": 3 }), 400, "JSON"),
        (
            json!({ "inputs": [{ "name": "x", "shape": [1, 5], "datatype": "FP32",
                                 "data": [0, 0, 0, 0, 0] }] }),
            400,
            "takes the shape [?, 4]",
        ),
        (
            json!({ "inputs": [{ "name": "x", "shape": [1, 4], "datatype": "FP64",
                                 "data": [0, 0, 0, 0] }] }),
            400,
            "takes FP32",
        ),
    ] {
        let (status, answer) = server.post(infer, &body);
        assert_eq!(status, code, "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains(message),
            "{answer}"
        );
    }
    let large = vec![b' '; 2 << 20];
    let (status, answer) = server.ask(&post(infer, &large, ""));
    assert_eq!(status, 413, "{}", String::from_utf8_lossy(&answer));
    // And it serves on.
    assert_eq!(server.post(infer, &row([0.0; 4])).0, 200);
}

#[test]
fn a_slow_client_loses_its_request_alone() {
    let server = Server::start(&["mlp.onnx"], &["--body-limit", "1"]);
    let mut slow = UnixStream::connect(&server.socket).unwrap();
    let head = "POST /v2/models/mlp/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    slow.write_all(head.as_bytes()).unwrap();
    assert_eq!(server.post("/v2/models/mlp/infer", &row([0.0; 4])).0, 200);
    let (status, _) = answer(&mut slow);
    assert_eq!(status, 408);
}

#[test]
fn the_socket_is_its_owners() {
    let server = Server::start(&["mlp.onnx"], &[]);
    let mode = std::fs::metadata(&server.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Another server does not take the name.
    let other = Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(["infer", "--serve"])
        .arg(&server.socket)
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("another server listens"), "{said}");
}

#[test]
fn over_tcp_a_token_is_wanted_and_no_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let flags = ["--token-file", token.to_str().unwrap()];
    let server = Server::at("127.0.0.1:0", folder, &["mlp.onnx"], &flags);
    let ask = |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(&server.told).unwrap();
        stream.write_all(&post(path, b"{}", headers)).unwrap();
        answer(&mut stream).0
    };
    let index = "/v2/repository/index";
    assert_eq!(ask(index, ""), 401);
    assert_eq!(ask(index, "authorization: Bearer other!\r\n"), 401);
    assert_eq!(ask(index, "authorization: Bearer secret\r\n"), 200);
    let load = "/v2/repository/models/mlp/load";
    assert_eq!(ask(load, "authorization: Bearer secret\r\n"), 403);
    assert!(server.folder.path().exists());

    let open = Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(["infer", "--serve", "0.0.0.0:0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&open.stderr);
    assert!(said.contains("--token-file"), "{said}");
}

/// A model file of another digest and so many bytes more: its `doc_string`, field 6, is longer.
fn padded(path: &Path, letter: u8, bytes: usize) {
    let mut model = std::fs::read(model("mlp.onnx")).unwrap();
    model.push(6 << 3 | 2);
    let mut length = bytes;
    while length >= 128 {
        model.push((length & 127) as u8 | 128);
        length >>= 7;
    }
    model.push(length as u8);
    model.extend(vec![letter; bytes]);
    std::fs::write(path, model).unwrap();
}

#[test]
fn models_are_shared_by_digest() {
    let server = Server::start(&["mlp.onnx", "mlp_batch_3.onnx"], &[]);
    let load = |name: &str, file: &str| {
        let body = json!({ "parameters": { "path": model(file) } });
        server.post(&format!("/v2/repository/models/{name}/load"), &body)
    };
    let (status, described) = load("twin", "mlp.onnx");
    assert_eq!(status, 200, "{described}");
    let (_, index) = server.post("/v2/repository/index", &json!({}));
    assert_eq!(index.as_array().unwrap().len(), 3, "{index}");
    assert_eq!(index[0]["version"], index[2]["version"], "{index}");
    assert_eq!(
        server
            .post("/v2/repository/models/twin/unload", &json!({}))
            .0,
        200
    );
    assert_eq!(server.get("/v2/models/twin").0, 404);
    assert_eq!(server.get("/v2/models/mlp/ready").0, 200);
    let (status, answer) = load("absent", "absent.onnx");
    assert_eq!(status, 400);
    let message = answer["error"].as_str().unwrap();
    assert!(message.contains("cannot read the model"), "{answer}");
}

#[test]
fn the_model_used_longest_ago_goes_and_comes_back() {
    // Each counts for 1.2 MiB: two do not fit.
    let server = Server::start(&[], &["--memory", "2"]);
    let path = |name: &str| server.folder.path().join(format!("{name}.onnx"));
    let load = |name: &str| {
        let body = json!({ "parameters": { "path": path(name) } });
        server.post(&format!("/v2/repository/models/{name}/load"), &body)
    };
    let states = || {
        let (_, index) = server.post("/v2/repository/index", &json!({}));
        let rows = index.as_array().unwrap().clone();
        let state = |row: &Value| row["state"].as_str().unwrap().to_owned();
        rows.iter().map(state).collect::<Vec<String>>()
    };
    for (name, letter) in [("a", b'a'), ("b", b'b')] {
        padded(&path(name), letter, 600 << 10);
        assert_eq!(load(name).0, 200);
    }
    assert_eq!(states(), ["UNAVAILABLE", "READY"]);
    assert_eq!(server.post("/v2/models/a/infer", &row([0.0; 4])).0, 200);
    assert_eq!(states(), ["READY", "UNAVAILABLE"]);
    padded(&path("b"), b'c', 600 << 10);
    let (status, answer) = server.post("/v2/models/b/infer", &row([0.0; 4]));
    assert_eq!(status, 409, "{answer}");
    padded(&path("c"), b'd', 2 << 20);
    let (status, answer) = load("c");
    assert_eq!(status, 507, "{answer}");
}

#[test]
fn a_client_runs_arrays_on_the_server() {
    let server = Server::start(&[], &[]);
    let out = server.folder.path().join("out.npy");
    let warm = |arguments: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mizar"));
        command
            .args(["infer", "--warm"])
            .arg(&server.socket)
            .arg(model("conv.onnx"));
        for (flag, path) in ["-i", "-o"].iter().zip(arguments) {
            command.arg(flag).arg(path);
        }
        command.output().unwrap()
    };
    let ready = warm(&[]);
    let said = String::from_utf8_lossy(&ready.stderr).into_owned();
    assert!(ready.status.success() && said.contains("ready"), "{said}");
    let ran = warm(&[&model("conv_in.npy"), &out]);
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let (found, expected) = (
        std::fs::read(&out).unwrap(),
        std::fs::read(model("conv_out.npy")).unwrap(),
    );
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes[128..]
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect()
    };
    for (found, expected) in numbers(&found).iter().zip(numbers(&expected)) {
        assert!((found - expected).abs() < 2e-6);
    }
    let nobody = Command::new(env!("CARGO_BIN_EXE_mizar"))
        .args(["infer", "--warm", "/nowhere/a.sock"])
        .arg(model("conv.onnx"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert!(said.contains("no server at /nowhere/a.sock"), "{said}");
}

#[test]
fn a_server_that_is_told_to_end_answers_what_is_open_first() {
    let mut server = Server::start(&["mlp.onnx"], &[]);
    let body = row([0.0; 4]).to_string();
    let request = post("/v2/models/mlp/infer", body.as_bytes(), "");
    let (first, last) = request.split_at(request.len() - 1);
    let mut open = UnixStream::connect(&server.socket).unwrap();
    open.write_all(first).unwrap();
    // The head has arrived once another request is answered.
    assert_eq!(server.get("/v2/health/live").0, 200);
    std::thread::sleep(Duration::from_millis(100));
    kill(
        Pid::from_raw(server.process.id().cast_signed()),
        Signal::SIGTERM,
    )
    .unwrap();
    // Nobody listens any more before it has ended.
    while server.process.try_wait().unwrap().is_none()
        && UnixStream::connect(&server.socket).is_ok_and(|mut probe| {
            let _ = probe.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = probe.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n");
            probe.read(&mut [0; 1]).is_ok_and(|count| count > 0)
        })
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    open.write_all(last).unwrap();
    let (status, _) = answer(&mut open);
    assert_eq!(status, 200);
    assert!(server.process.wait().unwrap().success());
    assert!(!server.socket.exists());
}

/// A file that is slow to read: a pipe that nobody writes into yet.
#[test]
fn a_model_that_is_slow_to_load_holds_up_nobody_else() {
    let server = Server::start(&["mlp.onnx"], &["--load-limit", "1"]);
    let slow = server.folder.path().join("slow.onnx");
    nix::unistd::mkfifo(&slow, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let infer = |name: &str| server.post(&format!("/v2/models/{name}/infer"), &row([0.0; 4]));
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let body = json!({ "parameters": { "path": slow } });
            server.post("/v2/repository/models/slow/load", &body)
        });
        let state = || {
            let (_, index) = server.post("/v2/repository/index", &json!({}));
            let rows = index.as_array().unwrap().clone();
            let row = rows.into_iter().find(|row| row["name"] == "slow");
            row.map(|row| row["state"].as_str().unwrap().to_owned())
        };
        while state().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(state().as_deref(), Some("LOADING"));
        // Those who ask for it wait, and no longer than the limit.
        let asked = Instant::now();
        let waiting = scope.spawn(|| infer("slow"));
        for _ in 0..20 {
            let begun = Instant::now();
            assert_eq!(infer("mlp").0, 200);
            assert!(begun.elapsed() < Duration::from_millis(500));
        }
        let (status, found) = waiting.join().unwrap();
        assert!(asked.elapsed() >= Duration::from_secs(1));
        assert_eq!(status, 503, "{found}");
        let told = found["error"].as_str().unwrap();
        assert!(
            told.contains("`slow` is still being loaded after 1 s"),
            "{told}"
        );
        assert_eq!(load.join().unwrap().0, 503);

        // The load itself goes on: whoever waits when the file has come gets an answer.
        let waiting = scope.spawn(|| infer("slow"));
        std::thread::sleep(Duration::from_millis(100));
        std::fs::write(&slow, std::fs::read(model("mlp.onnx")).unwrap()).unwrap();
        assert_eq!(waiting.join().unwrap().0, 200);
        assert_eq!(state().as_deref(), Some("READY"));
    });
}

/// The old model answers until the new one under its name is there, or is found to be none.
#[test]
fn a_name_that_is_loaded_anew_answers_meanwhile() {
    let server = Server::start(&["mlp.onnx"], &["--load-limit", "1"]);
    let pipe = server.folder.path().join("new.onnx");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let load = || {
        let body = json!({ "parameters": { "path": pipe } });
        server.post("/v2/repository/models/mlp/load", &body)
    };
    let infer = || server.post("/v2/models/mlp/infer", &row([0.0; 4]));
    let (_, before) = server.get("/v2/models/mlp");
    std::thread::scope(|scope| {
        let loading = scope.spawn(load);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(infer().0, 200);
        std::fs::write(&pipe, b"no model").unwrap();
        let (status, found) = loading.join().unwrap();
        assert_eq!(status, 400, "{found}");
    });
    assert_eq!(infer().0, 200);
    assert_eq!(
        server.get("/v2/models/mlp").1["versions"],
        before["versions"]
    );
}
