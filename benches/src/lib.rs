//! What every benchmark shares: how a figure is written down, and how it is measured.
//!
//! Called by the `bench_*` programs in `src/bin`, one for each promise that has a number in
//! it. A result always carries the machine, the versions of the peers, the commit and the
//! method, because a figure without them cannot be compared with tomorrow's. Left out: the
//! measurements themselves, and any statistics beyond medians and percentiles.
//!
//! ```no_run
//! use mizar_benches::{Figure, Report};
//! let mut report = Report::new("plugin", "median of 30 alternating pairs of `srun -n2 true`");
//! report.peer("slurm", "srun", &["--version"]);
//! report.add(Figure::new("srun time with over without", 1.01, "times").at_most(1.05));
//! std::process::exit(report.finish(false));
//! ```

pub mod daemon;
pub mod machine;
pub mod measure;
pub mod report;

pub use measure::{Cost, Usage, median, percentile, run, watch};
pub use report::{Figure, Report, Target};
