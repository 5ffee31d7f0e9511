//! Probes and hooks of a container, from Kubernetes' form to the supervisor's.

use serde_json::Value;

use super::PodError;
use super::pod::{Port, Probe};
use crate::supervise::plan::{self, Check};

/// Wraps a command so that it runs in the container.
pub(super) type Runner<'a> = &'a dyn Fn(&[String]) -> Result<Vec<String>, PodError>;

pub(super) fn probe_of(
    at: &str,
    given: &Probe,
    ports: &[Port],
    run: Runner<'_>,
) -> Result<plan::Probe, PodError> {
    let ms = |seconds: Option<u32>, usual: u32, least: u32| {
        u64::from(seconds.unwrap_or(usual).max(least)) * 1000
    };
    Ok(plan::Probe {
        check: check_of(at, given, ports, run)?,
        delay_ms: ms(given.initial_delay_seconds, 0, 0),
        period_ms: ms(given.period_seconds, 10, 1),
        timeout_ms: ms(given.timeout_seconds, 1, 1),
        failures: given.failure_threshold.unwrap_or(3).max(1),
        successes: given.success_threshold.unwrap_or(1).max(1),
    })
}

pub(super) fn check_of(
    at: &str,
    given: &Probe,
    ports: &[Port],
    run: Runner<'_>,
) -> Result<Check, PodError> {
    let host = |host: &str| -> Result<String, PodError> {
        match host {
            "" => Ok("127.0.0.1".to_owned()),
            _ if host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(&byte)) =>
            {
                Ok(host.to_owned())
            }
            _ => Err(PodError::new(at, "names no host")),
        }
    };
    match (&given.exec, &given.http_get, &given.tcp_socket) {
        (Some(exec), None, None) if !exec.command.is_empty() => {
            if exec.command.iter().any(|word| word.contains('\0')) {
                return Err(PodError::new(at, "has a zero byte in its command"));
            }
            Ok(Check::Run(run(&exec.command)?))
        }
        (None, Some(get), None) => {
            if !matches!(get.scheme.as_str(), "" | "HTTP") {
                return Err(PodError::new(
                    at,
                    "asks by HTTPS, which is not supported: ask by HTTP",
                ));
            }
            let path = if get.path.is_empty() { "/" } else { &get.path };
            let odd = |text: &str| text.chars().any(|c| c.is_control() || c == ' ');
            let header_odd = |text: &str| text.chars().any(char::is_control);
            if odd(path)
                || get
                    .http_headers
                    .iter()
                    .any(|one| odd(&one.name) || header_odd(&one.value))
            {
                return Err(PodError::new(
                    at,
                    "has a path or header with a space or control character",
                ));
            }
            Ok(Check::Get {
                host: host(&get.host)?,
                port: port_of(at, &get.port, ports)?,
                path: path.to_owned(),
                headers: get
                    .http_headers
                    .iter()
                    .map(|one| (one.name.clone(), one.value.clone()))
                    .collect(),
            })
        }
        (None, None, Some(tcp)) => Ok(Check::Connect {
            host: host(&tcp.host)?,
            port: port_of(at, &tcp.port, ports)?,
        }),
        _ => Err(PodError::new(
            at,
            "is none of exec, httpGet and tcpSocket, or several of them",
        )),
    }
}

fn port_of(at: &str, port: &Value, ports: &[Port]) -> Result<u16, PodError> {
    let number = match port {
        Value::Number(number) => number
            .as_u64()
            .and_then(|number| u16::try_from(number).ok()),
        Value::String(name) => ports
            .iter()
            .find(|port| port.name == *name)
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
        _ => None,
    };
    number
        .filter(|port| *port > 0)
        .ok_or_else(|| PodError::new(at, "names no port"))
}
