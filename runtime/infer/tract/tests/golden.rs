//! Both back ends beside ONNX Runtime for Python, whose outputs lie in `runtime/infer/tests/models`
//! with the script that made them.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test suite")]

use std::path::{Path, PathBuf};

use mizar_infer::onnx_runtime::OnnxRuntime;
use mizar_infer::{Loader, ModelError, OpenError, Provider, Tensor, Values, npy};
use mizar_infer_tract::Tract;

/// Sums of products in another order differ by so much of values of about one.
const TOLERANCE: f64 = 2e-6;

fn file(name: &str) -> PathBuf {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/models");
    Path::new(models).join(name)
}

/// The library in the Python environment of the tests.
fn library() -> Option<PathBuf> {
    let package = mizar_lab::venv::package("onnxruntime")?;
    let names = mizar_lab::names_in(&package.join("capi"));
    let is_library = |name: &&String| name.starts_with("libonnxruntime.so");
    let name = names.iter().find(is_library)?;
    Some(package.join("capi").join(name))
}

/// Loaders of all back ends that can work here.
fn loaders() -> Vec<Loader> {
    let mut loaders = vec![Loader::new(1, Provider::Cpu).with(Tract)];
    if let Some(library) = library() {
        let runtime = OnnxRuntime::new(Some(library));
        loaders.push(Loader::new(1, Provider::Cpu).with(runtime));
    }
    loaders
}

fn assert_close(found: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let (found, expected) = (found.values().to_f64(), expected.values().to_f64());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= TOLERANCE,
            "{what}, {index}: {found} for {expected}"
        );
    }
}

#[test]
fn outputs_are_those_of_python() {
    for loader in loaders() {
        for name in ["conv", "mlp", "series"] {
            let mut loaded = loader.open(&file(&format!("{name}.onnx"))).unwrap();
            let input = npy::read_one(&file(&format!("{name}_in.npy"))).unwrap();
            let expected = npy::read_one(&file(&format!("{name}_out.npy"))).unwrap();
            let what = format!("{name} by {}", loaded.model.backend());
            let rows = input.shape()[0];
            let outputs = loaded.model.run(std::slice::from_ref(&input)).unwrap();
            assert_close(&outputs[0], &expected, &what);
            // The first dimension is free: another batch gives the same rows.
            let last = input.rows(rows - 1..rows).unwrap();
            let outputs = loaded.model.run(&[last]).unwrap();
            let expected = expected.rows(rows - 1..rows).unwrap();
            assert_close(&outputs[0], &expected, &what);
        }
    }
}

#[test]
fn what_a_model_does_not_take_is_told_before_it_runs() {
    for loader in loaders() {
        let mut loaded = loader.open(&file("mlp.onnx")).unwrap();
        let wrong = loaded.model.run(&[Tensor::zeros(vec![2, 5])]);
        let message = wrong.unwrap_err().to_string();
        assert_eq!(message, "input `x` takes the shape [?, 4], not [2, 5]");
        let double = Tensor::new(vec![1, 4], Values::F64(vec![0.0; 4])).unwrap();
        let message = loaded.model.run(&[double]).unwrap_err().to_string();
        assert_eq!(message, "input `x` takes FP32, not FP64");
    }
}

#[test]
fn an_error_within_a_run_is_a_value() {
    for loader in loaders() {
        let mut loaded = loader.open(&file("table.onnx")).unwrap();
        let run = |place: f32, model: &mut dyn mizar_infer::Model| {
            model.run(&[Tensor::new(vec![1, 1], Values::F32(vec![place])).unwrap()])
        };
        let good = run(3.0, &mut *loaded.model).unwrap();
        assert_eq!(good[0].values().to_f64(), [30.0]);
        let bad = run(1000.0, &mut *loaded.model);
        assert!(matches!(bad, Err(ModelError::Run { .. })), "{bad:?}");
        // And it runs on.
        let good = run(7.0, &mut *loaded.model).unwrap();
        assert_eq!(good[0].values().to_f64(), [70.0]);
    }
}

#[test]
fn a_model_that_is_cut_short_is_refused() {
    let folder = std::env::temp_dir().join(format!("mizar-infer-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("cut.onnx");
    let whole = std::fs::read(file("conv.onnx")).unwrap();
    for loader in loaders() {
        for length in [0, 1, 40, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = loader.open(&path).err().expect("it is cut short");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(matches!(error, OpenError::Header { .. }), "{error}");
            assert!(source.contains("cut short"), "{source}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_type_that_is_not_supported_is_named() {
    let error = loaders()[0].open(&file("half.onnx")).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("`x` is of ONNX type 10"), "{source}");
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let error = Loader::new(1, Provider::Cuda).with(Tract);
    let error = error.open(&file("mlp.onnx")).err().unwrap().to_string();
    assert!(error.contains("on processors only"), "{error}");
    let Some(library) = library() else { return };
    let loader = Loader::new(1, Provider::Cuda).with(OnnxRuntime::new(Some(library)));
    let error = loader.open(&file("mlp.onnx")).err().unwrap().to_string();
    assert!(error.contains("was built without it"), "{error}");
    assert!(error.contains("onnxruntime-gpu"), "{error}");
}
