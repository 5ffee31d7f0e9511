//! Services of the OSCAR API in the ledger.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::definition::Definition;

/// A service as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What its owner defined.
    pub definition: Definition,
    /// Who defined it.
    pub owner: String,
    /// The Unix user of its jobs, whoever calls it: the script is its owner's. None means the
    /// gateway's own.
    pub user: Option<String>,
    /// The token that calls it; shown to its owner.
    pub token: String,
    /// When it was made, in milliseconds since 1970: a service of the same name that is made
    /// later is another one.
    pub created_ms: i64,
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    let text: String = row.get(0)?;
    let definition = serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Kept {
        definition,
        owner: row.get(1)?,
        token: row.get(2)?,
        created_ms: row.get(3)?,
        user: row.get(4)?,
    })
}

/// One service.
pub fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<Kept>> {
    connection
        .prepare_cached(
            "SELECT definition, owner, token, created_ms, user FROM oscar_services WHERE name = ?1",
        )?
        .query_row([name], kept)
        .optional()
}

/// All services, by name.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Kept>> {
    let mut list = connection.prepare_cached(
        "SELECT definition, owner, token, created_ms, user FROM oscar_services ORDER BY name",
    )?;
    list.query_map([], kept)?.collect()
}

/// Adds a service; false if there is one of its name.
pub fn insert(connection: &Connection, new: &Kept) -> rusqlite::Result<bool> {
    let count = connection.execute(
        "INSERT INTO oscar_services (name, owner, definition, token, created_ms, changed_ms, user)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT DO NOTHING",
        params![
            new.definition.name,
            new.owner,
            new.definition.text(),
            new.token,
            new.created_ms,
            new.user
        ],
    )?;
    Ok(count == 1)
}

/// Replaces the definition of a service that was found; the token stays, because senders hold it.
/// False if it is gone, though there may be another of its name.
pub fn update(
    connection: &Connection,
    now_ms: i64,
    found: &Kept,
    definition: &Definition,
) -> rusqlite::Result<bool> {
    let count = connection.execute(
        "UPDATE oscar_services SET definition = ?2, changed_ms = ?3, user = ?6
         WHERE name = ?1 AND owner = ?4 AND created_ms = ?5",
        params![
            definition.name,
            definition.text(),
            now_ms,
            found.owner,
            found.created_ms,
            found.user
        ],
    )?;
    Ok(count == 1)
}

/// Removes a service that was found, with its jobs; false if it is gone.
pub fn remove(connection: &Connection, now_ms: i64, found: &Kept) -> rusqlite::Result<bool> {
    let name = found.definition.name.as_str();
    let count = connection.execute(
        "DELETE FROM oscar_services WHERE name = ?1 AND owner = ?2 AND created_ms = ?3",
        params![name, found.owner, found.created_ms],
    )?;
    if count == 1 {
        remove_jobs(connection, now_ms, name, true, None)?;
        crate::ledger::delete_workers(connection, now_ms, name)?;
    }
    Ok(count == 1)
}

/// Deletes a service's jobs, of everybody or of one: all of them, or those that ended well.
pub fn remove_jobs(
    connection: &Connection,
    now_ms: i64,
    name: &str,
    all: bool,
    owner: Option<&str>,
) -> rusqlite::Result<()> {
    let mut list = connection.prepare(
        "SELECT id FROM jobs WHERE service = ?1 AND door = 'oscar' AND deleted_ms IS NULL
         AND (?2 OR state = 'completed') AND (?3 IS NULL OR owner = ?3)",
    )?;
    let ids: Vec<i64> = list
        .query_map(params![name, all, owner], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in ids {
        crate::ledger::delete(connection, now_ms, id)?;
    }
    Ok(())
}

/// How many of a service's jobs, of everybody or of one, are older than one, or all.
pub fn count_jobs(
    connection: &Connection,
    name: &str,
    before: Option<i64>,
    owner: Option<&str>,
) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT count(*) FROM jobs WHERE service = ?1 AND door = 'oscar' AND deleted_ms IS NULL
         AND (?2 IS NULL OR id < ?2) AND (?3 IS NULL OR owner = ?3)",
        params![name, before, owner],
        |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()),
    )
}

/// A setting, as JSON.
pub fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT value FROM settings WHERE name = ?1",
            [name],
            |row| row.get(0),
        )
        .optional()
}

/// Replaces a setting.
pub fn set_setting(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<usize> {
    connection.execute(
        "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)",
        [name, value],
    )
}
