//! The edge gateway: cloud events become Slurm jobs, exactly once.
//!
//! One event's way: a source ([`cloudevents`], [`s3`], [`sources`]) turns what it is given or
//! fetches into [`event::Event`]s;
//! [`service`] says who wants them; [`ledger`] stores them, and only then is the sender
//! answered; [`submit`] claims them and hands them to Slurm, by the
//! way that [`way`] chose; [`poller`] looks at all of them at once,
//! and [`reconcile`] decides what the look means. Every state that a job comes into is a change in
//! the ledger, which [`http`] streams and [`webhook`] sends. The binary in `main.rs` only calls [`cli`].
//!
//! Invariants:
//! - an event is acknowledged only after it is on disk;
//! - one job per event and service, whatever is killed in between ([`reconcile`] lists the
//!   races and what closes each);
//! - no value of an event reaches a shell or an option ([`parameter`]);
//! - front doors and sources hold no logic of their own: they translate into the one model.
//!
//! Left out on purpose: data transfer, and job logic; the script of a service is never changed, and
//! run by nobody but Slurm, or as a task of a job array by the few lines of [`array`].

pub mod array;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod cloudevents;
pub mod condition;
pub mod config;
pub mod container_runtime;
pub mod dcnios;
pub mod event;
pub mod fragment;
pub mod http;
pub mod identity;
pub mod interlink;
pub mod jobfiles;
pub mod ledger;
pub mod metrics;
pub mod oscar;
pub mod parameter;
pub mod poller;
pub mod rate;
pub mod reconcile;
mod rucio;
pub mod s3;
pub mod serve;
pub mod service;
pub mod shared;
pub mod sources;
pub mod sql;
pub mod submit;
pub mod supervise;
pub mod tasks;
pub mod tls;
pub mod userfolder;
pub mod way;
pub mod webhook;
mod wildcard;
