//! A receiver of webhooks that does what it is told, call by call, and keeps what it was sent.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What was answered: the head of the answer, empty for none.
    pub(crate) answer: String,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value)
    }
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    posts: VecDeque<String>,
    options: VecDeque<String>,
    delay: Duration,
    open: usize,
    most_open: usize,
}

pub(crate) const GOOD: &str = "HTTP/1.1 204 No Content\r\n";
pub(crate) const ALLOWED: &str =
    "HTTP/1.1 200 OK\r\nWebHook-Allowed-Origin: *\r\nContent-Length: 0\r\n";

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream.unwrap(), &shared));
            }
        });
        Self { address, state }
    }

    /// Heads of the next answers to POST; an empty one ends the connection. After them all is well.
    pub(crate) fn answer(&self, heads: &[&str]) {
        self.state
            .lock()
            .unwrap()
            .posts
            .extend(heads.iter().map(|&head| head.to_owned()));
    }

    /// The same for OPTIONS.
    pub(crate) fn answer_options(&self, heads: &[&str]) {
        self.state
            .lock()
            .unwrap()
            .options
            .extend(heads.iter().map(|&head| head.to_owned()));
    }

    /// How long each POST takes from now on.
    pub(crate) fn slow(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Most POSTs that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.state.lock().unwrap().most_open
    }

    pub(crate) fn calls(&self, method: &str) -> Vec<Call> {
        let state = self.state.lock().unwrap();
        let calls = state.calls.iter().filter(|call| call.method == method);
        calls.cloned().collect()
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let method = lines[0].split(' ').next().unwrap().to_owned();
        let is_post = method == "POST";
        let (answer, delay) = {
            let mut state = state.lock().unwrap();
            state.open += usize::from(is_post);
            state.most_open = state.most_open.max(state.open);
            let answer = match method.as_str() {
                "OPTIONS" => state.options.pop_front().unwrap_or(ALLOWED.to_owned()),
                _ => state.posts.pop_front().unwrap_or(GOOD.to_owned()),
            };
            state.calls.push(Call {
                method,
                headers,
                body: String::from_utf8(body).unwrap(),
                answer: answer.clone(),
            });
            (answer, if is_post { state.delay } else { Duration::ZERO })
        };
        std::thread::sleep(delay);
        state.lock().unwrap().open -= usize::from(is_post);
        if answer.is_empty() {
            return None;
        }
        (&*stream)
            .write_all(format!("{answer}\r\n").as_bytes())
            .ok()?;
    }
}
