//! A sorted listing against what a source remembers, a page at a time.
//!
//! Both are in the order of bytes, so that a page and the items between its ends are all that is
//! held, however long the listing is. Used by folders and buckets.

use std::collections::BTreeMap;

use super::{Hub, SourceError};
use crate::ledger;

/// Most items that are read from the ledger at once.
const READ_ITEMS: u32 = 5_000;

/// Returns the items of a page that are new or have another version, in order, and forgets
/// remembered items between the ends of the page that it does not list.
///
/// `after` is the last item of the page before, `until` that of this page or None at the end.
pub(super) async fn compare(
    hub: &Hub,
    after: &str,
    until: Option<&str>,
    page: &BTreeMap<String, String>,
) -> Result<Vec<String>, SourceError> {
    let mut same: Vec<String> = Vec::new();
    let mut from = after.to_owned();
    loop {
        let (start, end) = (from.clone(), until.map(str::to_owned));
        let known = hub
            .read(move |ledger, name| {
                ledger::items(ledger, name, &start, end.as_deref(), READ_ITEMS)
            })
            .await?;
        let is_last = known.len() < READ_ITEMS as usize;
        let mut gone = Vec::new();
        for (item, version) in known {
            match page.get(&item) {
                None => gone.push(item.clone()),
                Some(listed) if *listed == version => same.push(item.clone()),
                Some(_) => {}
            }
            from = item;
        }
        if !gone.is_empty() {
            hub.forget(gone).await?;
        }
        if is_last {
            break;
        }
    }
    // Both are sorted.
    let mut same = same.into_iter().peekable();
    let fresh = page.keys().filter(|item| {
        let is_same = same.peek() == Some(*item);
        if is_same {
            same.next();
        }
        !is_same
    });
    Ok(fresh.cloned().collect())
}
