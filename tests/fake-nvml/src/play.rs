//! What calls on scripted devices answer, as plain values.

use std::sync::OnceLock;

use mizar_gpu_trace::{Answer, Gpu, Instance, Trace};

pub(crate) use nvml_wrapper_sys::bindings::{
    nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as LOST,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as INSUFFICIENT_SIZE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    nvmlReturn_enum_NVML_ERROR_TIMEOUT as TIMEOUT,
    nvmlReturn_enum_NVML_ERROR_UNINITIALIZED as UNINITIALIZED,
    nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlReturn_t as Status,
};

/// The script, from `nvmlInit` on.
static TRACE: OnceLock<Result<Trace, String>> = OnceLock::new();

/// The script, once the library has been started.
pub(crate) fn trace() -> Result<&'static Trace, Status> {
    match TRACE.get() {
        Some(Ok(trace)) => Ok(trace),
        _ => Err(UNINITIALIZED),
    }
}

fn find() -> Result<Trace, String> {
    Trace::find(mizar_gpu_trace::library_of(start as *const ()).as_deref())
}

/// Starts to play.
pub(crate) fn start() -> Status {
    match TRACE.get_or_init(find) {
        Ok(_) => SUCCESS,
        Err(why) => {
            eprintln!("fake NVML: {why}");
            UNINITIALIZED
        }
    }
}

/// The label, read from the script even before the start.
pub(crate) fn label() -> String {
    match TRACE.get_or_init(find) {
        Ok(trace) => trace.script().label.clone(),
        Err(_) => "no script".to_owned(),
    }
}

/// A device as its handle names it: a GPU, or one of its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) gpu: usize,
    pub(crate) instance: Option<usize>,
}

/// Handles are numbers in the clothes of pointers: never followed.
const INSTANCES: usize = 64;

impl Place {
    pub(crate) fn handle(self) -> usize {
        (self.gpu + 1) * INSTANCES + self.instance.map_or(0, |instance| instance + 1)
    }

    pub(crate) fn of(handle: usize) -> Option<Self> {
        Some(Self {
            gpu: (handle / INSTANCES).checked_sub(1)?,
            instance: (handle % INSTANCES).checked_sub(1),
        })
    }
}

/// A call on a device in the script.
pub(crate) struct Call {
    pub(crate) place: Place,
    pub(crate) gpu: &'static Gpu,
    pub(crate) instance: Option<&'static Instance>,
    /// Seconds since the script's start.
    pub(crate) now_s: f64,
}

/// Plays a call up to where its answer is due.
pub(crate) fn call(handle: usize, name: &str) -> Result<Call, Status> {
    let trace = trace()?;
    let place = Place::of(handle).ok_or(INVALID)?;
    let gpu = trace.gpu(place.gpu).ok_or(INVALID)?;
    let instance = match place.instance {
        Some(index) => Some(gpu.mig.get(index).ok_or(INVALID)?),
        None => None,
    };
    match trace.call(place.gpu, name) {
        Answer::At(now_s) => Ok(Call {
            place,
            gpu,
            instance,
            now_s,
        }),
        Answer::Unsupported => Err(NOT_SUPPORTED),
        Answer::Lost => Err(LOST),
        Answer::Failed(code) => Err(code),
    }
}

impl Call {
    /// The whole GPU's call; of an instance it is not supported.
    pub(crate) fn whole(self) -> Result<Self, Status> {
        match self.instance {
            None => Ok(self),
            Some(_) => Err(NOT_SUPPORTED),
        }
    }

    /// Under MIG the whole GPU has no utilisation.
    pub(crate) fn undivided(self) -> Result<Self, Status> {
        let call = self.whole()?;
        if call.gpu.mig.is_empty() {
            Ok(call)
        } else {
            Err(NOT_SUPPORTED)
        }
    }
}

/// A curve's value, or "not supported".
pub(crate) fn supported(value: Option<f64>) -> Result<f64, Status> {
    value.ok_or(NOT_SUPPORTED)
}
