//! Fronts, what the control law leaves to the next leader, and draws.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Beacon, Lane, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::{Deed, DrawRecord, EntryKind, Given, Law, LineId, Published, StoreError};
use super::calls::{Call, Reply, failed_text, json, parse};
use super::review::{DEEDS_MAX, deed_entry, id_floor};
use super::{Redis, lock};
use crate::turns::Mark;

/// A [`Law`] as it is kept.
#[derive(Serialize, Deserialize)]
struct LawText {
    per_sec: f64,
    called: u64,
    #[serde(default)] // a law from before shares were learned by lane has none
    noshow_shares: [f64; 3],
    #[serde(default)] // nor marks
    marks: Vec<Mark>,
    at: Timestamp,
}

impl Redis {
    pub(in crate::store) async fn resume(
        &self,
        line: LineId,
        epoch: u64,
    ) -> Result<Vec<Published>, StoreError> {
        let call = Call::kept("resume").arg(line.line).arg(epoch);
        let reply = self.event(&line.event, call).await?;
        if reply.is("superseded") {
            return Err(StoreError::Superseded { event: line.event, epoch, seq: 0 });
        }
        self.published(&line, reply)
    }

    pub(in crate::store) async fn fronts(
        &self,
        line: LineId,
    ) -> Result<Vec<Published>, StoreError> {
        let reply = self.event(&line.event, Call::new("fronts").arg(line.line)).await?;
        self.published(&line, reply)
    }

    /// In the order of publication, with what we have seen ourselves: no reader of ours is ever
    /// shown less than before.
    fn published(&self, line: &LineId, reply: Reply) -> Result<Vec<Published>, StoreError> {
        let texts = reply.texts()?;
        let fronts = texts.iter().map(|text| parse("a front", text));
        let mut fronts = fronts.collect::<Result<Vec<Published>, StoreError>>()?;
        fronts.sort_by_key(|published| (published.front.epoch, published.front.seq));
        let mut known = lock(&self.shared.known);
        for published in &fronts {
            known.see_front(line, published.clone());
        }
        let seen = known.fronts(line);
        // Of a line that no look has met yet we have seen nothing.
        Ok(if seen.is_empty() { fronts } else { seen })
    }

    pub(in crate::store) async fn put_fronts(
        &self,
        fronts: Vec<Published>,
    ) -> Result<(), StoreError> {
        let mut putting = tokio::task::JoinSet::new();
        for published in fronts {
            let redis = self.clone();
            putting.spawn(async move { redis.put_front(published).await });
        }
        let mut outcome = Ok(());
        while let Some(put) = putting.join_next().await {
            outcome = outcome.and(put.map_err(|_| StoreError::Closed)?);
        }
        // Of several fronts some may be out: what became of all together is not known.
        outcome.map_err(|error| match error {
            StoreError::Failed(_) | StoreError::Demoted => StoreError::Unanswered,
            error => error,
        })
    }

    async fn put_front(&self, published: Published) -> Result<(), StoreError> {
        let front = &published.front;
        let opened = front.draw.as_ref().and_then(|draw| draw.opened.as_ref());
        // Numbers that are drawn among stand anywhere until the last of them is passed.
        let passed = Lane::ALL.map(|lane| {
            let f0 = front.lane(lane).map_or(0, |entry| entry.f0);
            let is_drawing = opened.is_some_and(|opened| f0 < opened.counts[lane.index()]);
            if is_drawing { String::new() } else { f0.to_string() }
        });
        let call = Call::kept("put_front")
            .arg(front.line)
            .arg(front.epoch)
            .arg(front.seq)
            .arg(front.t0.as_millis())
            .arg(front.until.as_millis())
            .arg(json(&published)?)
            .arg(&passed[..]);
        let reply = self.event(&front.aud, call).await?;
        if reply.is("superseded") {
            let (event, epoch, seq) = (front.aud.clone(), front.epoch, front.seq);
            return Err(StoreError::Superseded { event, epoch, seq });
        }
        let line = LineId { event: front.aud.clone(), line: front.line };
        lock(&self.shared.known).see_front(&line, published);
        Ok(())
    }

    pub(in crate::store) async fn keep_laws(&self, laws: Vec<Law>) -> Result<(), StoreError> {
        for Law { event, line, per_sec, called, noshow_shares, marks, at } in laws {
            let law = json(&LawText { per_sec, called, noshow_shares, marks, at })?;
            self.event(&event, Call::new("keep_law").arg(line).arg(law)).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn law(&self, line: LineId) -> Result<Option<Law>, StoreError> {
        let mut reply = self.event(&line.event, Call::new("law").arg(line.line)).await?;
        let text = if reply.is("ok") { reply.text()? } else { String::new() };
        if text.is_empty() {
            return Ok(None);
        }
        let LawText { per_sec, called, noshow_shares, marks, at } = parse("a law", &text)?;
        let LineId { event, line } = line;
        Ok(Some(Law { event, line, per_sec, called, noshow_shares, marks, at }))
    }

    pub(in crate::store) async fn announce_draw(
        &self,
        line: LineId,
        beacon: Beacon,
        fresh_secret: [u8; 32],
    ) -> Result<Option<DrawRecord>, StoreError> {
        let call = Call::kept("announce_draw")
            .arg(line.line)
            .arg(URL_SAFE_NO_PAD.encode(fresh_secret))
            .arg(json(&beacon)?);
        self.drawn(line, call).await
    }

    pub(in crate::store) async fn draw(
        &self,
        line: LineId,
    ) -> Result<Option<DrawRecord>, StoreError> {
        let call = Call::new("draw").arg(line.line);
        self.drawn(line, call).await
    }

    pub(in crate::store) async fn open_draw(
        &self,
        line: LineId,
        value: Vec<u8>,
    ) -> Result<Option<DrawRecord>, StoreError> {
        let call = Call::kept("open_draw").arg(line.line).arg(value);
        self.drawn(line, call).await
    }

    async fn drawn(&self, line: LineId, call: Call) -> Result<Option<DrawRecord>, StoreError> {
        let reply = self.event(&line.event, call).await?;
        if !reply.is("ok") {
            return Ok(None);
        }
        let draw = record(reply)?;
        lock(&self.shared.known).see_draw(&line, &draw);
        Ok(Some(draw))
    }

    pub(in crate::store) async fn give_beacon(
        &self,
        line: LineId,
        value: Vec<u8>,
        deed: Deed,
    ) -> Result<Given, StoreError> {
        match self.draw(line.clone()).await?.map(|draw| draw.beacon) {
            None => return Ok(Given::Missing),
            // What was announced stays, so this is still so at the next call.
            Some(Beacon::None | Beacon::Drand { .. }) => return Ok(Given::OtherKind),
            Some(Beacon::Operator { .. }) => {}
        }
        let floor = id_floor(&line.event, deed.at);
        let call = Call::kept("give_beacon")
            .arg(line.line)
            .arg(value)
            .arg(json(&deed_entry(&line.event, EntryKind::Operator, deed))?)
            .arg(floor)
            .arg(DEEDS_MAX);
        Ok(match self.event(&line.event, call).await?.word() {
            "ok" => Given::Done,
            "opened" => Given::Opened,
            "already" => Given::Already,
            _ => Given::Missing,
        })
    }
}

fn record(mut reply: Reply) -> Result<DrawRecord, StoreError> {
    let secret = URL_SAFE_NO_PAD.decode(reply.text()?).ok().and_then(|s| s.try_into().ok());
    let secret = secret.ok_or_else(|| failed_text("a secret that is none"))?;
    let beacon = parse("a beacon", &reply.text()?)?;
    let has_value = !reply.text()?.is_empty();
    let value = Some(reply.bytes()?).filter(|_| has_value);
    let counts = Some(reply.text()?).filter(|text| !text.is_empty());
    let counts = counts.map(|text| parse("the counts of a draw", &text)).transpose()?;
    Ok(DrawRecord { secret, beacon, value, counts })
}
