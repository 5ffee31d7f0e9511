//! The table `limits`.

use serde::{Deserialize, Serialize};

/// What bounds intake.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest body.
    pub body_bytes: usize,
    /// Most events in one request.
    pub batch_events: usize,
    /// Deepest nesting of JSON.
    pub nesting: usize,
    /// Most events that wait for submission; beyond it senders are told to come again.
    pub queue_events: u64,
    /// Most connections at once.
    pub connections: usize,
    /// Time for the headers of a request.
    pub header_ms: u64,
    /// Time for a whole request.
    pub request_ms: u64,
    /// Days that finished jobs, and the memory of their events' keys, are kept.
    pub keep_days: u32,
    /// Most events without a service that are kept for a look.
    pub unmatched_events: u32,
    /// Most changes of jobs that are kept for listeners, webhooks and the page.
    pub changes: u32,
    /// Most listeners of the stream of changes.
    pub listeners: usize,
    /// Longest silence towards a listener.
    pub heartbeat_ms: u64,
    /// How long a listener may take nothing until it is hung up on.
    pub stall_ms: u64,
    /// Calls a second of one user: of an issuer, by certificate, of OSCAR; ten seconds' worth may
    /// come at once, and 0 is no bound, here and below.
    pub caller_per_s: u32,
    /// Calls a second by one token of the site or of a service.
    pub token_per_s: u32,
    /// Refused calls a second from one address.
    pub refused_per_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            batch_events: 1000,
            nesting: 64,
            queue_events: 100_000,
            connections: 512,
            header_ms: 10_000,
            request_ms: 30_000,
            keep_days: 90,
            unmatched_events: 10_000,
            changes: 1_000_000,
            listeners: 64,
            heartbeat_ms: 15_000,
            stall_ms: 30_000,
            caller_per_s: 100,
            token_per_s: 0,
            refused_per_s: 50,
        }
    }
}
