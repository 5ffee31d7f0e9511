//! Sends a job's runs to an MLflow server.
//!
//! What is sent is made by the report crate. A run that could not be sent whole is marked
//! FAILED there, so that nobody takes a part for the whole.

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, bail};
use mizar_record::model::JobRecord;
use mizar_report::Report;
use mizar_report::export::mlflow::{Upload, uploads};
use serde_json::{Value, json};
use ureq::Agent;

use crate::stdout;

/// A server that is silent for longer is not coming back.
const LIMIT: Duration = Duration::from_secs(60);
/// Of an answer, more is not read: a run's description is some kilobytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;
/// Of an error, more is not shown.
const MAX_SHOWN_CHARS: usize = 300;

struct Server {
    agent: Agent,
    base: String,
    /// The header that says who asks.
    authorization: Option<String>,
}

/// Makes the runs, one after the other.
pub(super) fn send(
    server: &str,
    experiment: &str,
    record: &JobRecord,
    report: &Report,
) -> anyhow::Result<()> {
    if !server.starts_with("http://") && !server.starts_with("https://") {
        bail!("`{server}` is no address of a server: expected http:// or https://");
    }
    let server = Server {
        agent: agent(),
        base: server.trim_end_matches('/').to_owned(),
        authorization: authorization(),
    };
    let uploads = uploads(record, report);
    if uploads.is_empty() {
        bail!("the record has no step that ran a program");
    }
    let experiment = server.experiment(experiment)?;
    for upload in &uploads {
        let run = server.upload(&experiment, upload)?;
        stdout::print(&format!(
            "{}: {}/#/experiments/{experiment}/runs/{run}\n",
            upload.name, server.base
        ))?;
    }
    Ok(())
}

fn agent() -> Agent {
    mizar_http::agent()
        .timeout_global(Some(LIMIT))
        .build()
        .new_agent()
}

/// As MLflow's own client does.
fn authorization() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN") {
        return Some(format!("Bearer {token}"));
    }
    let (user, password) = (
        variable("MLFLOW_TRACKING_USERNAME")?,
        variable("MLFLOW_TRACKING_PASSWORD")?,
    );
    let pair = mizar_report::html::base64(format!("{user}:{password}").as_bytes());
    Some(format!("Basic {pair}"))
}

impl Server {
    /// The number of an experiment, which is made if there is none.
    fn experiment(&self, name: &str) -> anyhow::Result<String> {
        let (status, answer) = self.post("experiments/create", &json!({ "name": name }))?;
        let id = |answer: &Value, pointer: &str| {
            answer
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        if status == 200
            && let Some(id) = id(&answer, "/experiment_id")
        {
            return Ok(id);
        }
        if answer["error_code"] != "RESOURCE_ALREADY_EXISTS" {
            bail!(
                "the server made no experiment `{name}`: {}",
                shown(status, &answer)
            );
        }
        let request = self
            .request(self.agent.get(self.address("experiments/get-by-name")))
            .query("experiment_name", name);
        let (status, answer) = answered(request.call().with_context(|| self.unreached())?)?;
        id(&answer, "/experiment/experiment_id").with_context(|| {
            format!(
                "the server has no experiment `{name}`: {}",
                shown(status, &answer)
            )
        })
    }

    fn upload(&self, experiment: &str, upload: &Upload) -> anyhow::Result<String> {
        let mut create = upload.create.clone();
        create["experiment_id"] = json!(experiment);
        let answer = self.done("runs/create", &create)?;
        let run = answer
            .pointer("/run/info/run_id")
            .and_then(Value::as_str)
            .context("the server told no number of the run")?
            .to_owned();
        let of_run = |body: &Value| {
            let mut body = body.clone();
            body["run_id"] = json!(run);
            body
        };
        for batch in &upload.batches {
            if let Err(error) = self.done("runs/log-batch", &of_run(batch)) {
                let failed = of_run(&json!({ "status": "FAILED" }));
                let _ = self.post("runs/update", &failed);
                return Err(error);
            }
        }
        self.done("runs/update", &of_run(&upload.update))?;
        Ok(run)
    }

    fn address(&self, method: &str) -> String {
        format!("{}/api/2.0/mlflow/{method}", self.base)
    }

    fn unreached(&self) -> String {
        format!("no answer from {}", self.base)
    }

    fn request<Kind>(&self, request: ureq::RequestBuilder<Kind>) -> ureq::RequestBuilder<Kind> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    fn post(&self, method: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        let request = self.request(self.agent.post(self.address(method)));
        answered(request.send_json(body).with_context(|| self.unreached())?)
    }

    fn done(&self, method: &str, body: &Value) -> anyhow::Result<Value> {
        let (status, answer) = self.post(method, body)?;
        if status != 200 {
            bail!("the server refused {method}: {}", shown(status, &answer));
        }
        Ok(answer)
    }
}

/// Status and JSON of an answer; text that is no JSON is a string.
fn answered(response: ureq::http::Response<ureq::Body>) -> anyhow::Result<(u16, Value)> {
    let status = response.status().as_u16();
    let mut text = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut text)
        .context("the answer broke off")?;
    let value = serde_json::from_slice(&text)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&text).into_owned()));
    Ok((status, value))
}

fn shown(status: u16, answer: &Value) -> String {
    let message = answer
        .get("message")
        .and_then(Value::as_str)
        .or(answer.as_str());
    let message: String = message
        .unwrap_or("")
        .chars()
        .take(MAX_SHOWN_CHARS)
        .collect();
    format!("{status} {}", mizar_report::text::printable(&message))
}
