//! The connections of the process: one agent, with deadlines, trusted authorities and a bound on
//! what is under way at once.

use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ureq::Agent;

use super::RemoteError;
use super::client::{ATTEMPTS, Attempt};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Before the answer begins, and between two pieces of it.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);

/// Requests of one read that are under way at once.
const AT_ONCE: usize = 8;

/// Requests of this process that are under way at once.
const UNDER_WAY_MAX: usize = 32;

/// The agent of the process. Proxies are those of HTTPS_PROXY and its like.
pub(super) fn agent() -> &'static Agent {
    static AGENT: OnceLock<Agent> = OnceLock::new();
    AGENT.get_or_init(|| {
        mizar_http::agent()
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_per_read(Some(SILENCE_LIMIT))
            .timeout_per_write(Some(SILENCE_LIMIT))
            .max_idle_connections(UNDER_WAY_MAX)
            .max_idle_connections_per_host(UNDER_WAY_MAX)
            .build()
            .new_agent()
    })
}

/// Runs `work`, which takes jobs until none is left, on as many threads as there are jobs, up to
/// the bound.
pub(super) fn on_threads(jobs: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        // The calling thread is one of them, and does it alone if there can be no other.
        for _ in 1..jobs.min(AT_ONCE) {
            let _ = std::thread::Builder::new().spawn_scoped(scope, &work);
        }
        work();
    });
}

/// The right to have one request under way.
pub(super) struct Slot;

static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Slot {
    pub(super) fn take() -> Self {
        let count = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |count: &mut usize| *count >= UNDER_WAY_MAX;
        let mut count = FREED
            .wait_while(count, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

/// Why there was no answer; none of ureq's messages has the URL in it.
pub(super) fn failed(error: ureq::Error) -> Attempt {
    use ureq::Error;
    let untrusted = |reason: String| RemoteError::Untrusted { reason }.into();
    match error {
        Error::Rustls(error) => untrusted(error.to_string()),
        Error::Tls(reason) => untrusted(reason.to_owned()),
        Error::Io(error) => {
            let inner = error.get_ref();
            match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => untrusted(error.to_string()),
                None => unreachable_because(error.to_string()),
            }
        }
        Error::BadUri(_) | Error::Http(_) => RemoteError::Address {
            expected: "a URL with a host and a path",
        }
        .into(),
        Error::TooManyRedirects | Error::RedirectFailed => RemoteError::Answer {
            expected: "the object".to_owned(),
            found: "redirections without end".to_owned(),
        }
        .into(),
        Error::HostNotFound => unreachable_because("the host has no address".to_owned()),
        other => unreachable_because(other.to_string()),
    }
}

fn unreachable_because(reason: String) -> Attempt {
    Attempt::Later(
        None,
        RemoteError::Unreachable {
            attempts: ATTEMPTS,
            reason,
        },
    )
}
