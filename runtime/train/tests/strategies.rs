//! Whatever the strategy and however many ranks: the same model comes out, within what is said
//! of each.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

mod support;

use mizar_train::{
    Adam, Compression, EarlyStopping, End, Fused, Learner, LocalSgd, Optimizer, Options, Outcome,
    Precision, Schedule, Sgd, Source, Strategy,
};
use serde_json::Value;
use support::{Case, Memory, Mlp, assert_close, assert_same_bits, losses};

/// Many small buckets, clipping, a schedule and weight decay: all that could differ.
fn options(strategy: Strategy) -> Options {
    Options {
        epochs: 3,
        batch_size: 8,
        learning_rate: 0.02,
        optimizer: Optimizer::AdamW(Adam {
            weight_decay: 0.01,
            ..Adam::default()
        }),
        schedule: Schedule::Cosine { minimum: 0.001 },
        warmup_steps: 2,
        clip_norm: Some(0.5),
        ema: Some(0.9),
        bucket_mb: 80e-6,
        first_bucket_mb: 20e-6,
        fused: Fused {
            fusion_mb: 100e-6,
            ..Fused::default()
        },
        sync_check: 1,
        seed: 5,
        strategy,
        ..Options::default()
    }
}

fn curve(outcome: &Outcome) -> Vec<f32> {
    let epochs = outcome.epochs.iter();
    epochs.map(|epoch| epoch.losses[0] as f32).collect()
}

fn golden() -> Value {
    serde_json::from_str(include_str!("golden/optimizers.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers
        .map(|number| number.as_f64().unwrap() as f32)
        .collect()
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

#[test]
fn a_linear_model_learns_as_in_numpy() {
    let run = &golden()["run"];
    let mut case = Case::new(Options {
        epochs: 8,
        batch_size: 12,
        learning_rate: 0.2,
        warmup_steps: 3,
        clip_norm: Some(1.5),
        optimizer: Optimizer::Sgd(Sgd {
            momentum: 0.9,
            ..Sgd::default()
        }),
        ..Options::default()
    });
    case.model = Mlp::new(&[3, 2]).starting_at(numbers(&run["start"]));
    case.train = Memory::new(rows(&run["inputs"]), rows(&run["targets"])).into();
    for ranks in 1..=4 {
        let (outcome, notes) = case.run(ranks);
        assert_close(
            &outcome.parameters,
            &numbers(&run["end"]),
            2e-5,
            "parameters",
        );
        assert_close(&curve(&outcome), &numbers(&run["losses"]), 1e-5, "losses");
        let norms: Vec<f32> = notes
            .steps
            .iter()
            .map(|s| s.gradient_norms[0] as f32)
            .collect();
        assert_close(&norms, &numbers(&run["norms"]), 1e-5, "norms");
    }
}

#[test]
fn any_number_of_ranks_sees_the_same_batches_and_repeats_are_identical() {
    let case = Case::new(options(Strategy::Ddp));
    let (alone, _) = case.run(1);
    assert_eq!(alone.end, End::Finished);
    assert_eq!(alone.step, 18);
    assert!(
        curve(&alone)[2] < 0.8 * curve(&alone)[0],
        "{:?}",
        curve(&alone)
    );
    for ranks in [2, 4] {
        let (first, notes) = case.run(ranks);
        let (again, again_notes) = case.run(ranks);
        assert_close(&curve(&first), &curve(&alone), 1e-5, "losses");
        assert_close(&first.parameters, &alone.parameters, 1e-4, "parameters");
        assert_same_bits(&first.parameters, &again.parameters, "a repeat");
        assert_eq!(losses(&first), losses(&again));
        let steps = notes.steps.iter().zip(&again_notes.steps);
        for (step, again) in steps {
            assert_eq!(step.losses[0].to_bits(), again.losses[0].to_bits());
        }
    }
}

#[test]
fn zero_has_the_bits_of_ddp() {
    for ranks in [1, 2, 3] {
        let (ddp, ddp_notes) = Case::new(options(Strategy::Ddp)).run(ranks);
        for strategy in [Strategy::Zero1, Strategy::Zero2, Strategy::Zero3] {
            let (zero, notes) = Case::new(options(strategy)).run(ranks);
            let what = format!("{strategy:?} on {ranks} ranks");
            assert_same_bits(&zero.parameters, &ddp.parameters, &what);
            let means = (zero.averaged.unwrap(), ddp.averaged.as_ref().unwrap());
            assert_same_bits(&means.0, means.1, &what);
            assert_eq!(zero.digest, ddp.digest);
            for (step, right) in notes.steps.iter().zip(&ddp_notes.steps) {
                assert_eq!(step.losses, right.losses, "{what}");
                assert_eq!(step.gradient_norms, right.gradient_norms, "{what}");
            }
        }
    }
}

#[test]
fn zero_keeps_less_the_higher_its_stage() {
    let bytes = |strategy| {
        let mut options = options(strategy);
        options.bucket_mb = 400e-6;
        options.ema = None;
        let mut case = Case::new(options);
        case.model = Mlp::new(&[3, 40, 2]);
        case.run(4).1.start.unwrap().state_bytes as f64
    };
    let all = bytes(Strategy::Ddp);
    // Parameters, gradients and two arrays of Adam; a part is a quarter, and padding.
    let expected = [
        (Strategy::Zero1, 2.5 / 4.0),
        (Strategy::Zero2, 1.75 / 4.0),
        (Strategy::Zero3, 1.0 / 4.0),
    ];
    for (strategy, share) in expected {
        let found = bytes(strategy) / all;
        assert!(
            (found - share).abs() < 0.03,
            "{strategy:?}: {found} instead of {share}"
        );
    }
}

#[test]
fn phases_and_frozen_tensors_are_the_same_under_every_strategy() {
    for model in [
        Mlp::new(&[3, 8, 2]).in_two_phases(),
        Mlp::new(&[3, 8, 2]).with_lower_frozen(),
    ] {
        let run = |strategy| {
            let mut options = options(strategy);
            options.clip_norm = None;
            let mut case = Case::new(options);
            case.model = model.clone();
            case.run(2)
        };
        let (ddp, notes) = run(Strategy::Ddp);
        let phases = notes.start.unwrap().phases.len();
        assert!(notes.steps.iter().all(|step| step.losses.len() == phases));
        for strategy in [
            Strategy::Zero1,
            Strategy::Zero2,
            Strategy::Zero3,
            Strategy::Fused,
        ] {
            let (other, _) = run(strategy);
            assert_same_bits(&other.parameters, &ddp.parameters, &format!("{strategy:?}"));
        }
    }
}

#[test]
fn a_phase_begins_where_the_one_before_ended() {
    let mut case = Case::new(Options {
        epochs: 1,
        batch_size: 44,
        learning_rate: 0.5,
        optimizer: Optimizer::Sgd(Sgd::default()),
        ..Options::default()
    });
    case.model = case.model.in_two_phases();
    let mut model = case.model.clone();
    let mut parameters = model.initial();
    let all: Vec<usize> = (0..44).collect();
    let batch = case.train.batch(&all).unwrap();
    for phase in 0..2 {
        model.load(&parameters);
        let layout = model.layout().clone();
        let mut step = |tensor: usize, gradient: &[f32]| {
            let own = &mut parameters[layout.tensors()[tensor].range()];
            let pairs = own.iter_mut().zip(gradient);
            pairs.for_each(|(parameter, gradient)| *parameter -= 0.5 * gradient);
        };
        model.gradients(phase, &batch, 0, &mut step).unwrap();
    }
    for strategy in [Strategy::Ddp, Strategy::Zero1, Strategy::Zero3] {
        case.options.strategy = strategy;
        let (outcome, _) = case.run(2);
        assert_close(
            &outcome.parameters,
            &parameters,
            1e-5,
            &format!("{strategy:?}"),
        );
    }
}

#[test]
fn fused_buffers_change_nothing_and_compression_little() {
    let run = |strategy, compression, clip_norm| {
        let mut options = options(strategy);
        options.fused.compression = compression;
        options.clip_norm = clip_norm;
        Case::new(options).run(3).0
    };
    let ddp = run(Strategy::Ddp, Compression::None, None);
    let fused = run(Strategy::Fused, Compression::None, None);
    assert_same_bits(&fused.parameters, &ddp.parameters, "fused");
    // Its norm is summed in another order.
    let ddp = run(Strategy::Ddp, Compression::None, Some(0.5));
    let fused = run(Strategy::Fused, Compression::None, Some(0.5));
    assert_close(&fused.parameters, &ddp.parameters, 1e-5, "fused, clipped");
    for (compression, tolerance) in [(Compression::Fp16, 2e-3), (Compression::Bf16, 2e-2)] {
        let narrow = run(Strategy::Fused, compression, Some(0.5));
        assert_close(&narrow.parameters, &ddp.parameters, tolerance, "compressed");
        assert_ne!(narrow.digest, ddp.digest);
    }
}

#[test]
fn accumulation_changes_memory_not_mathematics() {
    for strategy in [
        Strategy::Ddp,
        Strategy::Zero1,
        Strategy::Zero2,
        Strategy::Zero3,
    ] {
        let (whole, notes) = Case::new(options(strategy)).run(2);
        let mut options = options(strategy);
        // More pieces than the last batch has samples for each rank: some are empty.
        options.accumulate = 3;
        let (pieces, piece_notes) = Case::new(options).run(2);
        assert_close(
            &pieces.parameters,
            &whole.parameters,
            1e-4,
            &format!("{strategy:?}"),
        );
        let (collectives, of_pieces) =
            (notes.steps[0].collectives, piece_notes.steps[0].collectives);
        match strategy {
            // They keep no gradients but their parts, so each piece is sent.
            Strategy::Zero2 | Strategy::Zero3 => assert!(of_pieces > collectives),
            _ => assert_eq!(of_pieces, collectives, "{strategy:?} sends once a step"),
        }
    }
}

#[test]
fn collectives_and_bytes_are_those_of_the_strategy() {
    let sizes = [3, 8, 2];
    let (weights, buckets) = (24 + 8 + 16 + 2, 4);
    let step = |strategy| {
        let mut options = options(strategy);
        options.sync_check = 0;
        options.batch_size = 44;
        // Each tensor is a bucket.
        options.bucket_mb = 1e-6;
        options.first_bucket_mb = 1e-6;
        let mut case = Case::new(options);
        case.model = Mlp::new(&sizes);
        let (_, notes) = case.run(2);
        (notes.steps[1].collectives, notes.steps[1].bytes)
    };
    let report = 32;
    assert_eq!(step(Strategy::Ddp), (buckets + 1, 4 * weights + report));
    let zero = (2 * buckets + 1, 4 * weights + 2 * weights + report);
    assert_eq!(step(Strategy::Zero1), zero);
    assert_eq!(step(Strategy::Zero2), zero);
    // Parameters are gathered for the next step; the optimizer has no need of them.
    assert_eq!(step(Strategy::Zero3), zero);
}

#[test]
fn local_sgd_that_meets_after_each_step_is_ddp_with_plain_sgd() {
    let run = |strategy, every, optimizer| {
        let mut options = options(strategy);
        options.optimizer = optimizer;
        options.clip_norm = None;
        options.local_sgd = LocalSgd { every };
        // All ranks have as many samples: the mean of means is the mean.
        options.drop_last = true;
        options.learning_rate = 0.05;
        Case::new(options).run(2)
    };
    let plain = Optimizer::Sgd(Sgd::default());
    let (ddp, _) = run(Strategy::Ddp, 1, plain);
    let (local, notes) = run(Strategy::LocalSgd, 1, plain);
    assert_close(&local.parameters, &ddp.parameters, 1e-5, "every step");
    assert_close(&curve(&local), &curve(&ddp), 1e-5, "every step");
    assert!(notes.steps.iter().all(|step| step.drift.is_some()));

    let momentum = Optimizer::Sgd(Sgd {
        momentum: 0.9,
        ..Sgd::default()
    });
    let (local, notes) = run(Strategy::LocalSgd, 2, momentum);
    let drifts: Vec<bool> = notes
        .steps
        .iter()
        .map(|step| step.drift.is_some())
        .collect();
    // Five steps an epoch: they meet after 2, 4 and 5.
    assert_eq!(drifts[..5], [false, true, false, true, true]);
    let drifts = notes.steps.iter().filter_map(|step| step.drift);
    assert!(
        drifts.clone().all(|drift| drift > 0.0 && drift < 0.1),
        "{:?}",
        drifts.collect::<Vec<_>>()
    );
    assert!(curve(&local)[2] < curve(&local)[0]);
    assert!(notes.steps[0].losses.is_empty() && notes.steps[0].collectives == 0);
    assert_eq!(local.epochs[0].samples, 40);
}

#[test]
fn half_precisions_learn_as_well_and_overflow_is_survived() {
    let run = |precision, loss_scale| {
        let mut options = options(Strategy::Ddp);
        options.precision = precision;
        options.loss_scale = loss_scale;
        options.epochs = 6;
        Case::new(options).run(2)
    };
    let (single, _) = run(Precision::F32, 1.0);
    for precision in [Precision::Bf16, Precision::F16] {
        let (half, notes) = run(precision, 1024.0);
        let (found, right) = (curve(&half)[5], curve(&single)[5]);
        assert!(
            (found / right - 1.0).abs() < 0.2,
            "{precision:?}: {found} and {right}"
        );
        assert_eq!(half.totals.skipped, 0);
        assert_eq!(
            notes.steps[0].loss_scale.is_some(),
            precision == Precision::F16
        );
    }
    let (half, notes) = run(Precision::F16, 16_777_216.0);
    assert!(half.totals.skipped > 0, "a scale this large overflows");
    assert!(notes.steps[0].skipped);
    assert_eq!(notes.steps[1].loss_scale, Some(8_388_608.0));
    assert!(!notes.steps.last().unwrap().skipped);
    assert!(curve(&half)[5] < curve(&half)[0]);
}

#[test]
fn validation_is_the_same_for_any_ranks_and_ends_a_run_early() {
    let mut case = Case::new(options(Strategy::Zero1));
    case.validation = Some(Memory::waves(13).into());
    case.options.epochs = 3;
    let validation = |ranks| -> Vec<f32> {
        let (outcome, notes) = case.run(ranks);
        assert_eq!(notes.epochs, outcome.epochs);
        let epochs = outcome.epochs.iter();
        epochs
            .map(|epoch| epoch.validation_loss.unwrap() as f32)
            .collect()
    };
    let alone = validation(1);
    assert_close(&validation(3), &alone, 1e-4, "validation losses");
    assert!(alone[2] < alone[0]);

    // Nothing is ever better by this much than the first.
    case.options.early_stopping = Some(EarlyStopping {
        patience: 2,
        min_delta: 1e9,
    });
    case.options.epochs = 50;
    let (outcome, notes) = case.run(2);
    assert_eq!(outcome.end, End::StoppedEarly { epoch: 2 });
    assert_eq!(notes.end, Some(outcome.end));
    assert_eq!(outcome.epochs.len(), 3);
}

#[test]
fn what_a_run_costs_adds_up() {
    let (outcome, notes) = Case::new(options(Strategy::Ddp)).run(2);
    let totals = &outcome.totals;
    assert_eq!(totals.steps, 18);
    assert_eq!(totals.samples, 3 * 44);
    // At the start, after each step, at the end.
    assert_eq!(totals.sync_checks, 20);
    for step in &notes.steps {
        let parts = step.data_wait_s + step.compute_s + step.exposed_s + step.optimizer_s;
        assert!(parts <= step.step_s, "{step:?}");
        assert!(step.collective_s > 0.0 && step.sync_check_s > 0.0);
    }
    assert!(
        totals
            .hidden()
            .is_some_and(|hidden| (0.0..=1.0).contains(&hidden))
    );
}
