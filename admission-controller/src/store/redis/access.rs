//! Access codes, and the numbers of the priority lane that were given for them.

use admission_api::{CodeBatch, NoPriority};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Lane, Timestamp};

use super::super::{
    Added, CODES_MAX, Deed, EntryKind, GRANTS_MAX, Grant, LineId, NewBatch, StoreError,
};
use super::calls::{Call, failed_text, json, number};
use super::review::{DEEDS_MAX, deed_entry, id_floor};
use super::{Redis, lock};

/// Codes in one call, so that no other waits long.
const CODES_AT_ONCE: usize = 500;
/// What `event.lua` tells of each batch.
const BATCH_PARTS: usize = 8;

impl Redis {
    pub(in crate::store) async fn add_codes(
        &self,
        line: LineId,
        batch: NewBatch,
        hashes: Vec<[u8; 32]>,
        deed: Deed,
    ) -> Result<Option<Added>, StoreError> {
        let floor = id_floor(&line.event, deed.at);
        let at = |at: Option<Timestamp>| at.map(|at| at.as_millis().to_string());
        let call = Call::kept("new_batch")
            .arg(line.line)
            .arg(at(batch.valid_from).unwrap_or_default())
            .arg(at(batch.valid_until).unwrap_or_default())
            .arg(batch.uses)
            .arg(batch.label)
            .arg(json(&deed_entry(&line.event, EntryKind::Operator, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        let mut reply = self.event(&line.event, call).await?;
        if !reply.is("ok") {
            return Ok(None);
        }
        let batch = reply.number()?;
        let mut added = 0;
        for some in hashes.chunks(CODES_AT_ONCE) {
            let mut call = Call::kept("put_codes").arg(line.line).arg(batch).arg(CODES_MAX);
            for hash in some {
                call = call.arg(URL_SAFE_NO_PAD.encode(hash));
            }
            let mut reply = self.event(&line.event, call).await?;
            if !reply.is("ok") {
                return Ok(None);
            }
            added += reply.number()?;
        }
        Ok(Some(Added { batch, added }))
    }

    pub(in crate::store) async fn code_batches(
        &self,
        line: LineId,
    ) -> Result<Vec<CodeBatch>, StoreError> {
        let reply = self.event(&line.event, Call::new("batches").arg(line.line)).await?;
        if !reply.is("ok") {
            return Ok(Vec::new());
        }
        let texts = reply.texts()?;
        texts.chunks_exact(BATCH_PARTS).map(|parts| batch(&line, parts)).collect()
    }

    pub(in crate::store) async fn revoke_batch(
        &self,
        line: LineId,
        batch: u64,
        deed: Deed,
    ) -> Result<bool, StoreError> {
        let call = Call::kept("revoke_batch").arg(line.line).arg(batch);
        self.revoke_codes(line, call, deed).await
    }

    pub(in crate::store) async fn revoke_code(
        &self,
        line: LineId,
        hash: [u8; 32],
        deed: Deed,
    ) -> Result<bool, StoreError> {
        let call = Call::kept("revoke_code").arg(line.line).arg(URL_SAFE_NO_PAD.encode(hash));
        self.revoke_codes(line, call, deed).await
    }

    async fn revoke_codes(&self, line: LineId, call: Call, deed: Deed) -> Result<bool, StoreError> {
        let floor = id_floor(&line.event, deed.at);
        let call = call
            .arg(json(&deed_entry(&line.event, EntryKind::Operator, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        Ok(self.event(&line.event, call).await?.is("ok"))
    }

    pub(in crate::store) async fn grant(
        &self,
        line: LineId,
        grant: Grant,
        now: Timestamp,
    ) -> Result<Result<u64, NoPriority>, StoreError> {
        let call = Call::kept("grant")
            .arg(line.line)
            .arg(grant.sub.to_string())
            .arg(URL_SAFE_NO_PAD.encode(grant.hash))
            .arg(if grant.is_ticket { "1" } else { "0" })
            .arg(grant.at_most.map(|most| most.to_string()).unwrap_or_default())
            .arg(now.as_millis())
            .arg(GRANTS_MAX);
        let mut reply = self.event(&line.event, call).await?;
        let why = match reply.word() {
            "ok" => {
                let num = reply.number()?;
                lock(&self.shared.known).see_number(&line, Lane::Priority, num);
                return Ok(Ok(num));
            }
            "place_used" => NoPriority::PlaceUsed,
            "unknown_code" => NoPriority::UnknownCode,
            "code_used" => NoPriority::CodeUsed,
            "code_revoked" => NoPriority::CodeRevoked,
            "code_not_yet" => NoPriority::CodeNotYet,
            "code_over" => NoPriority::CodeOver,
            "lane_full" => NoPriority::LaneFull,
            _ => NoPriority::PlaceRefused,
        };
        Ok(Err(why))
    }
}

fn batch(line: &LineId, parts: &[String]) -> Result<CodeBatch, StoreError> {
    let [id, from, until, uses, revoked, label, codes, used] = parts else {
        return Err(failed_text("a batch of codes that is none"));
    };
    let at = |text: &String| -> Result<Option<Timestamp>, StoreError> {
        if text.is_empty() { Ok(None) } else { number(text).map(Timestamp::from_millis).map(Some) }
    };
    Ok(CodeBatch {
        batch: number(id)?,
        event: line.event.clone(),
        label: label.clone(),
        uses: u32::try_from(number(uses)?).map_err(|_| failed_text("too many uses of a code"))?,
        valid_from: at(from)?,
        valid_until: at(until)?,
        is_revoked: revoked == "1",
        codes: number(codes)?,
        used: number(used)?,
    })
}
