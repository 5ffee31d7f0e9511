//! A client that keeps its connection, and the events that it sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::ensure;
use serde_json::{Value, json};

/// One keep-alive connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Posts a batch and returns the body of the answer, which must be 202.
    pub(crate) fn post(&mut self, body: &str) -> anyhow::Result<Vec<u8>> {
        self.send("/events", "application/cloudevents-batch+json", body)
    }

    /// Posts a body and returns that of the answer, which must be a success.
    pub(crate) fn send(&mut self, path: &str, kind: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        self.give("POST", path, kind, body)
    }

    /// Puts a JSON document.
    pub(crate) fn put(&mut self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        self.give("PUT", path, "application/json", &body.to_string())
    }

    fn give(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.exchange(&request)
    }

    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"))
    }

    fn exchange(&mut self, request: &str) -> anyhow::Result<Vec<u8>> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length, mut accepted) = (String::new(), 0, false);
        loop {
            line.clear();
            ensure!(
                self.stream.read_line(&mut line)? > 0,
                "the connection ended"
            );
            let lower = line.trim().to_ascii_lowercase();
            if lower.is_empty() {
                break;
            }
            accepted |= lower.starts_with("http/1.1 20");
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        ensure!(accepted, "refused: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }
}

/// One body of `size` events, whose ids no other request of the run has.
pub(crate) fn batch(client: usize, request: usize, size: usize) -> String {
    let events: Vec<Value> = (0..size)
        .map(|n| {
            json!({"specversion": "1.0", "id": format!("{client}-{request}-{n}"), "source": "/bench",
                "type": "bench", "subject": "incoming/tas_day_2026.nc", "data": {"bytes": 123_456_789, "n": n}})
        })
        .collect();
    Value::Array(events).to_string()
}
