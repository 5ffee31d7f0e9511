//! Real ranks under `mpirun`, and the bits that threads give.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use mizar_comm::collective::Engine;
use mizar_train::{Options, Strategy};
use support::{Case, LIMIT};

const CHILD_VARIABLE: &str = "MIZAR_TEST_TRAIN_RANK";

const STRATEGIES: [Strategy; 3] = [Strategy::Ddp, Strategy::Zero3, Strategy::Fused];

fn case(strategy: Strategy) -> Case {
    Case::new(Options {
        epochs: 2,
        batch_size: 8,
        bucket_mb: 80e-6,
        sync_check: 1,
        strategy,
        ..Options::default()
    })
}

/// A rank of [`over_mpi`], else nothing.
#[test]
fn rank() {
    let Ok(strategy) = std::env::var(CHILD_VARIABLE) else {
        return;
    };
    let strategy = STRATEGIES
        .into_iter()
        .find(|known| known.name() == strategy);
    let engine = Engine::start(mizar_comm::world, LIMIT).unwrap();
    let (outcome, _) = case(strategy.unwrap()).rank(engine, None);
    println!("digest {}", outcome.unwrap().digest);
}

#[test]
fn over_mpi() {
    let program = std::env::current_exe().unwrap();
    for strategy in STRATEGIES {
        let output = mizar_lab::mpirun(2, &program, |command| {
            command
                .args(["--exact", "rank", "--nocapture"])
                .env(CHILD_VARIABLE, strategy.name());
        });
        let Some(output) = output else { return };
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}\n{errors}");
        let digest = case(strategy).run(2).0.digest;
        let told = told.matches(&format!("digest {digest}")).count();
        assert_eq!(told, 2, "{strategy:?}: {told}\n{errors}");
    }
}
