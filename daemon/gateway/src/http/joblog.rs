//! GET /v1/jobs/ID/log: the end of what a job printed, as plain text.
//!
//! A service's script prints into Slurm's output file, a script of OSCAR and a container of a pod
//! into a log of the supervisor. All lie in the job's folder, where the job may have put anything:
//! only plain files that really lie there are read, and what they hold is never taken for markup.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use mizar_slurm::Marker;
use mizar_slurm::cli::{output_name, started_jobs};
use serde::Deserialize;

use super::jobs::{answer, ask};
use super::{Front, refuse};
use crate::identity::Caller;
use crate::interlink::logs::{LogOptions, walk};
use crate::ledger::{self, Door, JobRow, Selection};
use crate::supervise::event::SCRIPT;
use crate::supervise::progress::open_below;

/// Bytes in an answer, unless others are asked for, and at most.
const USUAL_BYTES: u64 = 64 << 10;
const MOST_BYTES: u64 = 1 << 20;

/// Lines of a supervisor's log that are looked at for its end.
const TAIL_LINES: u64 = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    bytes: Option<u64>,
    container: Option<String>,
    /// The token; checked before, unused here.
    #[serde(rename = "access_token")]
    _access_token: Option<String>,
}

/// GET /v1/jobs/ID/log.
pub(super) async fn show(
    State(front): State<Arc<Front>>,
    Extension(caller): Extension<Caller>,
    Path(job): Path<i64>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Response {
    let Ok(Query(query)) = query else {
        return refuse(StatusCode::BAD_REQUEST, "known are bytes and container");
    };
    // A container's name becomes part of a path.
    let is_plain = |name: &str| {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !name.is_empty() && name.chars().all(is_letter)
    };
    if query
        .container
        .as_deref()
        .is_some_and(|name| !is_plain(name))
    {
        return refuse(StatusCode::BAD_REQUEST, "that is no name of a container");
    }
    let found = ask(&front, move |connection| {
        let selection = Selection {
            job: Some(job),
            owner: caller.sees_only(),
            limit: 1,
            ..Selection::default()
        };
        Ok(ledger::jobs(connection, &selection)?.pop())
    });
    let row = match found.await {
        Ok(Some(row)) => row,
        Ok(None) => return refuse(StatusCode::NOT_FOUND, format!("there is no job {job}")),
        Err(error) => return answer(Err(error)),
    };
    let Ok(marker) = row.marker.parse::<Marker>() else {
        return refuse(StatusCode::NOT_FOUND, "this job has no folder");
    };
    let folder = front.shared.folder(&marker);
    let bytes = query.bytes.unwrap_or(USUAL_BYTES).clamp(1, MOST_BYTES);
    let read = tokio::task::spawn_blocking(move || {
        end_of(&folder, &row, query.container.as_deref(), bytes)
    });
    match read.await {
        Ok(Ok((text, size))) => {
            let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
            let sniff = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
            let fresh = (header::CACHE_CONTROL, "no-store");
            let size = [("mizar-log-bytes", size.to_string())];
            ([kind, sniff, fresh], size, text).into_response()
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            refuse(StatusCode::NOT_FOUND, "this job has printed nothing yet")
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, job, "cannot read a log");
            refuse(StatusCode::CONFLICT, "the log of this job cannot be read")
        }
        Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "reading the log failed"),
    }
}

/// The last bytes of a job's output, from the beginning of a line where they are not all, and how
/// many there are.
fn end_of(
    folder: &FilePath,
    row: &JobRow,
    container: Option<&str>,
    bytes: u64,
) -> io::Result<(Vec<u8>, u64)> {
    let container = match (row.door, container) {
        (Door::Oscar, None) => Some(SCRIPT),
        (Door::Event | Door::Worker, _) => None,
        (_, container) => container,
    };
    if let Some(container) = container {
        return supervised(folder, container, bytes);
    }
    let newest = started_jobs(folder)?.pop().ok_or(io::ErrorKind::NotFound)?;
    let mut file = open_below(folder, &folder.join(output_name(newest)))?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
    let mut text = Vec::new();
    file.take(bytes).read_to_end(&mut text)?;
    Ok((whole_lines(text, size > bytes), size))
}

fn supervised(folder: &FilePath, container: &str, bytes: u64) -> io::Result<(Vec<u8>, u64)> {
    let options = LogOptions {
        tail: TAIL_LINES,
        ..LogOptions::default()
    };
    let selection = options.select(0).map_err(io::Error::other)?;
    let path = crate::supervise::progress::log_path(folder, container);
    let size = open_below(folder, &path)?.metadata()?.len();
    let most = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (mut text, mut is_cut) = (Vec::new(), false);
    let mut give = |piece: Vec<u8>| {
        text.extend(piece);
        if text.len() > 2 * most {
            text.drain(..text.len() - most);
            is_cut = true;
        }
        true
    };
    walk(folder, container, &selection, &mut give, &mut || true)?;
    if text.len() > most {
        text.drain(..text.len() - most);
        is_cut = true;
    }
    Ok((whole_lines(text, is_cut), size))
}

/// Without what is left of a line whose beginning was cut off.
fn whole_lines(mut text: Vec<u8>, is_cut: bool) -> Vec<u8> {
    let first = text.iter().position(|&byte| byte == b'\n');
    if let (true, Some(end)) = (is_cut, first) {
        text.drain(..=end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_left_out_and_a_long_one_is_not_all() {
        let cut = |text: &str, is_cut| whole_lines(text.as_bytes().to_vec(), is_cut);
        assert_eq!(cut("lf\nwhole\n", true), b"whole\n");
        assert_eq!(cut("whole\n", false), b"whole\n");
        assert_eq!(cut("without end", true), b"without end");
    }
}
