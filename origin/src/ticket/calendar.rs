//! What goes into the buyer's calendar? One entry for the event (RFC 5545). Nothing in it depends
//! on when it was asked for, so a calendar that has it already changes nothing.

use keys::{Id128, Timestamp};

use super::number;

/// How long the entry lasts, in seconds: an event does not say when it ends.
const LASTS_SECS: u64 = 2 * 3600;
/// Longest line, in bytes without its end.
const LINE_BYTES_MAX: usize = 75;

/// An event in a calendar.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The order.
    pub order: Id128,
    /// What.
    pub title: &'a str,
    /// When.
    pub starts_at: Timestamp,
    /// When the order was confirmed.
    pub sold_at: Timestamp,
    /// Where.
    pub place: String,
    /// Which seats.
    pub seats: String,
}

impl Entry<'_> {
    /// The file.
    #[must_use]
    pub fn ics(&self) -> String {
        let lines = [
            "BEGIN:VCALENDAR".to_owned(),
            "VERSION:2.0".to_owned(),
            "PRODID:-//Waiting Room//Origin//EN".to_owned(),
            "BEGIN:VEVENT".to_owned(),
            format!("UID:{}@waiting-room", number(self.order)),
            format!("DTSTAMP:{}", utc(self.sold_at)),
            format!("DTSTART:{}", utc(self.starts_at)),
            format!("DTEND:{}", utc(self.starts_at.plus_secs(LASTS_SECS))),
            format!("SUMMARY:{}", escaped(self.title)),
            format!("LOCATION:{}", escaped(&self.place)),
            format!("DESCRIPTION:{}", escaped(&self.seats)),
            "END:VEVENT".to_owned(),
            "END:VCALENDAR".to_owned(),
        ];
        lines.iter().map(|line| folded(line)).collect()
    }
}

fn utc(at: Timestamp) -> String {
    let secs = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | ';' | ',' => escaped.extend(['\\', letter]),
            '\n' => escaped.push_str("\\n"),
            letter if letter.is_control() => {}
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A line with its end, continued on further lines that begin with a space.
fn folded(line: &str) -> String {
    let mut folded = String::with_capacity(line.len() + 4);
    let mut len_bytes = 0;
    for letter in line.chars() {
        if len_bytes + letter.len_utf8() > LINE_BYTES_MAX {
            folded.push_str("\r\n ");
            len_bytes = 1;
        }
        folded.push(letter);
        len_bytes += letter.len_utf8();
    }
    folded.push_str("\r\n");
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calendar_entry_keeps_to_its_lines_whatever_the_title_says() {
        let entry = Entry {
            order: Id128::from_bytes([7; 16]),
            title: "Überraschung;\r\nBEGIN:VALARM, \\ und ein sehr langer Name für ein Konzert, 你好你好你好",
            starts_at: Timestamp::from_secs(1_784_487_600),
            sold_at: Timestamp::from_secs(1_784_000_000),
            place: "New York New Jersey Stadium, East Rutherford".into(),
            seats: "104-C-12\n104-C-13".into(),
        };
        let file = entry.ics();
        assert!(file.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX), "{file}");
        let unfolded = file.replace("\r\n ", "");
        assert!(unfolded.contains("DTSTART:20260719T190000Z\r\n"), "{file}");
        assert!(unfolded.contains("SUMMARY:Überraschung\\;\\nBEGIN:VALARM\\, \\\\ und"), "{file}");
        assert!(unfolded.contains("DESCRIPTION:104-C-12\\n104-C-13\r\n"), "{file}");
        assert_eq!(unfolded.matches("\r\nBEGIN:").count(), 1, "{file}");
    }
}
