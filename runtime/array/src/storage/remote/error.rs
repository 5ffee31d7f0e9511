//! Why a server did not give what was asked of it. The address is told by who wraps these.

use std::io;

/// Why a server did not give what was asked of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// It is no address.
    #[error("it is not an address that is read: expected {expected}")]
    Address {
        /// What was expected.
        expected: &'static str,
    },
    /// There is nothing under this name.
    #[error("the server has nothing under this name ({answer})")]
    Absent {
        /// Status and code.
        answer: String,
    },
    /// The server does not let us.
    #[error("the server denies access ({answer}): {remedy}")]
    Denied {
        /// Status and code.
        answer: String,
        /// What to do.
        remedy: String,
    },
    /// It is another object than it was when it was opened.
    #[error("it changed on the server")]
    Changed,
    /// The server sends whole objects only.
    #[error(
        "the server cannot send parts of it (it ignores `Range`), and it is too large to be read \
         as a whole ({}): download it first", size_in_words(*size_bytes)
    )]
    NoRanges {
        /// How large it is, if the server says so.
        size_bytes: Option<u64>,
    },
    /// The server failed, again and again.
    #[error("the server failed {attempts} times, at last with {answer}: try again later")]
    Failed {
        /// How often it was asked.
        attempts: usize,
        /// Status and code.
        answer: String,
    },
    /// The server could not be reached, or went away, again and again.
    #[error("no answer in {attempts} attempts: {reason}")]
    Unreachable {
        /// How often it was asked.
        attempts: usize,
        /// What happened at last.
        reason: String,
    },
    /// The certificate of the server, or what it speaks, is not trusted.
    #[error("no secure connection: {reason}; own authorities are named by SSL_CERT_FILE")]
    Untrusted {
        /// What the TLS library says.
        reason: String,
    },
    /// The server answered what makes no sense.
    #[error("the server answered {found}, expected {expected}")]
    Answer {
        /// What was asked for.
        expected: String,
        /// What came.
        found: String,
    },
    /// An answer is larger than it can be.
    #[error("it has {}, more than the {limit} bytes that it can have", size_in_words(*size_bytes))]
    TooLarge {
        /// How large it is, if the server says so.
        size_bytes: Option<u64>,
        /// How large it may be.
        limit: usize,
    },
    /// The bytes asked for lie beyond the end.
    #[error("it is cut short")]
    CutShort,
    /// The settings for S3 contradict each other or are not complete.
    #[error("the settings for S3 cannot be used: {problem}")]
    Settings {
        /// What is wrong, without any secret.
        problem: String,
    },
}

fn size_in_words(size_bytes: Option<u64>) -> String {
    match size_bytes {
        Some(size) => format!("{size} bytes"),
        None => "a size that it does not tell".to_owned(),
    }
}

impl From<RemoteError> for io::Error {
    fn from(error: RemoteError) -> Self {
        let kind = match error {
            RemoteError::Absent { .. } => io::ErrorKind::NotFound,
            RemoteError::Denied { .. } => io::ErrorKind::PermissionDenied,
            RemoteError::CutShort => io::ErrorKind::UnexpectedEof,
            RemoteError::TooLarge { .. } => io::ErrorKind::InvalidData,
            RemoteError::NoRanges { .. } => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Whether an error says that an object is no longer the one that was opened.
pub(crate) fn is_changed(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<RemoteError>());
    matches!(inner, Some(RemoteError::Changed))
}
