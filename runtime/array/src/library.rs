//! The HDF5 C library behind safe functions: the only place of this crate that calls it.
//!
//! Every function takes the library's one lock, so callers may be on any thread; handles close
//! themselves. Called by [`crate::storage`] for structure and for what the fast path cannot
//! read, and by [`crate::write`]. No knowledge of NetCDF here.
#![allow(unsafe_code, reason = "the boundary to the HDF5 C library")]

use std::ffi::CString;

use hdf5_sys::h5i::{H5Idec_ref, hid_t};

mod array;
mod attribute;
mod create;
mod driver;
mod element;
mod file;
mod reference;

pub(crate) use array::{Array, Filter, Layout, StoredChunk};
pub(crate) use attribute::{RawAttribute, RawValue, fixed_text, texts};

pub(crate) use create::{ArrayPlan, Kind, NewArray, NewFile, NewFilter, ScaleUse};
pub(crate) use element::Element;
pub(crate) use file::{H5File, Member};
pub(crate) use reference::HeapReference;

/// A call that the library refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What was asked, to stand after "cannot".
    pub(crate) operation: String,
    /// The innermost cause that the library gives.
    pub(crate) detail: String,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(operation: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            operation: operation.into(),
            detail: detail.into(),
        }
    }

    /// The same, once it is known which array it was about.
    pub(crate) fn of(mut self, array: &str) -> Self {
        self.operation = format!("{} of `{array}`", self.operation);
        self
    }

    /// Asks the library why the last call of this thread failed.
    fn of_last_call(operation: impl Into<String>) -> Self {
        // What a server said is the cause; the library knows only that a read failed.
        if let Some(reason) = driver::take_failure() {
            return Self::new(operation, reason);
        }
        let stack = hdf5::Error::query().ok().and_then(|error| error.stack());
        let frames = stack.map_or_else(Vec::new, |stack| {
            stack
                .iter()
                .map(|frame| frame.desc().to_owned())
                .collect::<Vec<_>>()
        });
        let detail = match (frames.first(), frames.last()) {
            (Some(outer), Some(inner)) if outer != inner => format!("{outer}: {inner}"),
            (Some(only), _) => only.clone(),
            _ => "no reason given".to_owned(),
        };
        Self::new(operation, detail)
    }
}

/// An identifier that is given back when it goes.
#[derive(Debug)]
struct Handle(hid_t);

impl Handle {
    /// Takes over what a call returned.
    fn of(id: hid_t, operation: &str) -> Outcome<Self> {
        if id >= 0 {
            Ok(Self(id))
        } else {
            Err(Failure::of_last_call(operation))
        }
    }

    /// Closes now, to learn whether that worked.
    fn close(self, operation: &str) -> Outcome<()> {
        let id = self.0;
        std::mem::forget(self);
        // SAFETY: `id` is an open identifier that this handle owned, and is not used again.
        locked(|| status(unsafe { H5Idec_ref(id) }, operation))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle owns one reference to an open identifier.
        locked(|| unsafe { H5Idec_ref(self.0) });
    }
}

/// Runs `body` under the library's lock, with its own error printing off.
fn locked<T>(body: impl FnOnce() -> T) -> T {
    hdf5::sync::sync(body)
}

/// Turns the sign of a status into a result.
fn status(code: i32, operation: &str) -> Outcome<()> {
    if code >= 0 {
        Ok(())
    } else {
        Err(Failure::of_last_call(operation))
    }
}

/// A name for C; a name with a zero byte in it cannot exist in a file.
fn c_name(name: &str) -> Outcome<CString> {
    CString::new(name)
        .map_err(|_| Failure::new(format!("use the name {name:?}"), "it holds a zero byte"))
}

/// Text of a file: UTF-8, or else Latin-1, which older files hold.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
    }
}
