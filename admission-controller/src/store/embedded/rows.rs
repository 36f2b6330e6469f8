//! How the file is laid out, and how values become rows and come back.

use std::sync::Arc;

use keys::{EventId, Id128, Lane, Risk, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Row, Transaction, params};
use serde::de::DeserializeOwned;

use super::super::{Judged, StoreError};
use crate::claims::PassRecord;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rooms (event TEXT PRIMARY KEY, room TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS configured (event TEXT PRIMARY KEY, spec TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (
    event TEXT, lane INTEGER, issued INTEGER NOT NULL, PRIMARY KEY (event, lane)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gaps (
    event TEXT, line INTEGER, lane INTEGER, first INTEGER, count INTEGER NOT NULL,
    PRIMARY KEY (event, line, lane, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fronts (
    event TEXT, epoch INTEGER, seq INTEGER, line INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    front TEXT NOT NULL, PRIMARY KEY (event, epoch, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS passes (
    event TEXT, sub BLOB, line INTEGER NOT NULL, jti BLOB NOT NULL, lane INTEGER NOT NULL,
    num INTEGER NOT NULL, risk INTEGER NOT NULL, generation INTEGER NOT NULL,
    first_at INTEGER NOT NULL, renewed_at INTEGER NOT NULL, exp INTEGER NOT NULL,
    place_exp INTEGER NOT NULL, ended TEXT,
    PRIMARY KEY (event, sub)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS passes_by_number ON passes (event, line, lane, num)
    WHERE num > 0;
CREATE TABLE IF NOT EXISTS laws (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, per_sec REAL NOT NULL, called INTEGER NOT NULL,
    at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS absent (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, shares TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS turns (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, marks TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS returns (
    event TEXT, sub BLOB, lane INTEGER NOT NULL, num INTEGER NOT NULL, position INTEGER NOT NULL,
    had_pass INTEGER NOT NULL, is_in INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (event, sub)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transfers (
    event TEXT, hash BLOB, sub BLOB NOT NULL, until_ms INTEGER NOT NULL, place TEXT NOT NULL,
    asker TEXT, moves INTEGER,
    PRIMARY KEY (event, hash), UNIQUE (event, sub)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS moves (
    event TEXT, sub BLOB, count INTEGER NOT NULL, until_ms INTEGER NOT NULL,
    PRIMARY KEY (event, sub)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    event TEXT, batch INTEGER, label TEXT NOT NULL, uses INTEGER NOT NULL, valid_from INTEGER,
    valid_until INTEGER, is_revoked INTEGER NOT NULL, PRIMARY KEY (event, batch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS codes (
    event TEXT, hash BLOB, batch INTEGER NOT NULL, uses_left INTEGER NOT NULL,
    is_revoked INTEGER NOT NULL, PRIMARY KEY (event, hash)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS codes_by_batch ON codes (event, batch);
CREATE TABLE IF NOT EXISTS grants (
    event TEXT, hash BLOB, sub BLOB, num INTEGER NOT NULL, batch INTEGER NOT NULL,
    PRIMARY KEY (event, hash, sub), UNIQUE (event, num)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS grants_by_batch ON grants (event, batch);
CREATE TABLE IF NOT EXISTS draws (
    event TEXT PRIMARY KEY, line INTEGER NOT NULL, secret BLOB NOT NULL, beacon TEXT NOT NULL,
    value BLOB, counts TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS suspicions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, sub BLOB NOT NULL,
    state TEXT NOT NULL, restored_at INTEGER, restored_by TEXT, why TEXT,
    until_ms INTEGER NOT NULL, suspicion TEXT NOT NULL, UNIQUE (event, sub));
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, entry TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_event ON entries (event, id);
CREATE INDEX IF NOT EXISTS entries_by_kind ON entries (json_extract(entry, '$.kind') = 'pace', id);
";

pub(super) fn execute(
    tx: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    tx.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(failed)
}

/// The next value of a counter: above the last one, and at least `floor`.
pub(super) fn count_up(tx: &Transaction<'_>, name: &str, floor: u64) -> Result<u64, StoreError> {
    tx.query_row(
        "INSERT INTO counters (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = max(value + 1, ?2) RETURNING value",
        params![name, int(floor)],
        |row| number_at(row, 0),
    )
    .map_err(failed)
}

/// A suspicion as it is read, its text not yet parsed.
pub(super) struct JudgedRow {
    judged: (u64, String, Option<u64>, Option<String>, Option<String>),
    suspicion: String,
}

impl JudgedRow {
    pub(super) fn parsed(self) -> Result<Judged, StoreError> {
        let (id, state, restored_at, restored_by, why) = self.judged;
        let state = parse("the state of a suspicion", &format!("\"{state}\""))?;
        let restored_at = restored_at.map(Timestamp::from_millis);
        let suspicion = parse("a suspicion", &self.suspicion)?;
        Ok(Judged { id, state, restored_at, restored_by, why, suspicion })
    }
}

pub(super) fn judged_row(row: &Row<'_>) -> rusqlite::Result<JudgedRow> {
    let restored_at = row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs);
    let judged = (number_at(row, 0)?, row.get(1)?, restored_at, row.get(3)?, row.get(4)?);
    Ok(JudgedRow { judged, suspicion: row.get(5)? })
}

pub(super) fn pass_row(row: &Row<'_>) -> rusqlite::Result<(EventId, PassRecord, bool)> {
    let at = |column| number_at(row, column).map(Timestamp::from_millis);
    let record = PassRecord {
        sub: Id128::from_bytes(row.get(1)?),
        jti: Id128::from_bytes(row.get(2)?),
        lane: lane_at(row, 3)?,
        num: number_at(row, 4)?,
        risk: risk_at(row, 5)?,
        generation: number_at(row, 6)?,
        first_at: at(7)?,
        renewed_at: at(8)?,
        exp: at(9)?,
        place_exp: at(10)?,
        has_returned: false, // kept apart, see `returns`
    };
    Ok((event_at(row, 0)?, record, row.get(11)?))
}

pub(super) fn event_at(row: &Row<'_>, column: usize) -> rusqlite::Result<EventId> {
    row.get::<_, String>(column)?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

pub(super) fn number_at(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn lane_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Lane> {
    let number: i64 = row.get(column)?;
    let lane = Lane::ALL.into_iter().find(|lane| lane_number(*lane) == number);
    lane.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn lane_number(lane: Lane) -> i64 {
    match lane {
        Lane::Priority => 0,
        Lane::Standard => 1,
        Lane::Suspect => 2,
    }
}

pub(super) fn risk_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Risk> {
    let number: i64 = row.get(column)?;
    let risk = [Risk::Low, Risk::Medium, Risk::High].into_iter();
    let risk = risk.into_iter().find(|risk| risk_number(*risk) == number);
    risk.ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}

pub(super) fn risk_number(risk: Risk) -> i64 {
    match risk {
        Risk::Low => 0,
        Risk::Medium => 1,
        Risk::High => 2,
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(failed)
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|source| StoreError::Unreadable { what, source: Arc::new(source) })
}

/// SQLite's integers are signed; ours never come near the end.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(Arc::from(cause.into()))
}
