//! KServe's protocol over gRPC, beside its paths over HTTP on the same socket: HTTP/2 without TLS.
//!
//! Source: the Open Inference Protocol (kserve/open-inference-protocol), `GRPCInferenceService`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path as Part, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::held::{AskError, Held};
use super::proto::{
    Contents, Empty, Flag, InferRequest, InferResponse, InferTensor, ModelMetadata, ModelName,
    ServerMetadata, TensorMetadata,
};
use super::routes::{EXTENSIONS, Front, in_order, lengths, receive_within};
use super::store::StoreError;
use crate::tensor::cells;
use crate::{ElementType, ModelError, Port, Tensor, Values};
use mizar_core::chain;

/// Where calls are posted to.
pub(super) const PATH: &str = "/inference.GRPCInferenceService/{method}";

/// What gRPC calls a body.
pub(super) const MEDIA_TYPE: &str = "application/grpc";

/// A call by the name of its method.
pub(super) async fn call(
    State(front): State<Arc<Front>>,
    Part(method): Part<String>,
    request: Request,
) -> Response {
    match method.as_str() {
        "ServerLive" => unary(front, request, live).await,
        "ServerReady" => unary(front, request, ready).await,
        "ModelReady" => unary(front, request, model_ready).await,
        "ServerMetadata" => unary(front, request, about).await,
        "ModelMetadata" => unary(front, request, metadata).await,
        "ModelInfer" => unary(front, request, infer).await,
        _ => refuse(Status::unimplemented(format!(
            "there is no method `{method}` here"
        ))),
    }
}

/// A status without an answer.
pub(super) fn refuse(status: Status) -> Response {
    status.into_http::<Body>()
}

/// A method of one message for one.
struct Method<F> {
    front: Arc<Front>,
    answer: F,
}

impl<F, A, Q, R> UnaryService<Q> for Method<F>
where
    F: Fn(Arc<Front>, Q) -> A,
    A: Future<Output = Result<R, Status>> + Send + 'static,
{
    type Response = R;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<R>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.answer)(Arc::clone(&self.front), request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}

/// Reads the message, within the limits of bodies, and writes the answer.
async fn unary<Q, R, A>(
    front: Arc<Front>,
    request: Request,
    answer: impl Fn(Arc<Front>, Q) -> A,
) -> Response
where
    Q: prost::Message + Default + Send + Sync + 'static,
    R: prost::Message + Default + Send + Sync + 'static,
    A: Future<Output = Result<R, Status>> + Send + 'static,
{
    let codec = ProstCodec::<R, Q>::default();
    let mut grpc = Grpc::new(codec)
        .max_decoding_message_size(front.settings().body_bytes)
        .max_encoding_message_size(usize::MAX);
    let (parts, body) = request.into_parts();
    let body = match receive_within(front.settings(), body).await {
        Ok(body) => body,
        Err((status, message)) => {
            let code = match status {
                StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
                _ => Code::DeadlineExceeded,
            };
            return refuse(Status::new(code, message));
        }
    };
    let request = Request::from_parts(parts, Body::from(body));
    let service = Method { front, answer };
    grpc.unary(service, request).await.map(Body::new)
}

async fn live(_: Arc<Front>, _: Empty) -> Result<Flag, Status> {
    Ok(Flag { is_so: true })
}

async fn ready(front: Arc<Front>, _: Empty) -> Result<Flag, Status> {
    let is_so = front.is_ready();
    Ok(Flag { is_so })
}

async fn model_ready(front: Arc<Front>, asked: ModelName) -> Result<Flag, Status> {
    held(&front, &asked.name, &asked.version).await?;
    Ok(Flag { is_so: true })
}

async fn about(_: Arc<Front>, _: Empty) -> Result<ServerMetadata, Status> {
    Ok(ServerMetadata {
        name: "mizar".to_owned(),
        version: mizar_core::VERSION.to_owned(),
        extensions: EXTENSIONS.map(str::to_owned).to_vec(),
    })
}

async fn metadata(front: Arc<Front>, asked: ModelName) -> Result<ModelMetadata, Status> {
    let held = held(&front, &asked.name, &asked.version).await?;
    let ports = |ports: &[Port]| ports.iter().map(describe).collect();
    let properties = held.metadata.iter();
    Ok(ModelMetadata {
        name: asked.name,
        versions: vec![held.digest.clone()],
        platform: held.platform.clone(),
        inputs: ports(&held.inputs),
        outputs: ports(&held.outputs),
        properties: properties
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    })
}

fn describe(port: &Port) -> TensorMetadata {
    TensorMetadata {
        name: port.name.clone(),
        datatype: port.element_type.name().to_owned(),
        shape: lengths(port),
    }
}

async fn infer(front: Arc<Front>, mut request: InferRequest) -> Result<InferResponse, Status> {
    let held = held(&front, &request.model_name, &request.model_version).await?;
    let raw = std::mem::take(&mut request.raw_input_contents);
    let named = tensors(std::mem::take(&mut request.inputs), raw).map_err(bad)?;
    let inputs = in_order(&held.inputs, named).map_err(bad)?;
    let outputs = held.ask(inputs).await.map_err(|error| of_ask(&error))?;
    let known = held.outputs.iter().map(|port| &port.name).zip(&outputs);
    let mut chosen: Vec<(&String, &Tensor)> = known.collect();
    if !request.outputs.is_empty() {
        let find = |name: &String| {
            let found = chosen.iter().find(|(known, _)| *known == name).copied();
            found.ok_or_else(|| bad(format!("the model has no output `{name}`")))
        };
        let wanted = request.outputs.iter().map(|wanted| find(&wanted.name));
        chosen = wanted.collect::<Result<_, _>>()?;
    }
    let mut response = InferResponse {
        model_name: request.model_name,
        model_version: held.digest.clone(),
        id: request.id,
        ..InferResponse::default()
    };
    for (name, tensor) in chosen {
        let mut numbers = Vec::new();
        tensor.values().to_bytes(&mut numbers);
        response.raw_output_contents.push(numbers);
        response.outputs.push(InferTensor {
            name: name.clone(),
            datatype: tensor.values().element_type().name().to_owned(),
            shape: tensor.shape().iter().map(|&len| len as i64).collect(),
            contents: None,
        });
    }
    Ok(response)
}

/// The tensors of a request, their numbers in `raw` or in each.
fn tensors(inputs: Vec<InferTensor>, raw: Vec<Vec<u8>>) -> Result<Vec<(String, Tensor)>, String> {
    if !raw.is_empty() && raw.len() != inputs.len() {
        let (found, expected) = (raw.len(), inputs.len());
        return Err(format!(
            "raw_input_contents has {found} entries for {expected} inputs: give one for each"
        ));
    }
    let mut raw = raw.into_iter();
    let tensor = |input: InferTensor| {
        let (name, found) = (input.name, input.datatype);
        let element_type = ElementType::of_name(&found).ok_or_else(|| {
            format!("tensor `{name}` is of type {found}; served are FP32, FP64, INT32 and INT64")
        })?;
        let lengths = input.shape.iter().map(|&len| usize::try_from(len).ok());
        let shape: Option<Vec<usize>> = lengths.collect();
        let shape = shape
            .filter(|shape| cells(shape).is_some())
            .ok_or_else(|| format!("the shape {:?} of tensor `{name}` is none", input.shape))?;
        let contents = input.contents;
        let values = match (raw.next(), contents) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "tensor `{name}` has contents, and raw_input_contents too: give one"
                ));
            }
            (Some(bytes), None) => {
                if bytes.len() % element_type.size_bytes() != 0 {
                    let length = bytes.len();
                    return Err(format!(
                        "the {length} bytes of tensor `{name}` are no {found}"
                    ));
                }
                Values::from_bytes(element_type, &bytes)
            }
            (None, contents) => of_contents(element_type, contents.unwrap_or_default()),
        };
        let tensor = Tensor::new(shape, values);
        let tensor = tensor.map_err(|error| format!("tensor `{name}`: {error}"))?;
        Ok((name, tensor))
    };
    inputs.into_iter().map(tensor).collect()
}

fn of_contents(element_type: ElementType, contents: Contents) -> Values {
    match element_type {
        ElementType::F32 => Values::F32(contents.fp32),
        ElementType::F64 => Values::F64(contents.fp64),
        ElementType::I32 => Values::I32(contents.int32),
        ElementType::I64 => Values::I64(contents.int64),
    }
}

/// The model, if its version is the one that is asked for, or any.
async fn held(front: &Front, name: &str, version: &str) -> Result<Arc<Held>, Status> {
    let held = front.held(name).await.map_err(|error| of_store(&error))?;
    match held.digest.starts_with(version) {
        true => Ok(held),
        false => Err(Status::not_found(format!(
            "model `{name}` has version {}, not {version}",
            held.digest
        ))),
    }
}

fn bad(message: String) -> Status {
    Status::invalid_argument(message)
}

fn of_store(error: &StoreError) -> Status {
    let code = match error {
        StoreError::Unknown(_) => Code::NotFound,
        StoreError::Memory { .. } => Code::ResourceExhausted,
        StoreError::Changed(_) => Code::FailedPrecondition,
        StoreError::Open(_) => Code::InvalidArgument,
        StoreError::Broken(_) => Code::Internal,
        StoreError::Loading { .. } | StoreError::Full(_) | StoreError::Thread(_) => {
            Code::Unavailable
        }
    };
    Status::new(code, chain(error))
}

fn of_ask(error: &AskError) -> Status {
    let code = match error {
        AskError::Full(_) | AskError::Ended => Code::Unavailable,
        AskError::Model(ModelError::Run { .. } | ModelError::Output { .. }) => Code::Internal,
        AskError::Model(_) => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(shape: &[i64], datatype: &str, contents: Option<Contents>) -> InferTensor {
        InferTensor {
            name: "x".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents,
        }
    }

    #[test]
    fn numbers_come_raw_or_in_their_list() {
        let contents = Contents {
            fp32: vec![1.0, 2.5],
            ..Contents::default()
        };
        let listed = tensors(vec![input(&[2], "FP32", Some(contents))], Vec::new()).unwrap();
        let bytes = [1.0_f32, 2.5]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let raw = tensors(vec![input(&[2], "FP32", None)], vec![bytes]).unwrap();
        assert_eq!(listed, raw);
        let values = Values::F32(vec![1.0, 2.5]);
        assert_eq!(
            raw,
            [("x".to_owned(), Tensor::new(vec![2], values).unwrap())]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        let both = input(&[1], "FP32", Some(Contents::default()));
        for (inputs, raw, reason) in [
            (vec![input(&[3], "FP32", None)], vec![vec![0; 8]], "3"),
            (vec![input(&[1], "BYTES", None)], vec![vec![0; 8]], "BYTES"),
            (
                vec![input(&[1], "INT64", None)],
                vec![vec![0; 7]],
                "7 bytes",
            ),
            (
                vec![input(&[-1], "FP32", None)],
                vec![vec![0; 4]],
                "shape [-1]",
            ),
            (
                vec![input(&[1 << 62, 1 << 62], "FP32", None)],
                vec![vec![]],
                "shape",
            ),
            (
                vec![input(&[1], "FP32", None)],
                vec![vec![], vec![]],
                "2 entries for 1",
            ),
            (vec![both], vec![vec![0; 4]], "give one"),
            (vec![input(&[2], "FP32", None)], Vec::new(), "2"),
        ] {
            let error = tensors(inputs, raw).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
