//! Was the journal of an embedded database torn? SQLite goes back to the last whole commit without
//! a word; we want to hear of it.
//!
//! The format is documented (<https://www.sqlite.org/fileformat2.html#walformat>): a header, then
//! frames of a page each, with a running checksum and the salt of this round. What follows with
//! another salt is left from an earlier round and means nothing. Frames that are whole but not
//! followed by a commit are a transaction that was never finished, which a kill leaves behind.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Either of two, of which the last bit says how checksums read their numbers.
const MAGIC: u32 = 0x377f_0682;
const PAGE_BYTES_MAX: usize = 65_536;

/// How a journal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// As it should.
    Whole,
    /// In the middle of a frame, or with a frame whose checksum is wrong.
    Torn {
        /// Frames before it.
        frames: u64,
    },
}

/// How the journal of a database ends, before anybody opens it.
///
/// # Errors
/// If it is there and cannot be read.
pub fn tail(database: &Path) -> io::Result<Tail> {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    match File::open(name) {
        Ok(file) => read(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Tail::Whole),
        Err(error) => Err(error),
    }
}

fn read(mut journal: impl Read) -> io::Result<Tail> {
    let mut header = [0; HEADER_BYTES];
    match fill(&mut journal, &mut header)? {
        0 => return Ok(Tail::Whole),
        HEADER_BYTES => {}
        _ => return Ok(Tail::Torn { frames: 0 }),
    }
    let is_big = number(&header, 0) & 1 == 1;
    let page_bytes = number(&header, 8) as usize;
    let mut sum = Sum::default();
    sum.add(&header[..24], is_big);
    let is_sound = number(&header, 0) & !1 == MAGIC
        && sum.is(&header[24..])
        && (512..=PAGE_BYTES_MAX).contains(&page_bytes);
    if !is_sound {
        return Ok(Tail::Torn { frames: 0 });
    }
    let salt = &header[16..24];
    let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
    for frames in 0.. {
        let got = fill(&mut journal, &mut frame)?;
        // Too short to tell is too short to be of this round.
        if got < 16 || frame[8..16] != *salt {
            return Ok(Tail::Whole);
        }
        if got < frame.len() {
            return Ok(Tail::Torn { frames });
        }
        sum.add(&frame[..8], is_big);
        sum.add(&frame[FRAME_HEADER_BYTES..], is_big);
        if !sum.is(&frame[16..24]) {
            return Ok(Tail::Torn { frames });
        }
    }
    Ok(Tail::Whole)
}

/// Reads as much as there is: how much that was.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match from.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The running checksum.
#[derive(Debug, Default)]
struct Sum(u32, u32);

impl Sum {
    fn add(&mut self, bytes: &[u8], is_big: bool) {
        for pair in bytes.chunks_exact(8) {
            let word = |at| {
                let word = number(pair, at);
                if is_big { word } else { word.swap_bytes() }
            };
            self.0 = self.0.wrapping_add(word(0)).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(word(4)).wrapping_add(self.0);
        }
    }

    /// Whether it is the one that is written down, which is always in big-endian.
    fn is(&self, written: &[u8]) -> bool {
        (number(written, 0), number(written, 4)) == (self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The journal of a database with a few commits, as SQLite writes it.
    fn journal() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sqlite");
        let database = Connection::open(&path).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database.execute_batch("CREATE TABLE a (b); INSERT INTO a VALUES (1)").unwrap();
        database.execute_batch("INSERT INTO a VALUES (2)").unwrap();
        std::fs::read(folder.path().join("a.sqlite-wal")).unwrap()
    }

    #[test]
    fn a_torn_journal_is_told_from_a_whole_one_and_from_what_an_earlier_round_left() {
        let whole = journal();
        let frames = ((whole.len() - HEADER_BYTES) / (FRAME_HEADER_BYTES + 4096)) as u64;
        assert!(frames >= 3, "{frames}");
        let last = Tail::Torn { frames: frames - 1 };
        let len = whole.len();
        check(&whole, Tail::Whole);
        check(&[], Tail::Whole);
        check(&whole[..len - 1], last);
        check(&whole[..20], Tail::Torn { frames: 0 });
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        };
        check(&changed(len - 1), last);
        check(&changed(HEADER_BYTES + FRAME_HEADER_BYTES), Tail::Torn { frames: 0 });
        check(&changed(5), Tail::Torn { frames: 0 });
        // The last frame has another salt: it was there before this round began.
        check(&changed(len - 4096 - FRAME_HEADER_BYTES + 8), Tail::Whole);
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Tail) {
        assert_eq!(read(bytes).unwrap(), expected);
    }
}
