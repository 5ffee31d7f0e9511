//! Requests of many callers, and what each gets.

use std::time::Duration;

use super::*;
use crate::{ElementType, Model, Values};

/// Adds one, and takes its time; fails on a batch with a negative number, panics at a thousand;
/// tells how many rows each run had.
struct Plus(
    Vec<Port>,
    BTreeMap<String, String>,
    Arc<Mutex<Vec<usize>>>,
    Duration,
);

impl Model for Plus {
    fn inputs(&self) -> &[Port] {
        &self.0
    }
    fn outputs(&self) -> &[Port] {
        &self.0
    }
    fn backend(&self) -> &str {
        "a test"
    }
    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.1
    }
    fn run(&mut self, inputs: &[Tensor]) -> Answer {
        self.2.lock().unwrap().push(inputs[0].shape()[0]);
        let values = inputs[0].values().to_f64();
        if values.iter().any(|value| *value < 0.0) {
            let (backend, message) = ("a test".to_owned(), "negative".to_owned());
            return Err(ModelError::Run { backend, message });
        }
        assert!(!values.contains(&1000.0), "a panic of the test");
        std::thread::sleep(self.3);
        let values = values.iter().map(|value| *value as f32 + 1.0).collect();
        Ok(vec![Tensor::new(
            inputs[0].shape().to_vec(),
            Values::F32(values),
        )?])
    }
}

const SLOW: Duration = Duration::from_millis(20);

fn held(settings: &Settings, takes: Duration) -> (Arc<Held>, Arc<Mutex<Vec<usize>>>) {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let port = Port {
        name: "x".to_owned(),
        element_type: ElementType::F32,
        shape: Some(vec![None, Some(1)]),
    };
    let loaded = Loaded {
        model: Box::new(Plus(vec![port], BTreeMap::new(), Arc::clone(&runs), takes)),
        digest: "d".to_owned(),
        file_name: "plus".to_owned(),
        size_bytes: 10,
        passed_over: Vec::new(),
    };
    (Arc::new(Held::start(loaded, settings).unwrap()), runs)
}

fn one(value: f32) -> Vec<Tensor> {
    vec![Tensor::new(vec![1, 1], Values::F32(vec![value])).unwrap()]
}

fn ask_all(held: &Arc<Held>, values: Vec<f32>) -> Vec<Result<f64, AskError>> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let asked = values.into_iter().map(|value| {
            let held = Arc::clone(held);
            tokio::spawn(async move {
                let outputs = held.ask(one(value)).await?;
                Ok(outputs[0].values().to_f64()[0])
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = Vec::new();
        for answer in asked {
            answers.push(answer.await.unwrap());
        }
        answers
    })
}

#[test]
fn requests_that_wait_run_together_and_get_their_own() {
    let (held, runs) = held(&Settings::default(), SLOW);
    let answers = ask_all(&held, (0..40_u8).map(f32::from).collect());
    for (index, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), index as f64 + 1.0);
    }
    let runs = runs.lock().unwrap();
    assert_eq!(runs.iter().sum::<usize>(), 40);
    assert!(runs.len() < 40, "{runs:?}");
}

#[test]
fn one_that_fails_fails_alone() {
    let (held, _) = held(&Settings::default(), SLOW);
    let answers = ask_all(&held, vec![1.0, -1.0, 3.0, 4.0]);
    let sound: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(sound, [true, false, true, true]);
}

#[test]
fn quick_requests_run_where_they_come_in() {
    let (quick, _) = held(&Settings::default(), Duration::ZERO);
    let (slow, _) = held(&Settings::default(), SLOW);
    // Nobody knows how long the first takes.
    assert!(quick.run_here(&one(1.0)).is_none());
    for held in [&quick, &slow] {
        assert!(ask_all(held, vec![1.0])[0].is_ok());
    }
    let answer = quick.run_here(&one(1.0)).unwrap().unwrap();
    assert_eq!(answer[0].values().to_f64(), [2.0]);
    assert!(slow.run_here(&one(1.0)).is_none());
    // So many numbers at once may take longer.
    let count = 1 << 24;
    let many = Tensor::new(vec![count, 1], Values::F32(vec![1.0; count])).unwrap();
    assert!(!quick.engine.lock().unwrap().is_quick(&[many]));
    // A model that runs is not waited for.
    let running = quick.engine.lock().unwrap();
    assert!(quick.run_here(&one(1.0)).is_none());
    drop(running);
}

#[test]
fn a_model_that_panicked_has_ended() {
    let (held, _) = held(&Settings::default(), Duration::ZERO);
    let end = |answers: Vec<Result<f64, AskError>>| {
        let ended = answers
            .iter()
            .all(|answer| matches!(answer, Err(AskError::Ended)));
        assert!(ended, "{answers:?}");
    };
    end(ask_all(&held, vec![1000.0]));
    end(ask_all(&held, vec![1.0]));
}

#[test]
fn a_full_queue_refuses() {
    let settings = Settings {
        queue: 1,
        batch: 1,
        ..Settings::default()
    };
    let (held, _) = held(&settings, SLOW);
    let answers = ask_all(&held, vec![0.0; 30]);
    let full = answers
        .iter()
        .filter(|answer| matches!(answer, Err(AskError::Full(1))));
    assert!(full.count() > 0);
    assert!(answers.iter().any(Result::is_ok));
}
