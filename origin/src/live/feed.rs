//! What has happened on one event's map lately, cut into frames and kept once for all readers.
//!
//! Readers fetch: the feed only tells that there is something new, and each reader takes what it
//! has missed when its connection has room. So nothing is ever queued for anybody. Who has missed
//! so much that a snapshot is shorter gets the snapshot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::frame::{Plane, difference, encode_changes, encode_snapshot};
use super::mode::Mode;

/// Frames that a reader may resume from: four minutes of a busy sale.
pub const FRAMES_MAX: usize = 1024;

/// A frame in the forms in which it is sent, made once.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// What is known afterwards.
    pub seq: u64,
    /// How long the frame itself is.
    pub len: usize,
    /// As a WebSocket message, its header included.
    pub message: Bytes,
    /// As a server-sent event.
    pub event: Bytes,
}

impl Encoded {
    fn new(kind: &str, seq: u64, frame: &[u8]) -> Self {
        let data = STANDARD.encode(frame);
        let event = format!("id: {seq}\nevent: {kind}\ndata: {data}\n\n").into();
        let mut message = Vec::with_capacity(frame.len() + 10);
        let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        // Writing to memory does not fail; if it did, readers would get nothing and ask again.
        if header.format(frame.len() as u64, &mut message).is_ok() {
            message.extend_from_slice(frame);
        }
        Self { seq, len: frame.len(), message: message.into(), event }
    }
}

/// A level as it is told to readers.
#[must_use]
pub fn mode_event(mode: Mode) -> Bytes {
    format!("event: mode\ndata: {}\n\n", mode.label()).into()
}

/// What wakes readers.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// The level now.
    pub mode: Mode,
    /// When the last frame was cut.
    pub cut_at: Instant,
}

/// What a reader is to send next.
#[derive(Debug)]
pub enum Next {
    /// Nothing yet.
    Wait,
    /// These frames.
    Frames(Vec<Encoded>),
    /// All seats, because too much was missed.
    Snapshot(Encoded),
}

/// The frames of one event.
#[derive(Debug)]
pub struct Feed {
    inner: Mutex<Ring>,
    pulse: watch::Sender<Pulse>,
    readers: AtomicUsize,
}

#[derive(Debug)]
struct Ring {
    /// Each begins where the one before it ended; the first begins at `floor`.
    frames: VecDeque<Encoded>,
    floor: u64,
    seq: u64,
    plane: Plane,
    snapshot: Option<Encoded>,
}

impl Feed {
    /// Begins with the seats as they are at `seq`.
    #[must_use]
    pub fn new(seq: u64, plane: Plane, mode: Mode) -> Self {
        let frames = VecDeque::new();
        let ring = Ring { frames, floor: seq, seq, plane, snapshot: None };
        let (pulse, _) = watch::channel(Pulse { mode, cut_at: Instant::now() });
        Self { inner: Mutex::new(ring), pulse, readers: AtomicUsize::new(0) }
    }

    /// Cuts what has changed since the last frame into a new one, unless nothing has.
    pub fn cut(&self, seq: u64, plane: &Plane) -> bool {
        let mut ring = self.lock();
        let runs = difference(&ring.plane, plane);
        // Base and end of neighbours must meet, so a frame without seats is not only useless: a
        // reader who joined before it would take the next one for a gap.
        if runs.is_empty() || seq <= ring.seq {
            return false;
        }
        let bytes = encode_changes(ring.seq, seq, &runs);
        ring.frames.push_back(Encoded::new("changes", seq, &bytes));
        if ring.frames.len() > FRAMES_MAX
            && let Some(oldest) = ring.frames.pop_front()
        {
            ring.floor = oldest.seq;
        }
        ring.seq = seq;
        ring.plane.clone_from(plane);
        ring.snapshot = None;
        drop(ring);
        self.pulse.send_modify(|pulse| pulse.cut_at = Instant::now());
        true
    }

    /// Tells all readers another level.
    pub fn tell_mode(&self, mode: Mode) {
        self.pulse.send_if_modified(|pulse| {
            let is_other = pulse.mode != mode;
            pulse.mode = mode;
            is_other
        });
    }

    /// What somebody who knows the seats at `known` has missed; `None` knows nothing.
    #[must_use]
    pub fn after(&self, known: Option<u64>) -> Next {
        let mut ring = self.lock();
        let Some(known) = known.filter(|known| *known >= ring.floor) else {
            return Next::Snapshot(ring.snapshot());
        };
        let first = ring.frames.partition_point(|frame| frame.seq <= known);
        let missed = ring.frames.range(first..);
        let missed_bytes: usize = missed.clone().map(|frame| frame.len).sum();
        match missed.len() {
            0 => Next::Wait,
            1 => Next::Frames(missed.cloned().collect()),
            _ if missed_bytes > ring.plane.bytes().len() => Next::Snapshot(ring.snapshot()),
            _ => Next::Frames(missed.cloned().collect()),
        }
    }

    /// Joins the readers until the value is dropped.
    #[must_use]
    pub fn join(self: &Arc<Self>) -> Reading {
        self.readers.fetch_add(1, Ordering::AcqRel);
        Reading { pulse: self.pulse.subscribe(), feed: Arc::clone(self) }
    }

    /// How many read.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn snapshot(&mut self) -> Encoded {
        let Self { seq, plane, snapshot, .. } = self;
        let made = snapshot
            .get_or_insert_with(|| Encoded::new("snapshot", *seq, &encode_snapshot(*seq, plane)));
        made.clone()
    }
}

/// Somebody who reads a feed.
#[derive(Debug)]
pub struct Reading {
    feed: Arc<Feed>,
    pulse: watch::Receiver<Pulse>,
}

impl Reading {
    /// The feed.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What the last pulse told.
    pub fn pulse(&mut self) -> Pulse {
        *self.pulse.borrow_and_update()
    }

    /// Waits for the next pulse.
    pub async fn pulsed(&mut self) {
        if self.pulse.changed().await.is_err() {
            // The feed is gone only with its readers.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.feed.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Applied, Known, decode};
    use super::*;

    const SEATS: u32 = 800;

    fn plane(taken: &[u8]) -> Plane {
        let mut plane = Plane::empty(SEATS);
        plane.rewrite(|bytes| bytes[..taken.len()].copy_from_slice(taken));
        plane
    }

    fn feed() -> Feed {
        Feed::new(100, plane(&[]), Mode::Map)
    }

    fn seqs(next: Next) -> Vec<u64> {
        match next {
            Next::Wait => Vec::new(),
            Next::Frames(frames) => frames.iter().map(|frame| frame.seq).collect(),
            Next::Snapshot(snapshot) => vec![0, snapshot.seq],
        }
    }

    #[test]
    #[rustfmt::skip] // reads in columns
    fn a_reader_gets_what_it_has_missed_or_everything() {
        let feed = feed();
        assert!(feed.cut(110, &plane(&[1])));
        assert!(!feed.cut(115, &plane(&[1])), "nothing has changed");
        assert!(feed.cut(120, &plane(&[3])));
        assert_eq!(seqs(feed.after(None)),      [0, 120]); // 0 stands for a snapshot
        assert_eq!(seqs(feed.after(Some(99))),  [0, 120]); // before the first frame
        assert_eq!(seqs(feed.after(Some(100))), [110, 120]);
        assert_eq!(seqs(feed.after(Some(112))), [120], "between two frames");
        assert_eq!(seqs(feed.after(Some(120))), [0; 0]);
        assert_eq!(seqs(feed.after(Some(125))), [0; 0]);
    }

    #[test]
    fn the_ring_forgets_its_oldest_frame_and_then_sends_a_snapshot() {
        let feed = Feed::new(0, Plane::empty(80_000), Mode::Map);
        let mut flipped = Plane::empty(80_000);
        flipped.rewrite(|bytes| bytes[0] = 1);
        let planes = [Plane::empty(80_000), flipped];
        let last = FRAMES_MAX as u64 + 1;
        for seq in 1..=last {
            assert!(feed.cut(seq, &planes[(seq % 2) as usize]));
        }
        assert_eq!(seqs(feed.after(Some(0))), [0, last]);
        assert_eq!(seqs(feed.after(Some(1))).len(), FRAMES_MAX);
    }

    #[test]
    fn who_has_missed_more_than_a_snapshot_gets_the_snapshot() {
        let feed = feed();
        for seq in 1..=40 {
            assert!(feed.cut(100 + seq, &plane(&[seq as u8; 50])));
        }
        assert_eq!(seqs(feed.after(Some(100))), [0, 140], "40 frames are longer than 100 bytes");
        assert_eq!(seqs(feed.after(Some(138))).len(), 2);
    }

    #[test]
    fn events_carry_the_frames_and_their_number() {
        let feed = feed();
        feed.cut(107, &plane(&[0b1111]));
        let Next::Frames(frames) = feed.after(Some(100)) else { panic!("expected frames") };
        let event = std::str::from_utf8(&frames[0].event).unwrap();
        assert_eq!(event, "id: 107\nevent: changes\ndata: AWQHAAk=\n\n");
        let frame = STANDARD.decode("AWQHAAk=").unwrap();
        assert_eq!(frames[0].message, [&[0x82, 5], frame.as_slice()].concat(), "final, binary, 5");
        let mut known = Known { seq: 103, plane: plane(&[]) };
        let frame = decode(&frame, SEATS).unwrap();
        assert_eq!((known.apply(frame), known.plane), (Applied::Yes, plane(&[0b1111])));
    }
}
