//! Codes that people read from one screen and type at another.
//!
//! Only their hashes are kept, together with what they are for: whoever reads the store has no code.

use std::fmt;

use keys::{EventId, Ticket};
use sha2::{Digest as _, Sha256};

/// Letters and digits of which none looks like another.
const ALPHABET: &[u8; 31] = b"23456789ABCDEFGHJKMNPQRSTUVWXYZ";
/// A code in groups of so many.
const GROUP: usize = 4;

/// What a code is for: the same text is another code for another purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Moves a place to another device.
    Transfer,
    /// Opens the priority lane.
    Access,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::Transfer => "transfer",
            Self::Access => "access",
        }
    }
}

/// A code in its one spelling. Prints as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(***)")
    }
}

impl Code {
    /// A random one of this many characters.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random(chars: usize) -> Result<Self, getrandom::Error> {
        let mut text = String::with_capacity(chars);
        while text.len() < chars {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)?;
            // Bytes that would make some characters likelier than others are thrown away.
            let fair = bytes.iter().filter(|byte| usize::from(**byte) < 8 * ALPHABET.len());
            let chosen = fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            text.extend(chosen.take(chars - text.len()));
        }
        Ok(Self(text))
    }

    /// What somebody typed: case, spaces and dashes do not matter. `None` if it cannot be a code.
    #[must_use]
    pub fn typed(text: &str) -> Option<Self> {
        let text: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .map(|c| c.to_ascii_uppercase())
            .take(65)
            .collect();
        let is_code =
            (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_code.then_some(Self(text))
    }

    /// As people read it, in groups.
    #[must_use]
    pub fn shown(&self) -> String {
        let groups = self.0.as_bytes().chunks(GROUP).map(String::from_utf8_lossy);
        groups.collect::<Vec<_>>().join("-")
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self, purpose: Purpose, event: &EventId, line: u64) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let line = line.to_string();
        for part in ["waiting-room code v1", purpose.label(), event.as_str(), &line, &self.0] {
            hasher.update(part.as_bytes());
            hasher.update([0]);
        }
        hasher.finalize().into()
    }
}

/// What is kept of a ticket that has opened the priority lane: with it, it does so once.
#[must_use]
pub fn ticket_hash(ticket: &Ticket, event: &EventId, line: u64) -> [u8; 32] {
    let text = format!("{}:{}", ticket.aud, ticket.sub);
    Code(text).hash(Purpose::Access, event, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_was_shown_in_any_spelling() {
        let code = Code::random(8).unwrap();
        let shown = code.shown();
        assert_eq!(shown.len(), 9);
        assert_eq!(Code::typed(&shown), Some(code.clone()));
        assert_eq!(Code::typed(&format!(" {} ", shown.to_lowercase())), Some(code.clone()));
        assert_eq!(format!("{code:?}"), "Code(***)");
        for none in ["", "abc", "äöüß-1234", "1234_5678", &"A".repeat(65)] {
            assert_eq!(Code::typed(none), None, "{none}");
        }
    }

    #[test]
    fn each_character_is_as_likely_as_any_other() {
        let text = Code::random(31_000).unwrap().0;
        for letter in ALPHABET {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((850..1150).contains(&count), "{} {count}", char::from(*letter));
        }
    }

    #[test]
    fn a_code_is_good_for_one_event_and_line() {
        let code = Code::typed("ABCD-2345").unwrap();
        let event = |name: &str| name.parse::<EventId>().unwrap();
        let hash = |name, line| code.hash(Purpose::Transfer, &event(name), line);
        assert_eq!(hash("e", 1), hash("e", 1));
        assert_ne!(hash("e", 1), hash("e", 2));
        assert_ne!(hash("e", 1), hash("f", 1));
        assert_ne!(hash("e", 1), code.hash(Purpose::Access, &event("e"), 1));
    }
}
