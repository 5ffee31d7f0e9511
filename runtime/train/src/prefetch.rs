//! Batches read ahead by a thread of their own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::{Batch, Result, Source, SourceError, TrainError};

/// Batches in the order in which they were asked for.
pub(crate) struct Prefetch {
    batches: Option<Receiver<std::result::Result<Batch, SourceError>>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    /// Begins to read batches of these samples, at most `ahead` of them before they are taken.
    pub(crate) fn start(
        source: &Arc<dyn Source>,
        wanted: impl Iterator<Item = Vec<usize>> + Send + 'static,
        ahead: usize,
    ) -> Result<Self> {
        // The thread has one more in its hands.
        let (give, batches) = sync_channel(ahead.saturating_sub(1));
        let source = Arc::clone(source);
        let body = move || {
            for samples in wanted {
                // Nobody takes any more: the run has ended.
                if give.send(source.batch(&samples)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("mizar-data".to_owned())
            .spawn(body)
            .map_err(|source| TrainError::NoThread {
                what: "reading ahead",
                source,
            })?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// The next batch; `None` after the last.
    ///
    /// # Panics
    /// With the panic of the source.
    pub(crate) fn next(&mut self) -> Option<std::result::Result<Batch, SourceError>> {
        let next = self
            .batches
            .as_ref()
            .and_then(|batches| batches.recv().ok());
        if next.is_none()
            && let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
        {
            std::panic::resume_unwind(panic);
        }
        next
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // Its panic would have come with the next batch, which nobody wanted.
            let _ = thread.join();
        }
    }
}
