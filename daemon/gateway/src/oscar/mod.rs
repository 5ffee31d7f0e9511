//! The OSCAR API: services that clients of OSCAR define and call become Slurm jobs.
//!
//! A service is kept in the ledger ([`store`]); a call is one event of it, so that a repeated
//! notification or delegation makes no second job. [`definition`] is what a service is,
//! [`intake`] what a call becomes, [`job`] the plan of its job, [`logs`] and [`system`] the
//! questions. Synchronous calls are answered by [`warm`] workers where the site has them. The supervisor ([`crate::supervise`]) keeps OSCAR's contract with the script.
//!
//! What a Slurm cluster cannot do (exposed services, volumes, federations, KServe) and what this
//! gateway does not keep (buckets, quotas, metrics) is answered with 501 and the reason.

mod access;
pub mod definition;
mod http;
mod intake;
pub(crate) use intake::random_hex;
pub mod job;
mod logs;
mod settings;
pub mod store;
mod system;
mod users;
pub mod warm;

pub use http::{is_route, routes};
pub use settings::{Oscar, StoreSettings};
pub use users::Users;
