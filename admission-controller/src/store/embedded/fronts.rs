//! Fronts, what the control law leaves to the next start, and draws.

use keys::{Beacon, Front, Timestamp};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::super::{Deed, DrawRecord, EntryKind, Given, Law, LineId, Published, StoreError};
use super::Embedded;
use super::review::note;
use super::rows::{execute, failed, int, json, lane_number, number_at, parse};

impl Embedded {
    pub(in crate::store) async fn put_fronts(
        &self,
        fronts: Vec<Published>,
    ) -> Result<(), StoreError> {
        let fronts: Vec<Front> = fronts.into_iter().map(|published| published.front).collect();
        self.run(move |_, tx| {
            // All or none: a refusal must leave nothing behind in the shared transaction.
            for front in &fronts {
                let newest: Option<(i64, i64)> = tx
                    .prepare_cached(
                        "SELECT epoch, seq FROM fronts WHERE event = ?
                         ORDER BY epoch DESC, seq DESC LIMIT 1",
                    )
                    .and_then(|mut query| {
                        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
                        query.query_row([front.aud.as_str()], read).optional()
                    })
                    .map_err(failed)?;
                if newest.is_some_and(|newest| newest >= (int(front.epoch), int(front.seq))) {
                    let (epoch, seq) = (front.epoch, front.seq);
                    return Err(StoreError::Superseded { event: front.aud.clone(), epoch, seq });
                }
            }
            for front in &fronts {
                let event = front.aud.as_str();
                execute(
                    tx,
                    "DELETE FROM fronts WHERE event = ? AND until_ms < ?",
                    params![event, int(front.t0.as_millis())],
                )?;
                execute(
                    tx,
                    "INSERT INTO fronts (event, epoch, seq, line, until_ms, front)
                     VALUES (?, ?, ?, ?, ?, ?)",
                    params![
                        event,
                        int(front.epoch),
                        int(front.seq),
                        int(front.line),
                        int(front.until.as_millis()),
                        json(front)?
                    ],
                )?;
                let opened = front.draw.as_ref().and_then(|draw| draw.opened.as_ref());
                for entry in &front.lanes {
                    // Numbers that are drawn among stand anywhere until the last of them is passed.
                    let is_drawing =
                        opened.is_some_and(|opened| entry.f0 < opened.counts[entry.lane.index()]);
                    if is_drawing {
                        continue;
                    }
                    execute(
                        tx,
                        "DELETE FROM gaps
                         WHERE event = ? AND line = ? AND lane = ? AND first + count <= ?",
                        params![event, int(front.line), lane_number(entry.lane), int(entry.f0)],
                    )?;
                }
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn keep_laws(&self, laws: Vec<Law>) -> Result<(), StoreError> {
        self.run(move |_, tx| {
            for law in laws {
                execute(
                    tx,
                    "INSERT OR REPLACE INTO laws (event, line, per_sec, called, at)
                     VALUES (?, ?, ?, ?, ?)",
                    params![
                        law.event.as_str(),
                        int(law.line),
                        law.per_sec,
                        int(law.called),
                        int(law.at.as_millis())
                    ],
                )?;
                execute(
                    tx,
                    "INSERT OR REPLACE INTO absent (event, line, shares) VALUES (?, ?, ?)",
                    params![law.event.as_str(), int(law.line), json(&law.noshow_shares)?],
                )?;
                execute(
                    tx,
                    "INSERT OR REPLACE INTO turns (event, line, marks) VALUES (?, ?, ?)",
                    params![law.event.as_str(), int(law.line), json(&law.marks)?],
                )?;
            }
            Ok(())
        })
        .await
    }

    pub(in crate::store) async fn law(&self, line: LineId) -> Result<Option<Law>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    // A database from before shares were learned has none, nor marks.
                    "SELECT per_sec, called, at, coalesce(shares, '[0,0,0]'),
                            coalesce(marks, '[]')
                     FROM laws LEFT JOIN absent USING (event, line)
                               LEFT JOIN turns USING (event, line)
                     WHERE event = ? AND line = ?",
                )
                .map_err(failed)?;
            let law = query.query_row(params![line.event.as_str(), int(line.line)], |row| {
                let law = Law {
                    event: line.event.clone(),
                    line: line.line,
                    per_sec: row.get(0)?,
                    called: number_at(row, 1)?,
                    noshow_shares: [0.0; 3],
                    marks: Vec::new(),
                    at: number_at(row, 2).map(Timestamp::from_millis)?,
                };
                Ok((law, row.get::<_, String>(3)?, row.get::<_, String>(4)?))
            });
            let Some((law, shares, marks)) = law.optional().map_err(failed)? else {
                return Ok(None);
            };
            let (noshow_shares, marks) = (parse("shares", &shares)?, parse("marks", &marks)?);
            Ok(Some(Law { noshow_shares, marks, ..law }))
        })
        .await
    }

    pub(in crate::store) async fn announce_draw(
        &self,
        line: LineId,
        beacon: Beacon,
        fresh_secret: [u8; 32],
    ) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |memory, tx| {
            if memory.line(&line).is_none() {
                return Ok(None);
            }
            if let Some(known) = read_draw(tx, &line)? {
                return Ok(Some(known));
            }
            execute(
                tx,
                "INSERT OR REPLACE INTO draws (event, line, secret, beacon, value, counts)
                 VALUES (?, ?, ?, ?, NULL, NULL)",
                params![line.event.as_str(), int(line.line), fresh_secret, json(&beacon)?],
            )?;
            Ok(Some(DrawRecord { secret: fresh_secret, beacon, value: None, counts: None }))
        })
        .await
    }

    pub(in crate::store) async fn draw(
        &self,
        line: LineId,
    ) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |_, tx| read_draw(tx, &line)).await
    }

    pub(in crate::store) async fn give_beacon(
        &self,
        line: LineId,
        value: Vec<u8>,
        deed: Deed,
    ) -> Result<Given, StoreError> {
        self.run(move |_, tx| {
            let Some(draw) = read_draw(tx, &line)? else { return Ok(Given::Missing) };
            match draw.beacon {
                Beacon::Operator { .. } => {}
                Beacon::None | Beacon::Drand { .. } => return Ok(Given::OtherKind),
            }
            if draw.counts.is_some() {
                return Ok(Given::Opened);
            }
            if draw.value.is_some() {
                return Ok(Given::Already);
            }
            execute(
                tx,
                "UPDATE draws SET value = ? WHERE event = ? AND line = ?",
                params![value, line.event.as_str(), int(line.line)],
            )?;
            note(tx, &line.event, EntryKind::Operator, deed)?;
            Ok(Given::Done)
        })
        .await
    }

    pub(in crate::store) async fn open_draw(
        &self,
        line: LineId,
        value: Vec<u8>,
    ) -> Result<Option<DrawRecord>, StoreError> {
        self.run(move |memory, tx| {
            let Some(room) = memory.line(&line) else { return Ok(None) };
            let Some(draw) = read_draw(tx, &line)? else { return Ok(None) };
            if draw.counts.is_some() {
                return Ok(Some(draw));
            }
            let value = draw.value.unwrap_or(value);
            execute(
                tx,
                "UPDATE draws SET value = ?, counts = ? WHERE event = ? AND line = ?",
                params![value, json(&room.issued)?, line.event.as_str(), int(line.line)],
            )?;
            Ok(Some(DrawRecord { value: Some(value), counts: Some(room.issued), ..draw }))
        })
        .await
    }

    pub(in crate::store) async fn fronts(
        &self,
        line: LineId,
    ) -> Result<Vec<Published>, StoreError> {
        self.run(move |_, tx| {
            let mut query = tx
                .prepare_cached(
                    "SELECT front FROM fronts WHERE event = ? AND line = ? ORDER BY epoch, seq",
                )
                .map_err(failed)?;
            let rows = query
                .query_map(params![line.event.as_str(), int(line.line)], |row| {
                    row.get::<_, String>(0)
                })
                .map_err(failed)?;
            rows.map(|text| {
                let front = parse("a front", &text.map_err(failed)?)?;
                Ok(Published { front, sealed: None, told: None })
            })
            .collect()
        })
        .await
    }
}

fn read_draw(tx: &Transaction<'_>, line: &LineId) -> Result<Option<DrawRecord>, StoreError> {
    let mut query = tx
        .prepare_cached(
            "SELECT secret, beacon, value, counts FROM draws WHERE event = ? AND line = ?",
        )
        .map_err(failed)?;
    let read = |row: &Row<'_>| {
        let texts: (String, Option<String>) = (row.get(1)?, row.get(3)?);
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Option<Vec<u8>>>(2)?, texts))
    };
    let row = query
        .query_row(params![line.event.as_str(), int(line.line)], read)
        .optional()
        .map_err(failed)?;
    let Some((secret, value, (beacon, counts))) = row else { return Ok(None) };
    let counts = counts.map(|text| parse("the counts of a draw", &text)).transpose()?;
    Ok(Some(DrawRecord { secret, beacon: parse("a beacon", &beacon)?, value, counts }))
}
