//! What the reading commands print: tables for people, JSON for programs.

use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use mizar_slurm::Way;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use super::{Command, dead_letters};
use crate::ledger::{self, JobRow, Reader, Selection, SourceRow, State, WebhookRow, WorkerCount};

/// Longest event name in a table.
const SUBJECT_CHARS: usize = 48;

pub(super) fn run(reader: &Reader, command: &Command) -> Result<ExitCode> {
    match command {
        Command::Jobs {
            service,
            state,
            limit,
            json,
        } => {
            let selection = Selection {
                service: service.clone(),
                state: *state,
                limit: *limit,
                ..Selection::default()
            };
            list(reader, &selection, *json)
        }
        Command::DeadLetters { limit, json, .. } => dead(reader, *limit, *json),
        Command::Job { id, json } => job(reader, *id, *json),
        Command::Status { .. }
        | Command::Serve
        | Command::Retry { .. }
        | Command::Apply(_)
        | Command::Supervise { .. }
        | Command::Worker { .. }
        | Command::Set { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::Drain { .. }
        | Command::Replay { .. }
        | Command::Generate { .. } => {
            unreachable!("these do not read, or not only the ledger")
        }
    }
}

/// How all stands; `way` is what a serving gateway noted.
pub(super) fn status(reader: &Reader, way: Option<Way>, as_json: bool) -> Result<ExitCode> {
    let counts = reader.read(ledger::counts)?;
    let unmatched = reader.read(ledger::unmatched)?;
    let sources = reader.read(ledger::sources)?;
    let draining = reader.read(ledger::is_draining)?;
    let webhooks = reader.read(ledger::webhooks)?;
    let workers = reader.read(ledger::worker_counts)?;
    let of = |state| {
        counts
            .iter()
            .find(|(other, _)| *other == state)
            .map_or(0, |(_, n)| *n)
    };
    if as_json {
        let states: serde_json::Map<String, Value> = State::ALL
            .iter()
            .map(|&state| (state.word().to_owned(), json!(of(state))))
            .collect();
        let all = json!({"jobs": states, "unmatched": unmatched, "sources": sources,
            "draining": draining, "webhooks": webhooks, "workers": workers, "submission": way});
        println!("{all}");
    } else {
        let mut table = table(&["STATE", "JOBS"]);
        for &state in State::ALL {
            table.add_row([state.word().to_owned(), of(state).to_string()]);
        }
        table.add_row(["(no service)".to_owned(), unmatched.to_string()]);
        println!("{table}");
        if let Some(way) = way {
            println!("\njobs go through {}: {}", way.via, printable_all(&way.why));
        }
        if !sources.is_empty() {
            println!("\n{}", source_table(&sources));
        }
        if !webhooks.is_empty() {
            println!("\n{}", webhook_table(&webhooks));
        }
        if !workers.is_empty() {
            println!("\n{}", worker_table(&workers));
        }
        if draining {
            println!("\nno events are taken: drained, until `mizar-gateway resume`");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The warm workers of each service, by what Slurm last said of their jobs.
fn worker_table(workers: &[WorkerCount]) -> Table {
    let mut table = table(&["WORKERS OF", "WAITING", "RUNNING"]);
    for count in workers {
        table.add_row([
            count.service.clone(),
            count.waiting.to_string(),
            count.running.to_string(),
        ]);
    }
    table
}

/// How each source did when a gateway last wrote of it.
fn source_table(sources: &[SourceRow]) -> Table {
    let mut table = table(&[
        "SOURCE",
        "KIND",
        "STATE",
        "SINCE",
        "NEW",
        "KNOWN",
        "NO SERVICE",
        "DEAD",
        "LAST MESSAGE",
        "LAST ERROR",
    ]);
    for source in sources {
        let moment_or_dash = |at: Option<i64>| at.map_or_else(|| "-".to_owned(), moment);
        table.add_row([
            source.name.clone(),
            source.kind.clone(),
            source.state.clone(),
            moment(source.changed_ms),
            source.accepted.to_string(),
            source.duplicates.to_string(),
            source.unmatched.to_string(),
            source.dead.to_string(),
            moment_or_dash(source.last_message_ms),
            printable(source.last_error.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

/// How each webhook did when a gateway last wrote of it.
fn webhook_table(webhooks: &[WebhookRow]) -> Table {
    let mut table = table(&[
        "WEBHOOK",
        "STATE",
        "SINCE",
        "TOLD",
        "WAITING",
        "REFUSED",
        "DROPPED",
        "LAST ERROR",
    ]);
    for webhook in webhooks {
        table.add_row([
            webhook.name.clone(),
            webhook.state.clone(),
            moment(webhook.changed_ms),
            webhook.delivered.to_string(),
            webhook.waiting.to_string(),
            webhook.refused.to_string(),
            webhook.dropped.to_string(),
            printable(webhook.last_error.as_deref().unwrap_or("-")),
        ]);
    }
    table
}

/// Dead letters: jobs that were never submitted, and messages that are no events.
fn dead(reader: &Reader, limit: u32, as_json: bool) -> Result<ExitCode> {
    let messages = reader.read(|connection| ledger::dead_messages(connection, limit))?;
    if as_json {
        let selection = dead_letters(limit);
        let jobs = reader.read(|connection| ledger::jobs(connection, &selection))?;
        println!("{}", json!({"jobs": jobs, "messages": messages}));
        return Ok(ExitCode::SUCCESS);
    }
    let code = list(reader, &dead_letters(limit), false)?;
    if !messages.is_empty() {
        let mut table = table(&[
            "MESSAGE", "RECEIVED", "SOURCE", "BYTES", "SUBJECT", "BEGINS", "REASON",
        ]);
        for message in &messages {
            table.add_row([
                message.id.to_string(),
                moment(message.received_ms),
                message.source.clone(),
                message.size_bytes.to_string(),
                printable(message.subject.as_deref().unwrap_or("-")),
                printable(&message.head),
                printable(&message.reason),
            ]);
        }
        println!("\n{table}");
    }
    Ok(code)
}

fn list(reader: &Reader, selection: &Selection, as_json: bool) -> Result<ExitCode> {
    let jobs = reader.read(|connection| ledger::jobs(connection, selection))?;
    if as_json {
        println!("{}", serde_json::to_string(&json!({ "jobs": jobs }))?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&[
        "ID", "RECEIVED", "SERVICE", "STATE", "SLURM", "EXIT", "EVENT", "REASON",
    ]);
    for job in &jobs {
        table.add_row(row(job));
    }
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn row(job: &JobRow) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        job.id.to_string(),
        moment(job.received_ms),
        job.service.clone(),
        job.state.word().to_owned(),
        or_dash(job.slurm_job.map(|id| id.to_string())),
        or_dash(job.exit_code.map(|code| code.to_string())),
        printable(job.subject.as_deref().unwrap_or(&job.event_id)),
        printable(job.reason.as_deref().unwrap_or("")),
    ]
}

fn job(reader: &Reader, id: i64, as_json: bool) -> Result<ExitCode> {
    let selection = Selection {
        job: Some(id),
        limit: 1,
        ..Selection::default()
    };
    let Some(job) = reader
        .read(|connection| ledger::jobs(connection, &selection))?
        .pop()
    else {
        eprintln!("mizar-gateway: there is no job {id}");
        return Ok(ExitCode::from(4));
    };
    let document = reader.read(|connection| ledger::document(connection, id))?;
    let event: Value = serde_json::from_str(document.as_deref().unwrap_or("null"))?;
    if as_json {
        println!("{}", json!({"job": job, "event": event}));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["FIELD", "VALUE"]);
    let fields = serde_json::to_value(&job)?;
    for (name, value) in fields.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            Value::Number(number) if name.ends_with("_ms") => {
                moment(number.as_i64().unwrap_or_default())
            }
            other => other.to_string(),
        };
        table.add_row([name.strip_suffix("_ms").unwrap_or(name), &text]);
    }
    println!("{table}\n{}", serde_json::to_string_pretty(&event)?);
    Ok(ExitCode::SUCCESS)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

/// A time in UTC, to the second.
fn moment(ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000))
        .ok()
        .and_then(|moment| moment.format(format).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Text from outside without control characters, for a terminal.
fn printable_all(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Text from outside, cut and without control characters, for a terminal.
fn printable(text: &str) -> String {
    let clean = printable_all(text);
    match clean.char_indices().nth(SUBJECT_CHARS) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}
