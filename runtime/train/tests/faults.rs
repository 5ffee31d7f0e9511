//! Whatever goes wrong on one rank: every rank gets one clear error, and none waits for ever.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use mizar_train::{
    Compression, LocalSgd, Optimizer, OptionError, Options, Resume, Schedule, Sgd, Strategy,
    TrainError,
};
use support::{Case, Fault, Memory, Mlp, on_ranks, text};

fn case(strategy: Strategy) -> Case {
    Case::new(Options {
        epochs: 2,
        batch_size: 9,
        accumulate: 2,
        local_sgd: LocalSgd { every: 2 },
        bucket_mb: 80e-6,
        first_bucket_mb: 20e-6,
        strategy,
        ..Options::default()
    })
}

/// Rank 1 of 3 has the fault; what each says.
fn texts(case: &Case, fault: Option<Fault>) -> Vec<String> {
    let told = case.try_run(3, fault.map(|fault| (1, fault)));
    told.into_iter()
        .map(|(outcome, _)| text(&outcome.unwrap_err()))
        .collect()
}

#[test]
fn a_fault_of_one_rank_is_told_by_all() {
    // Two pieces a step: the fifth pass is in the third step.
    let faults = [
        (
            Fault::Gradient(5, 2),
            "step 3: the gradient of 1.weight of phase train on rank 1 is not finite: lower the \
             learning rate, clip gradients (clip_norm) or look at the data of that step",
        ),
        (
            Fault::Loss(5),
            "step 3: the loss of phase train on rank 1 is not finite: lower the learning rate, \
             clip gradients (clip_norm) or look at the data of that step",
        ),
        (
            Fault::Refuses(5),
            "rank 1, step 3: the model refuses its batch: the model takes inputs of shape \
             (samples, 7), found [2, 3]",
        ),
        (
            Fault::Forgets(5, 0),
            "the model or its data break their contract: it gives no gradient for tensor 0",
        ),
        (
            Fault::Repeats(5, 3),
            "the model or its data break their contract: it gives the gradient of tensor 3 twice",
        ),
    ];
    for strategy in Strategy::ALL {
        for (fault, message) in faults {
            let texts = texts(&case(strategy), Some(fault));
            let peer = format!("rank 1 cannot go on: {message}");
            assert_eq!(texts, [&peer, message, &peer], "{strategy:?}, {fault:?}");
        }
    }
}

#[test]
fn a_fault_in_the_last_step_before_ranks_meet_is_not_lost() {
    let mut case = case(Strategy::LocalSgd);
    case.options.epochs = 1;
    case.options.local_sgd.every = 100;
    // Five steps of two pieces: they meet after the last.
    for pass in [1, 4, 10] {
        let texts = texts(&case, Some(Fault::Gradient(pass, 0)));
        let step = pass.div_ceil(2);
        assert!(
            texts[1].starts_with(&format!("step {step}: the gradient of 0.weight")),
            "{texts:?}"
        );
        assert!(texts[0].starts_with("rank 1 cannot go on: "), "{texts:?}");
    }
}

#[test]
fn a_sample_that_cannot_be_read_is_named() {
    for strategy in Strategy::ALL {
        let mut case = case(strategy);
        let mut train = Memory::waves(44);
        train.broken = Some(17);
        case.train = Arc::new(train);
        let texts = texts(&case, None);
        for text in &texts {
            assert!(
                text.contains("no data: sample 17 of memory cannot be read: the disk is gone"),
                "{text}"
            );
        }
        let own = texts.iter().filter(|text| !text.contains("cannot go on"));
        assert_eq!(own.count(), 1, "{texts:?}");
    }
    let mut case = case(Strategy::Ddp);
    let mut validation = Memory::waves(10);
    validation.broken = Some(9);
    case.validation = Some(Arc::new(validation));
    let texts = texts(&case, None);
    assert!(
        texts[0].starts_with("rank 2 cannot go on: rank 2, step 5: no data"),
        "{texts:?}"
    );
}

#[test]
fn what_compression_cannot_hold_is_named() {
    let mut case = case(Strategy::Fused);
    case.options.fused.compression = Compression::Fp16;
    let mut train = Memory::waves(44);
    train.targets.iter_mut().for_each(|target| target[0] *= 1e6);
    case.train = Arc::new(train);
    for text in texts(&case, None) {
        assert!(
            text.starts_with("step 1: the sum of the gradients of "),
            "{text}"
        );
        assert!(
            text.contains("on all ranks together is not finite"),
            "{text}"
        );
    }
}

#[test]
fn a_rank_that_dies_is_named_within_the_time_limit() {
    let case = case(Strategy::Ddp);
    let limit = Duration::from_secs(8);
    let told = on_ranks(3, limit, |engine| {
        case.rank(engine, Some((1, Fault::Panics(3))))
    });
    assert!(told[1].is_err(), "it panicked");
    for rank in [0, 2] {
        let (outcome, _) = told[rank].as_ref().unwrap();
        let error = outcome.as_ref().unwrap_err();
        assert!(
            matches!(error, TrainError::Communication { step: 2, .. }),
            "{error}"
        );
        let text = text(error);
        assert!(
            (text.contains("rank 1 on ") && text.contains("did not come to"))
                // The other was first to give up.
                || text.contains("ended early"),
            "{text}"
        );
    }
}

#[test]
fn ranks_that_were_told_different_things_do_not_begin() {
    let base = case(Strategy::Ddp);
    let check = |differ: &(dyn Fn(&mut Case) + Sync), what: &str| {
        let told = on_ranks(3, support::LIMIT, |engine| {
            let mut case = base.clone();
            if engine.rank() == 2 {
                differ(&mut case);
            }
            case.rank(engine, None)
        });
        for told in told {
            let error = told.unwrap().0.unwrap_err().to_string();
            assert_eq!(
                error,
                format!("rank 2 has {what} that differ from those of rank 0")
            );
        }
    };
    check(&|case| case.options.seed = 1, "options");
    check(&|case| case.model = Mlp::new(&[3, 2]), "tensors");
    check(&|case| case.train = Arc::new(Memory::waves(43)), "data");
    check(
        &|case| case.validation = Some(Arc::new(Memory::waves(3))),
        "data",
    );
}

#[test]
fn nothing_to_learn_from_is_said() {
    let mut case = case(Strategy::Ddp);
    case.train = Arc::new(Memory::waves(0));
    for text in texts(&case, None) {
        assert_eq!(text, "training has no samples: memory of 0");
    }
    case.train = Arc::new(Memory::waves(5));
    case.options.drop_last = true;
    for text in texts(&case, None) {
        assert!(
            text.starts_with("5 samples do not fill one batch of 9"),
            "{text}"
        );
    }
}

#[test]
fn every_option_is_checked() {
    type Change = (fn(&mut Options), &'static str);
    let changes: [Change; 11] = [
        (|o| o.epochs = 0, "epochs = 0: expected at least 1"),
        (|o| o.batch_size = 0, "batch_size = 0: expected at least 1"),
        (
            |o| o.learning_rate = f64::NAN,
            "learning_rate = NaN: expected a number above 0",
        ),
        (
            |o| o.clip_norm = Some(-1.0),
            "clip_norm = -1.0: expected a number above 0",
        ),
        (
            |o| o.ema = Some(1.0),
            "ema = 1.0: expected a decay from 0 to below 1",
        ),
        (
            |o| o.bucket_mb = 0.0,
            "bucket_mb = 0.0: expected a number above 0",
        ),
        (
            |o| o.checkpoint.keep = 0,
            "checkpoint.keep = 0: expected at least 1",
        ),
        (
            |o| o.schedule = Schedule::Cosine { minimum: 1.0 },
            "schedule.minimum = 1.0: expected 0 to the learning rate",
        ),
        (
            |o| {
                o.optimizer = Optimizer::Sgd(Sgd {
                    nesterov: true,
                    ..Sgd::default()
                });
            },
            "optimizer.momentum = 0: expected above 0 with nesterov",
        ),
        (
            |o| {
                o.optimizer = Optimizer::Sgd(Sgd {
                    momentum: 1.0,
                    ..Sgd::default()
                });
            },
            "optimizer.momentum = 1: expected 0 to below 1",
        ),
        (
            |o| {
                o.strategy = Strategy::LocalSgd;
                o.precision = mizar_train::Precision::F16;
            },
            "precision = F16: expected f32 or bf16 with strategy local-sgd: ranks that step alone \
             cannot agree on a loss scale",
        ),
    ];
    Options::default().check().unwrap();
    for (change, message) in changes {
        let mut options = Options::default();
        change(&mut options);
        let error: OptionError = options.check().unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn options_are_read_from_a_file_and_unknown_keys_refused() {
    let text = r#"
        epochs = 3
        batch_size = 64
        strategy = "local-sgd"
        precision = "bf16"
        resume = "auto"
        optimizer = { name = "adamw", weight_decay = 0.01 }
        schedule = { name = "step", epochs = 2, factor = 0.1 }
        fused = { compression = "fp16" }
        local_sgd = { every = 4 }
        early_stopping = { patience = 3 }
        checkpoint = { dir = "checkpoints", every = 100 }
    "#;
    let options: Options = toml::from_str(text).unwrap();
    options.check().unwrap();
    assert_eq!(options.resume, Resume::Auto);
    assert_eq!(options.optimizer.name(), "adamw");
    assert_eq!(options.checkpoint.keep, 3);
    let again: Options = toml::from_str(&toml::to_string(&options).unwrap()).unwrap();
    assert_eq!(again, options);
    for unknown in [
        "learning_rat = 1.0",
        "optimizer = { name = \"sgd\", beta1 = 0.5 }",
        "optimizer = { name = \"lion\" }",
        "schedule = { name = \"constant\", factor = 2 }",
        "schedule = { name = \"cosine\", factor = 2 }",
        "checkpoint = { folder = \"x\" }",
        "strategy = \"zero4\"",
    ] {
        assert!(toml::from_str::<Options>(unknown).is_err(), "{unknown}");
    }
}
