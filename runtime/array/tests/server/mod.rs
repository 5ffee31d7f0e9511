//! A web server of one test: objects in memory, parts of them, a log, and faults on demand.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What the server does instead of answering well, once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It answers with this status.
    Status(u16),
    /// It closes the connection after so many bytes of the body.
    Cut(usize),
    /// It closes the connection before the answer.
    Hang,
    /// It sends other bytes than those asked for, and says so.
    Elsewhere,
    /// It tells a size that is larger than all.
    Lie,
}

/// One answered request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The path and the query.
    pub(crate) target: String,
    pub(crate) range: Option<Range<usize>>,
    pub(crate) sent_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Each with its tag.
    objects: HashMap<String, (Vec<u8>, String)>,
    log: Vec<Asked>,
    /// Of the next requests; `None` for one that is answered well.
    faults: VecDeque<Option<Fault>>,
    /// Taken when `faults` is empty.
    always: Option<Fault>,
    ignores_ranges: bool,
}

/// A server, which ends with the test.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream.unwrap(), &state));
            }
        });
        Self { address, state }
    }

    /// A server of all files in a folder.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let server = Self::start();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                    server.put(name, std::fs::read(&path).unwrap());
                }
            }
        }
        server
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let tag = tag(&bytes);
        let mut state = self.state.lock().unwrap();
        state.objects.insert(format!("/{name}"), (bytes, tag));
    }

    pub(crate) fn url(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("http://{}/{name}", self.address))
    }

    /// What happens to the next requests.
    pub(crate) fn fail(&self, faults: &[Fault]) {
        let faults = faults.iter().copied().map(Some);
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// What happens to the request after so many, and perhaps to all later ones.
    pub(crate) fn fail_after(&self, count: usize, fault: Fault, forever: bool) {
        let mut state = self.state.lock().unwrap();
        state.faults = std::iter::repeat_n(None, count).collect();
        state.faults.push_back(Some(fault));
        state.always = Some(fault).filter(|_| forever);
    }

    /// Whether all faults happened; what is left of them is forgotten.
    pub(crate) fn has_failed(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.always = None;
        std::mem::take(&mut state.faults).is_empty()
    }

    /// What happens to all requests from now on.
    pub(crate) fn always(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().always = fault;
    }

    pub(crate) fn ignore_ranges(&self) {
        self.state.lock().unwrap().ignores_ranges = true;
    }

    /// The requests since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    /// The bytes of bodies that were sent since the last call.
    pub(crate) fn sent_bytes(&self) -> usize {
        self.asked().iter().map(|asked| asked.sent_bytes).sum()
    }
}

/// A request's target, also without its query, and the range and the tag that it names.
struct Request {
    target: String,
    path: String,
    range: Option<String>,
    if_match: Option<String>,
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let target = line.split(' ').nth(1)?;
    let mut request = Request {
        target: target.to_owned(),
        path: target.split('?').next()?.to_owned(),
        range: None,
        if_match: None,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            return Some(request);
        }
        let (name, value) = line.split_once(':')?;
        let value = value.trim().to_owned();
        match name.to_lowercase().as_str() {
            "range" => request.range = Some(value),
            "if-match" => request.if_match = Some(value),
            _ => {}
        }
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let request = read_request(&mut reader)?;
        let mut state = state.lock().unwrap();
        let always = state.always;
        let fault = state.faults.pop_front().unwrap_or(always);
        let object = state.objects.get(&request.path);
        let ranges = !state.ignores_ranges;
        let answer = answer(&request, object, fault, ranges);
        state.log.push(Asked {
            target: request.target,
            range: answer.range,
            sent_bytes: answer.body.len(),
        });
        drop(state);
        if matches!(fault, Some(Fault::Hang)) {
            return None;
        }
        let mut stream = stream;
        stream.write_all(answer.head.as_bytes()).ok()?;
        stream.write_all(&answer.body).ok()?;
        if matches!(fault, Some(Fault::Cut(_))) {
            return None;
        }
    }
}

struct Answer {
    head: String,
    body: Vec<u8>,
    range: Option<Range<usize>>,
}

fn answer(
    request: &Request,
    object: Option<&(Vec<u8>, String)>,
    fault: Option<Fault>,
    ranges: bool,
) -> Answer {
    let plain = |status: &str| Answer {
        head: format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
        body: Vec::new(),
        range: None,
    };
    if let Some(Fault::Status(status)) = fault {
        return plain(&format!("{status} As Told"));
    }
    let Some((object, tag)) = object else {
        return plain("404 Not Found");
    };
    if request
        .if_match
        .as_ref()
        .is_some_and(|wanted| wanted != tag)
    {
        return plain("412 Precondition Failed");
    }
    let wanted = request.range.as_ref().filter(|_| ranges);
    let range = wanted.map(|text| range_of(text, object.len()));
    if range.as_ref().is_some_and(Range::is_empty) {
        return plain(&format!(
            "416 Range Not Satisfiable\r\nContent-Range: bytes */{}",
            object.len()
        ));
    }
    let (status, mut told) = match &range {
        Some(range) => ("206 Partial Content", range.clone()),
        None => ("200 OK", 0..object.len()),
    };
    let mut size = object.len();
    match fault {
        Some(Fault::Elsewhere) => told = told.start + 1..told.end + 1,
        Some(Fault::Lie) => size = usize::MAX / 4,
        _ => {}
    }
    let mut body = object[range.clone().unwrap_or(0..object.len())].to_vec();
    let mut head = format!("HTTP/1.1 {status}\r\nETag: {tag}\r\n");
    if range.is_some() {
        let last = told.end - 1;
        head += &format!("Content-Range: bytes {}-{last}/{size}\r\n", told.start);
    }
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    if let Some(Fault::Cut(length)) = fault {
        body.truncate(length);
    }
    Answer { head, body, range }
}

/// As `bytes=0-9` and `bytes=-9` mean it.
fn range_of(text: &str, size: usize) -> Range<usize> {
    let (first, last) = text
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    match first.parse::<usize>() {
        Ok(first) => first..(last.parse::<usize>().unwrap() + 1).min(size).max(first),
        Err(_) => size.saturating_sub(last.parse().unwrap())..size,
    }
}

fn tag(object: &[u8]) -> String {
    let sum = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    format!("\"{:x}\"", object.iter().fold(7, sum))
}
