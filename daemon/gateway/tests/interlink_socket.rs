//! The plugin API at a Unix socket: who is answered, and what there is.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;
#[path = "harness/pods.rs"]
mod pods;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use double::Double;
use harness::Gateway;
use pods::{create, uid};
use serde_json::{Value, json};

/// A user who owns nothing.
const NOBODY: u32 = 65_534;

struct Site {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

impl Site {
    /// A site that wants tokens at its address, with a socket in a folder that all may enter.
    fn new(uids: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let double = Double::new(folder.path());
        let token = folder.path().join("token");
        fs::write(&token, "a-token-of-the-site-0123456789\n").unwrap();
        fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
        let extra = format!(
            "token_file = \"token\"\n{}[interlink]\nsocket = \"plugin.sock\"\n{uids}",
            double.config()
        );
        let mut gateway = Gateway::prepare(folder.path(), &extra, "");
        gateway.start();
        Self { folder, gateway }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("plugin.sock")
    }
}

fn request(path: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: plugin\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ask(socket: &Path, path: &str, body: &Value) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request(path, body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The same as another user; None where this one may not become one.
fn ask_as(user: u32, socket: &Path, path: &str, body: &Value) -> Option<String> {
    if !nix::unistd::geteuid().is_root() || !Path::new("/usr/bin/perl").exists() {
        println!("SKIP: root and perl are needed to ask as another user");
        return None;
    }
    let program = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new($ARGV[0]) or die $!; \
                   print $s $ARGV[1]; $s->flush; local $/; my $a = <$s>; print $a if defined $a;";
    let output = Command::new("/usr/bin/perl")
        .args(["-e", program])
        .arg(socket)
        .arg(request(path, body))
        .uid(user)
        .gid(user)
        .output()
        .unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_pod_comes_by_the_socket_without_a_token_and_nothing_else_does() {
    let mut site = Site::new("");
    let socket = site.socket();
    let answer = ask(&socket, "/create", &create(1, &["true"]));
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(&uid(1)),
        "{answer}"
    );
    let pods = json!([create(1, &["true"])["pod"]]);
    let answer = ask(&socket, "/status", &pods);
    assert!(answer.contains("\"containers\""), "{answer}");
    assert!(ask(&socket, "/status", &json!([])).contains("\"status\":\"ok\""));
    for path in ["/events", "/v1/jobs", "/metrics", "/"] {
        let answer = ask(&socket, path, &json!({}));
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    // At the address a token is asked for as ever.
    assert_eq!(site.gateway.ask("/status", &pods).0, 401);
    let output = site.gateway.command(&["drain", "--no-wait"]);
    assert!(output.status.success());
    let since = Instant::now();
    while !ask(&socket, "/create", &create(2, &["true"])).starts_with("HTTP/1.1 503") {
        assert!(since.elapsed() < Duration::from_secs(10), "it is drained");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(ask(&socket, "/status", &pods).starts_with("HTTP/1.1 200"));
    assert_eq!(site.gateway.stop(), Some(0));
    assert!(!socket.exists(), "it is taken away");
    // One that was left behind by a kill is replaced.
    site.gateway.start();
    site.gateway.kill();
    assert!(socket.exists());
    site.gateway.start();
    assert!(ask(&socket, "/status", &pods).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_kernel_says_who_asks() {
    let pods = json!([create(1, &["true"])["pod"]]);
    let site = Site::new("");
    let Some(answer) = ask_as(NOBODY, &site.socket(), "/status", &pods) else {
        return;
    };
    assert_eq!(answer, "", "nobody is not answered");
    assert!(
        site.gateway.log().contains("socket_uids"),
        "{}",
        site.gateway.log()
    );
    let site = Site::new(&format!("socket_uids = [{NOBODY}]\n"));
    let answer = ask_as(NOBODY, &site.socket(), "/create", &create(1, &["true"])).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(
        ask_as(NOBODY - 1, &site.socket(), "/status", &pods).unwrap(),
        ""
    );
}
