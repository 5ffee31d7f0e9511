//! A model of a warm server as a [`Model`] here: the command runs over cubes either way.
//!
//! One connection to the server's unix socket, one request at a time. Numbers travel as bytes. The
//! thread that asks reads and writes them itself: another would have to be woken twice a request.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::wire::{self, HEADER_LENGTH, Message, Parameters};
use crate::{ElementType, Loaded, Model, ModelError, Port, Tensor, check_inputs, digest};

/// How often a request is sent again that a full server refused, each time after twice the pause.
const TRIES: u32 = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error("no server at {}: start one with `mizar infer --serve`", path.display())]
    NoServer {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the server at {} broke off: {message}", path.display())]
    Broken {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        message: String,
    },
    /// It says no.
    #[error("the server refuses ({status}): {message}")]
    Refused {
        /// HTTP's code.
        status: u16,
        /// What it says.
        message: String,
    },
    /// The model cannot be read here, to be sure that the server has the same.
    #[error("cannot read the model {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It answers something else.
    #[error("the server answers what makes no sense here: {0}")]
    Odd(String),
}

/// Has the server at `socket` load a model file, and makes it a model here.
///
/// # Errors
/// [`ClientError`] if nobody listens, or the server refuses.
pub fn load(socket: &Path, file: &Path) -> Result<Loaded, ClientError> {
    let read = |source| ClientError::Read {
        path: file.to_owned(),
        source,
    };
    let bytes = std::fs::read(file).map_err(read)?;
    let path = std::path::absolute(file).map_err(read)?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut connection = Connection::open(socket)?;
    let body = serde_json::json!({ "parameters": { "path": path } }).to_string();
    let name = in_path(&stem);
    let load = format!("/v2/repository/models/{name}/load");
    let answer = connection.post(&load, body.into_bytes(), None)?;
    let described: Described = serde_json::from_slice(&answer.body)
        .map_err(|error| ClientError::Odd(error.to_string()))?;
    let digest = digest(&bytes);
    if described.versions.first() != Some(&digest) {
        let message = format!("{} differs from the file here", path.display());
        return Err(ClientError::Odd(message));
    }
    let backend = format!("{} (warm)", described.parameters.backend);
    let model = Remote {
        connection,
        path: format!("/v2/models/{name}/infer"),
        inputs: ports(described.inputs)?,
        outputs: ports(described.outputs)?,
        backend,
        platform: described.platform,
        metadata: described.parameters.metadata,
        notes: described.parameters.notes,
    };
    Ok(Loaded {
        model: Box::new(model),
        digest,
        file_name: file_name.into_owned(),
        size_bytes: bytes.len() as u64,
        passed_over: Vec::new(),
    })
}

/// A name as a part of a path.
fn in_path(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// What the server tells of a model.
#[derive(Deserialize)]
struct Described {
    platform: String,
    versions: Vec<String>,
    inputs: Vec<DescribedPort>,
    outputs: Vec<DescribedPort>,
    parameters: DescribedParameters,
}

#[derive(Deserialize)]
struct DescribedPort {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

#[derive(Deserialize)]
struct DescribedParameters {
    backend: String,
    #[serde(default)]
    notes: Vec<String>,
    metadata: BTreeMap<String, String>,
}

fn ports(described: Vec<DescribedPort>) -> Result<Vec<Port>, ClientError> {
    let port = |port: DescribedPort| {
        let element_type = ElementType::of_name(&port.datatype);
        let odd = || ClientError::Odd(format!("a type {}", port.datatype));
        let length = |len: i64| usize::try_from(len).ok();
        Ok(Port {
            name: port.name.clone(),
            element_type: element_type.ok_or_else(odd)?,
            shape: Some(port.shape.into_iter().map(length).collect()),
        })
    };
    described.into_iter().map(port).collect()
}

struct Remote {
    connection: Connection,
    path: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    backend: String,
    platform: String,
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Model for Remote {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    fn platform(&self) -> &str {
        &self.platform
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        check_inputs(&self.inputs, inputs)?;
        let named = self
            .inputs
            .iter()
            .map(|port| port.name.as_str())
            .zip(inputs);
        let (entries, numbers) = wire::encode(named, |_| true);
        let message = Message {
            inputs: entries,
            parameters: Parameters {
                binary_data_output: Some(true),
                ..Parameters::default()
            },
            ..Message::default()
        };
        let (body, length) = wire::join(&message, &numbers);
        let backend = self.backend.clone();
        let failed = |message: String| ModelError::Run {
            backend: backend.clone(),
            message,
        };
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        let answer = loop {
            tries += 1;
            match self.connection.post(&self.path, body.clone(), length) {
                Err(ClientError::Refused { status: 503, .. }) if tries < TRIES => {
                    std::thread::sleep(pause);
                    pause *= 2;
                }
                other => break other.map_err(|error| failed(error.to_string()))?,
            }
        };
        let decode = || {
            let (message, numbers) = wire::split(&answer.body, answer.header_length.as_deref())?;
            wire::decode(message.outputs, numbers)
        };
        let outputs = decode().map_err(|error| failed(error.to_string()))?;
        Ok(outputs.into_iter().map(|(_, tensor)| tensor).collect())
    }
}

struct Answer {
    body: Bytes,
    header_length: Option<String>,
}

/// One connection that is kept.
struct Connection {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    path: PathBuf,
}

impl Connection {
    fn open(path: &Path) -> Result<Self, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let no_server = |source| ClientError::NoServer {
            path: path.to_owned(),
            source,
        };
        let runtime = runtime.map_err(no_server)?;
        let sender = runtime.block_on(async {
            let stream = UnixStream::connect(path).await.map_err(no_server)?;
            let (sender, connection) = handshake(TokioIo::new(stream))
                .await
                .map_err(|error| broken(path, &error))?;
            // It ends with the server or with this client.
            tokio::spawn(connection);
            Ok(sender)
        })?;
        Ok(Self {
            runtime,
            sender,
            path: path.to_owned(),
        })
    }

    fn post(
        &mut self,
        target: &str,
        body: Vec<u8>,
        header_length: Option<usize>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::post(target).header("host", "localhost");
        if let Some(length) = header_length {
            request = request.header(HEADER_LENGTH, length);
        }
        let odd = |error: hyper::http::Error| ClientError::Odd(error.to_string());
        let request = request.body(Full::new(Bytes::from(body))).map_err(odd)?;
        let (sender, path) = (&mut self.sender, &self.path);
        let (status, header_length, body) = self.runtime.block_on(async {
            let failed = |error: hyper::Error| broken(path, &error);
            sender.ready().await.map_err(failed)?;
            let response = sender.send_request(request).await.map_err(failed)?;
            let (head, body) = response.into_parts();
            let length = head.headers.get(HEADER_LENGTH);
            let length = length.and_then(|value| value.to_str().ok());
            let length = length.map(str::to_owned);
            let body = body.collect().await.map_err(failed)?.to_bytes();
            Ok((head.status, length, body))
        })?;
        if status == StatusCode::OK {
            return Ok(Answer {
                body,
                header_length,
            });
        }
        let told: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let told = told.and_then(|value| value["error"].as_str().map(str::to_owned));
        Err(ClientError::Refused {
            status: status.as_u16(),
            message: told.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
        })
    }
}

fn broken(path: &Path, error: &hyper::Error) -> ClientError {
    ClientError::Broken {
        path: path.to_owned(),
        message: error.to_string(),
    }
}
