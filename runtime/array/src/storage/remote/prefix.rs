//! A Zarr store on a server: values under keys below one address.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::agent::on_threads;
use super::answer::Part;
use super::client::Client;
use super::{Address, RemoteError, listing};

/// What lies below an address.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    address: Address,
    client: Arc<Client>,
}

impl Prefix {
    pub(crate) fn new(address: Address, client: Arc<Client>) -> Self {
        Self { address, client }
    }

    /// Reads a value or a part of it, of at most `limit` bytes; `None` when there is none under
    /// the key.
    pub(crate) fn read(&self, key: &str, part: Part, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let address = self.address.child(key);
        let answer = match self.client.get(&address, part, limit, None) {
            Ok(answer) => answer,
            Err(RemoteError::Absent { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = answer.bytes;
        let cut_short = || io::Error::from(RemoteError::CutShort);
        match part {
            Part::Whole => Ok(Some(bytes)),
            // A server that ignores `Range` sent all of a small object.
            Part::Range { start, length } if answer.is_whole => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let end = start.saturating_add(length);
                let part = bytes.get(start..end).ok_or_else(cut_short)?;
                Ok(Some(part.to_vec()))
            }
            Part::Last { length } if answer.is_whole => {
                let start = bytes.len().checked_sub(length).ok_or_else(cut_short)?;
                Ok(Some(bytes[start..].to_vec()))
            }
            Part::Range { length, .. } | Part::Last { length } if bytes.len() < length => {
                Err(cut_short())
            }
            Part::Range { .. } | Part::Last { .. } => Ok(Some(bytes)),
        }
    }

    /// Reads many values or parts of them, several at once.
    pub(crate) fn read_many(
        &self,
        requests: &[(String, Part)],
        limit: usize,
    ) -> Vec<io::Result<Option<Vec<u8>>>> {
        let next = AtomicUsize::new(0);
        let answers: Vec<OnceLock<io::Result<_>>> =
            requests.iter().map(|_| OnceLock::new()).collect();
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((key, part)) = requests.get(index) else {
                    break;
                };
                let _ = answers[index].set(self.read(key, *part, limit));
            }
        };
        on_threads(requests.len(), work);
        let lost = || Err(io::Error::other("a request was lost"));
        let answers = answers.into_iter();
        answers
            .map(|answer| answer.into_inner().unwrap_or_else(lost))
            .collect()
    }

    /// The names directly below that may be arrays or groups.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let Address::Bucket { bucket, key } = &self.address else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let base = match key.trim_end_matches('/') {
            "" => String::new(),
            base => format!("{base}/"),
        };
        let listing = listing::list(&self.client, bucket, &base)?;
        let mut names: Vec<String> = listing
            .prefixes
            .iter()
            .filter_map(|prefix| prefix.strip_prefix(&base))
            .map(|name| name.trim_end_matches('/').to_owned())
            .collect();
        names.sort();
        Ok(names)
    }
}
