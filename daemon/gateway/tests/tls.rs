//! TLS at the gateway's own socket, with certificates that openssl makes: who may connect, whom a
//! certificate names, and files that change while it serves.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

#[path = "harness/double.rs"]
mod double;
mod harness;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use double::Double;
use harness::{Gateway, event};
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

const OPERATOR: &str = "an-operators-token";

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
];

/// An authority: `NAME.pem` and `NAME.key`.
fn authority(folder: &Path, name: &str) {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN=authority {name}");
    let rest = [
        "-x509", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &pem,
    ];
    openssl(folder, &[&["req"][..], &KEY, &rest].concat());
}

/// A certificate of an authority: `NAME.pem` and `NAME.key`, readable by its owner.
fn certificate(folder: &Path, by: &str, name: &str, subject: &str, names: &str, days: &str) {
    let at = |end: &str| format!("{name}.{end}");
    let rest = ["-subj", subject, "-keyout", &at("key"), "-out", &at("csr")];
    openssl(folder, &[&["req", "-new"][..], &KEY, &rest].concat());
    let extension = if names.is_empty() {
        "basicConstraints=CA:FALSE\n".to_owned()
    } else {
        format!("basicConstraints=CA:FALSE\nsubjectAltName={names}\n")
    };
    fs::write(folder.join(at("ext")), extension).unwrap();
    let (ca, ca_key) = (format!("{by}.pem"), format!("{by}.key"));
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            &at("csr"),
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            &at("ext"),
            "-out",
            &at("pem"),
        ],
    );
    let key = folder.join(at("key"));
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

struct Site {
    folder: tempfile::TempDir,
    gateway: Gateway,
}

/// A gateway with the certificate `server` of the authority `site`.
fn site(more: &str) -> Site {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    authority(path, "site");
    authority(path, "people");
    certificate(path, "site", "server", "/CN=gateway", "IP:127.0.0.1", "2");
    let double = Double::new(path);
    fs::write(path.join("token"), OPERATOR).unwrap();
    fs::set_permissions(path.join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let extra = format!(
        "token_file = \"token\"\n{}[limits]\nheader_ms = 1000\n[audit]\nfile = \"audit\"\n\
         [tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n{more}",
        double.config()
    );
    let services = "[[service]]\nname = \"one\"\nscript = \"/bin/true\"\n";
    let mut gateway = Gateway::prepare(path, &extra, services);
    gateway.start_when(|gateway| TcpStream::connect(gateway.address).is_ok());
    Site { folder, gateway }
}

fn pem(path: PathBuf) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

impl Site {
    /// A connection that trusts `authority`, with a client's certificate if there is one.
    fn connect(
        &self,
        authority: &str,
        client: Option<&str>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let at = |name: String| self.folder.path().join(name);
        let mut roots = RootCertStore::empty();
        roots.add(pem(at(format!("{authority}.pem")))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(at(format!("{name}.key"))).unwrap();
                let chain = vec![pem(at(format!("{name}.pem")))];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(self.gateway.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        StreamOwned::new(
            ClientConnection::new(Arc::new(config), name).unwrap(),
            stream,
        )
    }

    /// The status and body of an answer to a posted event.
    fn post(
        &self,
        authority: &str,
        client: Option<&str>,
        token: Option<&str>,
    ) -> io::Result<(u16, String)> {
        let mut stream = self.connect(authority, client);
        let token = token.map_or(String::new(), |token| {
            format!("authorization: Bearer {token}\r\n")
        });
        let body = event("e").to_string();
        let request = format!(
            "POST /events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{token}\
             content-type: application/cloudevents+json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no answer"))?;
        Ok((status, answer))
    }

    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("audit")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

const RULES: &str = "client_ca = \"people.pem\"\n\
    [[identity.users]]\nissuer = \"certificate\"\nsubject = \"CN=ann,O=Site\"\nuser = \"daemon\"\n\
    [[identity.users]]\nissuer = \"certificate\"\nsubject = \"dns:edge.site.org\"\nuser = \"bin\"\n";

#[test]
fn a_connection_needs_a_certificate_of_the_right_authority_and_is_whom_it_names() {
    let site = site(RULES);
    let path = site.folder.path();
    authority(path, "others");
    for (by, name, subject, names, days) in [
        ("people", "ann", "/O=Site/CN=ann", "", "2"),
        ("people", "edge", "/CN=whoever", "DNS:edge.site.org", "2"),
        ("people", "stranger", "/O=Site/CN=stranger", "", "2"),
        // Ann's name in another part, and by another authority.
        ("people", "forger", "/CN=ann,O=Site", "", "2"),
        ("others", "evil", "/O=Site/CN=ann", "", "2"),
        ("people", "old", "/O=Site/CN=ann", "", "-1"),
    ] {
        certificate(path, by, name, subject, names, days);
    }
    for refused in [None, Some("evil"), Some("old")] {
        for token in [None, Some(OPERATOR)] {
            let answer = site.post("site", refused, token);
            assert!(answer.is_err(), "{refused:?}: {answer:?}");
        }
    }
    for (client, token, expected) in [
        ("ann", None, 202),
        ("edge", None, 202),
        ("stranger", None, 403),
        ("forger", None, 403),
        // What is given as a token counts, be it good or bad.
        ("stranger", Some(OPERATOR), 202),
        ("ann", Some("a-wrong-token-of-16"), 401),
    ] {
        let (status, text) = site.post("site", Some(client), token).unwrap();
        assert_eq!(status, expected, "{client}: {text}");
    }
    let (_, text) = site.post("site", Some("stranger"), None).unwrap();
    assert!(text.contains("certificate#CN=stranger,O=Site"), "{text}");
    let users: Vec<_> = site
        .gateway
        .jobs()
        .iter()
        .map(|job| job["user"].clone())
        .collect();
    for user in ["daemon", "bin"] {
        assert!(users.contains(&user.into()), "{users:?}");
    }
    let first = &site.audit()[0];
    assert_eq!(
        (&first["caller"], &first["how"], &first["user"]),
        (
            &"certificate#CN=ann,O=Site".into(),
            &"certificate".into(),
            &"daemon".into()
        )
    );
}

#[test]
fn without_client_authorities_tokens_prove_who_calls() {
    let site = site("");
    assert_eq!(site.post("site", None, Some(OPERATOR)).unwrap().0, 202);
    assert_eq!(site.post("site", None, None).unwrap().0, 401);
    // Who does not speak TLS gets no answer, and who says nothing is not waited for.
    let mut plain = TcpStream::connect(site.gateway.address).unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    let started = Instant::now();
    let mut silent = TcpStream::connect(site.gateway.address).unwrap();
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0);
    let waited = started.elapsed();
    assert!(
        waited > Duration::from_millis(800) && waited < Duration::from_secs(10),
        "{waited:?}"
    );
}

#[test]
fn certificates_are_read_anew_and_bad_ones_change_nothing() {
    let site = site("");
    let path = site.folder.path();
    authority(path, "next");
    let trusts = |authority: &str| site.post(authority, None, Some(OPERATOR)).is_ok();
    let wait = |what: &str| {
        let started = Instant::now();
        while !site.gateway.log().contains(what) {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{}",
                site.gateway.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    assert!(trusts("site") && !trusts("next"));
    fs::write(path.join("server.pem"), "nothing").unwrap();
    site.gateway.signal(Signal::SIGHUP);
    wait("the certificates from before are kept");
    assert!(trusts("site"));
    certificate(path, "next", "server", "/CN=gateway", "IP:127.0.0.1", "2");
    site.gateway.signal(Signal::SIGHUP);
    wait("the certificates were read anew");
    assert!(trusts("next") && !trusts("site"));
}

#[test]
fn files_that_are_not_good_are_refused_at_the_start() {
    let mut site = site("");
    site.gateway.kill();
    let path = site.folder.path();
    let refused = |problem: &str| {
        for arguments in [&["--check-config"][..], &["serve"]] {
            let output = site.gateway.command(arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success() && told.contains(problem),
                "{problem}: {told}"
            );
        }
    };
    let key = path.join("server.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    refused("make it 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let own = fs::read(&key).unwrap();
    fs::copy(path.join("site.key"), &key).unwrap();
    refused("cannot use these certificates");
    fs::write(&key, "none").unwrap();
    refused("a key in PEM form");
    fs::write(&key, own).unwrap();
    fs::write(path.join("server.pem"), "").unwrap();
    refused("holds no certificate");
}
