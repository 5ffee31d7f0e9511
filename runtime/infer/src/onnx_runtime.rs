//! ONNX models by ONNX Runtime, whose library is opened at run time.
//!
//! Nothing links it: where there is none, that is a value ([`OpenError::Absent`]) that says what
//! to install, and the next back end is asked. A library that the user names and that cannot be
//! used is an error.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, TensorRef};

use crate::loader::{Backend, OpenError, Provider, Source};
use crate::{ElementType, Header, Model, ModelError, Port, Tensor, Values, check_inputs};

/// Names the library, as for all programs that open it.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

const NAME: &str = "onnxruntime";

/// Folders in which installers leave it and the dynamic linker does not look.
const FOLDERS: [&str; 4] = [
    "/usr/local/lib",
    "/usr/local/lib64",
    "/opt/onnxruntime/lib",
    "/opt/onnxruntime/lib64",
];

/// Environments of Python, whose package `onnxruntime` holds the library.
const PYTHON_VARIABLES: [&str; 2] = ["VIRTUAL_ENV", "CONDA_PREFIX"];

/// The back end; its library is looked for when the first model is opened.
#[derive(Clone, Debug, Default)]
pub struct OnnxRuntime {
    library: Option<PathBuf>,
}

impl OnnxRuntime {
    /// By this library, or the one that is found: `ORT_DYLIB_PATH`, the dynamic linker's places,
    /// folders of installers, the Python environment that is active.
    #[must_use]
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library }
    }
}

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &["onnx"]
    }

    fn open(&self, source: Source<'_>) -> Result<Box<dyn Model>, OpenError> {
        let header = Header::read(source.bytes).map_err(|error| OpenError::Header {
            path: source.path.to_owned(),
            source: error,
        })?;
        let library = library(self.library.as_deref())?;
        let refused = |error: String| OpenError::Refused {
            path: source.path.to_owned(),
            backend: library.title.clone(),
            message: error,
        };
        let providers = provider(source.provider, library)?;
        let build = || -> ort::Result<Session> {
            let mut builder = Session::builder(&library.environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(source.threads)?
                .with_inter_threads(1)?
                .with_execution_providers(providers)?;
            builder.commit_from_memory(source.bytes)
        };
        let session = build().map_err(|error| match source.provider {
            Provider::Cpu => refused(error.to_string()),
            device => OpenError::Provider {
                provider: device.name(),
                reason: error.to_string(),
            },
        })?;
        let backend = format!("{}, {}", library.title, source.provider.name());
        Ok(Box::new(OrtModel {
            session,
            header,
            backend,
        }))
    }
}

/// The library once it is open; one for the life of the process.
struct Library {
    environment: Environment,
    /// `ONNX Runtime 1.32.0`.
    title: String,
    /// For messages.
    path: PathBuf,
}

/// Opens the library on the first call; all later calls get the same.
fn library(wanted: Option<&Path>) -> Result<&'static Library, OpenError> {
    static LIBRARY: OnceLock<Result<Library, (bool, String)>> = OnceLock::new();
    let opened = LIBRARY.get_or_init(|| {
        let of_variable = || std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from);
        let named = wanted.map(Path::to_owned).or_else(of_variable);
        match named {
            Some(path) => open_at(&path).map_err(|message| (true, message)),
            None => search().map_err(|message| (false, message)),
        }
    });
    opened
        .as_ref()
        .map_err(|(is_named, message)| match is_named {
            true => OpenError::Library {
                backend: NAME,
                variable: LIBRARY_VARIABLE,
                reason: message.clone(),
            },
            false => OpenError::Absent {
                backend: NAME,
                reason: format!(
                    "no libonnxruntime.so is installed ({message}); install ONNX Runtime 1.17 or \
                 newer (`pip install onnxruntime`, or your site's package) and set \
                 {LIBRARY_VARIABLE} to the library"
                ),
            },
        })
}

fn open_at(path: &Path) -> Result<Library, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string().replace('\n', " ");
    let builder = ort::init_from(path).map_err(|error| failed(&error))?;
    let builder = builder.with_name("mizar").with_telemetry(false);
    let environment = builder.build().map_err(|error| failed(&error))?;
    // Errors come back as values; the rest of what it would print is of no use to users.
    environment.set_log_level(LogLevel::Fatal);
    Ok(Library {
        environment,
        title: title(path),
        path: path.to_owned(),
    })
}

/// With the version that stands in the name of the file, or of that which it links to.
fn title(path: &Path) -> String {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    match name.split_once(".so.") {
        Some((_, version)) if version.contains('.') => format!("ONNX Runtime {version}"),
        _ => format!("ONNX Runtime ({})", of_build_info(ort::info())),
    }
}

/// `git-branch=rel-1.32.0, …` has the version in the name of the branch.
fn of_build_info(info: &str) -> &str {
    let branch = info
        .split_once("git-branch=")
        .map_or(info, |(_, rest)| rest);
    branch.split([',', ' ']).next().unwrap_or(branch)
}

fn search() -> Result<Library, String> {
    let mut problems = Vec::new();
    for candidate in candidates() {
        match open_at(&candidate) {
            Ok(library) => return Ok(library),
            // A name without a folder that is not there is no news.
            Err(_) if candidate.parent() == Some(Path::new("")) => {}
            Err(message) => problems.push(message),
        }
    }
    match problems.is_empty() {
        true => Err("none where the dynamic linker looks".to_owned()),
        false => Err(problems.join("; ")),
    }
}

/// Where it may lie, best first.
fn candidates() -> Vec<PathBuf> {
    let mut found = vec!["libonnxruntime.so.1".into(), "libonnxruntime.so".into()];
    for folder in FOLDERS {
        found.extend(libraries_in(Path::new(folder)));
    }
    for variable in PYTHON_VARIABLES {
        let Some(environment) = std::env::var_os(variable) else {
            continue;
        };
        let lib = Path::new(&environment).join("lib");
        let pythons = std::fs::read_dir(lib).into_iter().flatten().flatten();
        let mut pythons: Vec<PathBuf> = pythons.map(|entry| entry.path()).collect();
        pythons.sort();
        for python in pythons {
            found.extend(libraries_in(&python.join("site-packages/onnxruntime/capi")));
        }
    }
    found
}

fn libraries_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
    };
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(is_library).collect();
    // The newest by name first.
    found.sort();
    found.reverse();
    found
}

/// The providers of a session for a device; the processors need none.
fn provider(
    wanted: Provider,
    library: &Library,
) -> Result<Vec<ExecutionProviderDispatch>, OpenError> {
    let (is_there, dispatch) = match wanted {
        Provider::Cpu => return Ok(Vec::new()),
        Provider::Cuda => (ep::CUDA::is_available(), ep::CUDA::default().build()),
        Provider::Rocm => (ep::ROCm::is_available(), ep::ROCm::default().build()),
        Provider::MiGraphX => (
            ep::MIGraphX::is_available(),
            ep::MIGraphX::default().build(),
        ),
    };
    if is_there.unwrap_or(false) {
        return Ok(vec![dispatch.error_on_failure()]);
    }
    Err(OpenError::Provider {
        provider: wanted.name(),
        reason: format!(
            "{} at {} was built without it; install a build for this device (for CUDA `pip \
             install onnxruntime-gpu`, for AMD `onnxruntime-rocm` or `onnxruntime-migraphx`) and \
             set {LIBRARY_VARIABLE} to its library",
            library.title,
            library.path.display()
        ),
    })
}

struct OrtModel {
    session: Session,
    header: Header,
    backend: String,
}

impl Model for OrtModel {
    fn inputs(&self) -> &[Port] {
        &self.header.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.header.outputs
    }

    fn backend(&self) -> &str {
        &self.backend
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ModelError> {
        check_inputs(&self.header.inputs, inputs)?;
        let backend = &self.backend;
        let failed = |error: ort::Error| ModelError::Run {
            backend: backend.clone(),
            message: error.to_string(),
        };
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::new();
        for (port, tensor) in self.header.inputs.iter().zip(inputs) {
            let value = view(tensor).map_err(failed)?;
            values.push((Cow::Borrowed(&port.name), value));
        }
        let outputs = self.session.run(values).map_err(failed)?;
        let ports = &self.header.outputs;
        let taken = ports.iter().map(|port| {
            let missing = || ModelError::Output {
                name: port.name.clone(),
                found: "missing".to_owned(),
                expected: "the model file lists it".to_owned(),
            };
            let value = outputs.get(&port.name).ok_or_else(missing)?;
            copy(value, port.element_type).map_err(failed)?
        });
        taken.collect()
    }
}

/// The numbers where they lie.
fn view(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    Ok(match tensor.values() {
        Values::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Values::F64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Values::I32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Values::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
    })
}

fn copy(value: &DynValue, element_type: ElementType) -> ort::Result<Result<Tensor, ModelError>> {
    macro_rules! of {
        ($number:ty, $variant:ident) => {{
            let (shape, values) = value.try_extract_tensor::<$number>()?;
            (shape.to_vec(), Values::$variant(values.to_vec()))
        }};
    }
    let (shape, values) = match element_type {
        ElementType::F32 => of!(f32, F32),
        ElementType::F64 => of!(f64, F64),
        ElementType::I32 => of!(i32, I32),
        ElementType::I64 => of!(i64, I64),
    };
    let shape = shape
        .into_iter()
        .map(|len| usize::try_from(len).unwrap_or(0));
    Ok(Tensor::new(shape.collect(), values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_name_or_in_the_branch() {
        assert_eq!(
            title(Path::new("/nowhere/libonnxruntime.so.1.32.0")),
            "ONNX Runtime 1.32.0"
        );
        let info = "ORT Build Info: git-branch=rel-1.19.0, git-commit-id=26250ae";
        assert_eq!(of_build_info(info), "rel-1.19.0");
    }
}
