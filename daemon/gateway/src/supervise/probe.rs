//! Probes: asked in their period, counted, and told to whoever runs the container.
//!
//! There is no shell between us and what a probe runs, and a probe that hangs costs its own time
//! limit and nothing else.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::watch;

use super::plan::{Check, Container, Probe};

/// Longest time of a postStart hook.
pub const HOOK_LIMIT: Duration = Duration::from_secs(600);

/// Longest status line that is read of an answer.
const STATUS_LINE_BYTES: usize = 64;

/// What the probes of a container say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// It may be called ready.
    pub ready: bool,
    /// It must end, for this reason.
    pub failed: Option<String>,
}

/// Asks all probes of a container until it must end, or for ever.
pub async fn watch(container: Container, told: watch::Sender<Health>) {
    if let Some(startup) = &container.startup
        && !settle(startup, &container).await
    {
        told.send_modify(|health| health.failed = Some("its startup probe failed".to_owned()));
        return;
    }
    told.send_modify(|health| health.ready = container.readiness.is_none());
    let liveness = async {
        if let Some(probe) = &container.liveness {
            last(probe, &container).await;
            told.send_modify(|health| health.failed = Some("its liveness probe failed".to_owned()));
        } else {
            std::future::pending::<()>().await;
        }
    };
    let readiness = async {
        let Some(probe) = &container.readiness else {
            return std::future::pending::<()>().await;
        };
        repeat(probe, &container, |ready| {
            told.send_modify(|health| health.ready = ready);
            false
        })
        .await;
    };
    tokio::select! {
        () = liveness => {}
        () = readiness => {}
    }
}

/// Asks until it succeeds or fails; whether it succeeded.
async fn settle(probe: &Probe, container: &Container) -> bool {
    let mut settled = false;
    repeat(probe, container, |healthy| {
        settled = healthy;
        true
    })
    .await;
    settled
}

/// Asks until it fails.
async fn last(probe: &Probe, container: &Container) {
    repeat(probe, container, |healthy| !healthy).await;
}

/// Asks in the probe's period; tells every verdict that its thresholds give until told to end.
async fn repeat(probe: &Probe, container: &Container, mut verdict: impl FnMut(bool) -> bool) {
    tokio::time::sleep(Duration::from_millis(probe.delay_ms)).await;
    let (mut good, mut bad) = (0, 0);
    loop {
        let limit = Duration::from_millis(probe.timeout_ms);
        if ask(&probe.check, &container.env, limit).await {
            (good, bad) = (good + 1, 0);
        } else {
            (good, bad) = (0, bad + 1);
        }
        if (good >= probe.successes && verdict(true)) || (bad >= probe.failures && verdict(false)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(probe.period_ms)).await;
    }
}

/// Makes one check, within `limit`.
pub async fn ask(check: &Check, env: &[(String, String)], limit: Duration) -> bool {
    let asked = async {
        match check {
            Check::Run(argv) => execute(argv, env).await,
            Check::Connect { host, port } => {
                TcpStream::connect((host.as_str(), *port)).await.is_ok()
            }
            Check::Get {
                host,
                port,
                path,
                headers,
            } => get(host, *port, path, headers).await.unwrap_or(false),
        }
    };
    tokio::time::timeout(limit, asked).await.unwrap_or(false)
}

async fn execute(argv: &[String], env: &[(String, String)]) -> bool {
    let Some((program, arguments)) = argv.split_first() else {
        return false;
    };
    let status = Command::new(program)
        .args(arguments)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    status.is_ok_and(|status| status.success())
}

/// HTTP/1.0, because only the status line of the answer matters.
async fn get(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let mut request = format!("GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < STATUS_LINE_BYTES {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(_) => break,
        }
    }
    let line = String::from_utf8_lossy(&line);
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|word| word.trim().parse::<u16>().ok());
    Ok(status.is_some_and(|status| (200..400).contains(&status)))
}
