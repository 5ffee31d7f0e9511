//! A warm server, and how it is spoken to by hand.
#![allow(dead_code, reason = "each suite needs other parts")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A model of the library's tests.
pub(crate) fn model(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/tests/models");
    Path::new(models).join(name)
}

/// A server that ends with the test.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) socket: PathBuf,
    pub(crate) folder: tempfile::TempDir,
    /// The address that it told.
    pub(crate) told: String,
}

impl Server {
    /// At a socket in a folder of its own, with these models.
    pub(crate) fn start(models: &[&str], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("models.sock");
        Self::at(&socket.display().to_string(), folder, models, flags)
    }

    pub(crate) fn at(
        address: &str,
        folder: tempfile::TempDir,
        models: &[&str],
        flags: &[&str],
    ) -> Self {
        let socket = folder.path().join("models.sock");
        let mut process = Command::new(env!("CARGO_BIN_EXE_mizar"))
            .args([
                "infer",
                "--backend",
                "tract",
                "--threads",
                "1",
                "--serve",
                address,
            ])
            // A model that a test made has a whole path.
            .args(models.iter().map(|name| model(name)))
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stderr = process.stderr.as_mut().unwrap();
        BufReader::new(stderr).read_line(&mut line).unwrap();
        let told = line
            .trim()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        assert!(line.contains("serving at"), "{line}");
        Self {
            process,
            socket,
            folder,
            told,
        }
    }

    pub(crate) fn ask(&self, request: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // A server that refuses a body may close before all of it is sent.
        let _ = stream.write_all(request);
        answer(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let (status, body) = self.ask(request.as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, body) = self.ask(&post(path, body.to_string().as_bytes(), ""));
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn post(path: &str, body: &[u8], headers: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Code and body of an answer after which the connection ends.
pub(crate) fn answer(stream: &mut impl std::io::Read) -> (u16, Vec<u8>) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let cut = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = cut.map_or_else(Vec::new, |cut| bytes[cut + 4..].to_vec());
    (
        status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        body,
    )
}
