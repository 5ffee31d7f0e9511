//! What owners delete: a mark that is on disk before it is answered, and what is left to do for it.

use rusqlite::{Connection, params};

use mizar_slurm::Marker;

use super::jobs::marker;

/// Forgets a payload that no job will ask for again.
pub fn drop_payload(connection: &Connection, job: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "DELETE FROM payloads WHERE event = (SELECT event FROM jobs WHERE id = ?1)",
        [job],
    )
}

/// Marks a job as deleted by its owner. What waits in the ledger becomes cancelled at once;
/// what Slurm may have is cancelled by the poller, by marker, until it has ended.
pub fn delete(connection: &Connection, now_ms: i64, job: i64) -> rusqlite::Result<usize> {
    connection.execute(
        "UPDATE jobs SET deleted_ms = coalesce(deleted_ms, ?2), changed_ms = ?2,
                ended_ms = CASE state WHEN 'received' THEN ?2 ELSE ended_ms END,
                reason = CASE state WHEN 'received' THEN 'deleted before it was submitted'
                                    ELSE reason END,
                state = CASE state WHEN 'received' THEN 'cancelled' ELSE state END
         WHERE id = ?1 AND deleted_ms IS NULL",
        params![job, now_ms],
    )
}

/// Deleted jobs that have ended and whose folder may still be there, with their markers.
pub fn untidied(connection: &Connection) -> rusqlite::Result<Vec<(i64, Marker)>> {
    let mut list = connection.prepare_cached(
        "SELECT id, service, key_hash, generation FROM jobs
         WHERE deleted_ms IS NOT NULL AND state IN ('completed', 'failed', 'cancelled', 'dead')
           AND EXISTS (SELECT 1 FROM payloads WHERE payloads.event = jobs.event)
         LIMIT 1000",
    )?;
    let rows = list.query_map([], |row| Ok((row.get(0)?, marker(row, 1)?)))?;
    rows.collect()
}
