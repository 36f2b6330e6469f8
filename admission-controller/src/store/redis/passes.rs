//! Claims, the passes that came of them, and their ends.

use admission_api::{EndReason, Revoked, Room};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{EventId, Id128, Lane, Place, Risk, Timestamp};

use super::super::{
    ComeBack, Counted, Deed, EntryKind, LineId, MOVED_MAX, PassId, Put, Redeem, Redeemed, RenewTo,
    Revocation, StoreError, TRANSFERS_MAX, Transfer, USED_FOR_SECS,
};
use super::calls::{Call, failed_text, json, number, parse};
use super::review::{DEEDS_MAX, deed_entry, id_floor};
use super::{Redis, lock};
use crate::claims::{Back, Claimed, Flag, Known, Lapsed, PassRecord};

/// Ends of passes are told for a day: no pass lives longer.
const REVOKED_FOR_SECS: u64 = 86_400;
/// A place of a room that we have not met lives no longer than this.
const PLACE_SECS_MAX: u64 = 7 * 86_400;
/// How many are forgotten in one call, so that no other waits long.
const SWEEP_AT_ONCE: u64 = 500;
/// Calls of one sweep; the rest is for the next.
const SWEEP_CALLS_MAX: usize = 20;
/// Deleted rooms are remembered until no place of them can still be shown.
const BURIED_AFTER_SECS: u64 = 8 * 86_400;

impl Redis {
    pub(in crate::store) async fn known(
        &self,
        line: LineId,
        sub: Id128,
        now: Timestamp,
    ) -> Result<Known, StoreError> {
        let call = Call::new("known").arg(line.line).arg(sub.to_string());
        let mut reply = self.event(&line.event, call).await?;
        if !reply.is("ok") {
            return Ok(Known::default());
        }
        let (pass, flag, moves) = (reply.text()?, reply.text()?, reply.number()?);
        let claimed = if pass.is_empty() { None } else { Some(claimed(sub, &pass, now)?) };
        let suspicion = if flag.is_empty() { None } else { Some(flag_from(&flag)?) };
        Ok(Known { claimed, suspicion, moves })
    }

    pub(in crate::store) async fn claim(
        &self,
        line: LineId,
        record: PassRecord,
        now: Timestamp,
    ) -> Result<Counted, StoreError> {
        let keep_until = record.place_exp.plus_secs(USED_FOR_SECS).max(record.exp);
        let call = Call::kept("claim")
            .arg(line.line)
            .arg(record.sub.to_string())
            .arg(now.as_millis())
            .arg(record.lane.index())
            .arg(record.num)
            .arg(written(&record))
            .arg(record.exp.as_millis())
            .arg(keep_until.as_millis());
        let mut reply = self.event(&line.event, call).await?;
        Ok(match reply.word() {
            "ok" => Counted::First,
            "repeat" => match self::record(record.sub, &reply.text()?)? {
                Some(record) => Counted::Repeat(record),
                None => Counted::Ended,
            },
            "ended" => Counted::Ended,
            "not_theirs" => Counted::NotTheirs,
            _ => Counted::NoLine,
        })
    }

    pub(in crate::store) async fn come_back(
        &self,
        line: LineId,
        to: ComeBack,
        now: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let call = Call::kept("come_back")
            .arg(line.line)
            .arg(to.sub.to_string())
            .arg(now.as_millis())
            .arg(to.lane.index())
            .arg(to.num)
            .arg(to.at_least)
            .arg(to.at_most)
            .arg(to.place_exp.plus_secs(USED_FOR_SECS).as_millis());
        let mut reply = self.event(&line.event, call).await?;
        if reply.is("ok") { reply.number().map(Some) } else { Ok(None) }
    }

    pub(in crate::store) async fn renew(
        &self,
        line: LineId,
        shown: PassRecord,
        to: RenewTo,
        now: Timestamp,
    ) -> Result<Option<PassRecord>, StoreError> {
        let sub = shown.sub;
        let keep_until = shown.place_exp.plus_secs(USED_FOR_SECS).max(shown.exp);
        let call = Call::new("renew")
            .arg(line.line)
            .arg(sub.to_string())
            .arg(shown.jti.to_string())
            .arg(to.generation)
            .arg(to.idle_secs.saturating_mul(1000))
            .arg(to.max_secs.saturating_mul(1000))
            .arg(now.as_millis())
            .arg(written(&shown))
            // One of another generation is not taken for what was lost.
            .arg(if shown.generation == to.generation { shown.exp.as_millis() } else { 0 })
            .arg(keep_until.as_millis());
        let mut reply = self.event(&line.event, call).await?;
        if reply.is("ok") { record(sub, &reply.text()?) } else { Ok(None) }
    }

    pub(in crate::store) async fn open_transfer(
        &self,
        line: LineId,
        transfer: Transfer,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let call = Call::kept("open_transfer")
            .arg(line.line)
            .arg(URL_SAFE_NO_PAD.encode(transfer.hash))
            .arg(transfer.place.sub.to_string())
            .arg(json(&transfer.place)?)
            .arg(now.as_millis())
            .arg(transfer.until.as_millis())
            .arg(TRANSFERS_MAX)
            .arg(MOVED_MAX);
        Ok(self.event(&line.event, call).await?.is("ok"))
    }

    pub(in crate::store) async fn redeem_transfer(
        &self,
        line: LineId,
        redeem: Redeem,
        now: Timestamp,
    ) -> Result<Option<Redeemed>, StoreError> {
        let place_secs = lock(&self.shared.known).place_secs(&line.event);
        let keep_secs = place_secs.unwrap_or(PLACE_SECS_MAX) + USED_FOR_SECS;
        let call = Call::kept("redeem_transfer")
            .arg(line.line)
            .arg(URL_SAFE_NO_PAD.encode(redeem.hash))
            .arg(redeem.asker)
            .arg(redeem.fresh_jti.to_string())
            .arg(now.as_millis())
            .arg(now.plus_secs(keep_secs).as_millis());
        let mut reply = self.event(&line.event, call).await?;
        if !reply.is("ok") {
            return Ok(None);
        }
        let place: Place = parse("a place to be moved", &reply.text()?)?;
        let (moves, is_inside) = (reply.number()?, !reply.text()?.is_empty());
        if is_inside {
            self.hear_ends(&line.event, now).await?;
        }
        Ok(Some(Redeemed { place: Place { moves, ..place }, is_inside }))
    }

    pub(in crate::store) async fn end(
        &self,
        line: LineId,
        pass: PassId,
        reason: EndReason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let from = now.plus_secs(reason.grace_secs());
        let call = Call::kept("finish")
            .arg(line.line)
            .arg(pass.sub.to_string())
            .arg(pass.jti.to_string())
            .arg(now.as_millis())
            .arg(from.as_millis());
        let has_ended = self.event(&line.event, call).await?.is("ok");
        if has_ended {
            // So that who asks us next is told, and not only after the next look.
            self.hear_ends(&line.event, now).await?;
        }
        Ok(has_ended)
    }

    pub(in crate::store) async fn revoke(
        &self,
        line: LineId,
        sub: Id128,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Revocation, StoreError> {
        let now = deed.at;
        let place_secs = lock(&self.shared.known).place_secs(&line.event);
        let place_secs = place_secs.unwrap_or(PLACE_SECS_MAX);
        let floor = id_floor(&line.event, now);
        let call = Call::kept("revoke")
            .arg(line.line)
            .arg(sub.to_string())
            .arg(now.as_millis())
            .arg(now.plus_secs(place_secs + USED_FOR_SECS).as_millis())
            .arg(json(&deed_entry(&line.event, kind, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        let revoked = match self.event(&line.event, call).await?.word() {
            "ended" => Revocation::Ended,
            "voided" => Revocation::Voided,
            "before" => Revocation::EndedBefore,
            _ => Revocation::NoLine,
        };
        if revoked == Revocation::Ended {
            self.hear_ends(&line.event, now).await?;
        }
        Ok(revoked)
    }

    pub(in crate::store) async fn revoke_all(
        &self,
        event: EventId,
        kind: EntryKind,
        deed: Deed,
    ) -> Result<Put, StoreError> {
        let floor = id_floor(&event, deed.at);
        let call = Call::kept("revoke_all")
            .arg(json(&deed_entry(&event, kind, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        let mut reply = self.event(&event, call).await?;
        if !reply.is("ok") {
            return Ok(Put::Missing);
        }
        let (line, pass_generation) = (reply.number()?, reply.number()?);
        let version = reply.number()?;
        let room = Room { spec: parse("a room", &reply.text()?)?, line, pass_generation, version };
        lock(&self.shared.known).see_room(&room);
        Ok(Put::Done(Box::new(room)))
    }

    /// Takes in what has ended at any controller since the last look.
    async fn hear_ends(&self, event: &EventId, now: Timestamp) -> Result<(), StoreError> {
        self.status_of(event, now).await.map(|_| ())
    }

    pub(in crate::store) fn revoked_after(
        &self,
        after: u64,
        now: Timestamp,
    ) -> (Vec<Revoked>, u64) {
        lock(&self.shared.revocations).after(after, now)
    }

    pub(in crate::store) async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let ended_before_us = now.minus_secs(REVOKED_FOR_SECS).as_millis().saturating_mul(1000);
        for event in self.events().await? {
            for _ in 0..SWEEP_CALLS_MAX {
                let call =
                    Call::new("sweep").arg(now.as_millis()).arg(ended_before_us).arg(SWEEP_AT_ONCE);
                match self.event(&event, call).await {
                    Ok(reply) if reply.is("more") => {}
                    // One that is not trusted is swept when it is again.
                    Ok(_) | Err(StoreError::Distrusted) => break,
                    Err(error) => return Err(error),
                }
            }
            let before = now.minus_secs(BURIED_AFTER_SECS).as_millis();
            if self.event(&event, Call::new("bury").arg(before)).await?.is("ok") {
                self.house(Call::new("remove").arg(event.as_str())).await?;
            }
        }
        Ok(())
    }
}

/// As `event.lua` reads it: `I|jti|lane|num|risk|generation|first|renewed|exp|place_exp|returned`.
fn written(record: &PassRecord) -> String {
    let PassRecord { sub: _, jti, lane, num, risk, generation, has_returned, .. } = record;
    let times = [record.first_at, record.renewed_at, record.exp, record.place_exp];
    let times = times.map(|at| at.as_millis().to_string()).join("|");
    let returned = u8::from(*has_returned);
    format!("I|{jti}|{}|{num}|{}|{generation}|{times}|{returned}", lane.index(), *risk as u8)
}

/// `None` for a pass that has ended.
fn record(sub: Id128, text: &str) -> Result<Option<PassRecord>, StoreError> {
    let parts: Vec<&str> = text.split('|').collect();
    let [
        "I",
        jti,
        lane,
        num,
        risk,
        generation,
        first_at,
        renewed_at,
        exp,
        place_exp,
        ref returned @ ..,
    ] = parts[..]
    else {
        return Ok(None);
    };
    let at = |text| number(text).map(Timestamp::from_millis);
    let risks = [Risk::Low, Risk::Medium, Risk::High].into_iter();
    let risk = risks.into_iter().find(|known| (*known as u8).to_string() == risk);
    Ok(Some(PassRecord {
        sub,
        jti: jti.parse().map_err(|_| failed_text("a pass without an id"))?,
        lane: lane_of(lane)?,
        num: number(num)?,
        risk: risk.ok_or_else(|| failed_text("a pass of no risk"))?,
        generation: number(generation)?,
        first_at: at(first_at)?,
        renewed_at: at(renewed_at)?,
        exp: at(exp)?,
        place_exp: at(place_exp)?,
        has_returned: *returned == ["1"],
    }))
}

/// What `event.lua` says of a visitor who has claimed.
fn claimed(sub: Id128, text: &str, now: Timestamp) -> Result<Claimed, StoreError> {
    let at = |text| number(text).map(Timestamp::from_millis);
    let parts: Vec<&str> = text.split('|').collect();
    Ok(match parts[..] {
        ["B", lane, num, position, had_pass] => Claimed::Back(Back {
            lane: lane_of(lane)?,
            num: number(num)?,
            position: number(position)?,
            had_pass: had_pass == "1",
        }),
        ["U", lane, num, first_at, exp] => {
            let (first_at, exp) = (at(first_at)?, at(exp)?);
            let lapsed = Lapsed { lane: lane_of(lane)?, num: number(num)?, first_at, exp };
            Claimed::Ended(Some(lapsed))
        }
        _ => match record(sub, text)? {
            None => Claimed::Ended(None),
            Some(record) if record.exp > now => Claimed::Inside(record),
            Some(record) => Claimed::Ended(record.lapsed()),
        },
    })
}

fn lane_of(index: &str) -> Result<Lane, StoreError> {
    let lane = Lane::ALL.into_iter().find(|known| known.index().to_string() == index);
    lane.ok_or_else(|| failed_text("a pass of no lane"))
}

/// `standard:suspect:restored`.
fn flag_from(text: &str) -> Result<Flag, StoreError> {
    let parts: Vec<&str> = text.split(':').collect();
    let [standard, suspect, restored] = parts[..] else {
        return Err(failed_text("a flag that is none"));
    };
    Ok(Flag {
        standard_num: number(standard)?,
        suspect_num: number(suspect)?,
        is_restored: restored == "1",
    })
}
