//! Is this where somebody can be reached, and in which language?

use super::problem::Refused;

/// RFC 5321.
const EMAIL_BYTES_MAX: usize = 254;
/// RFC 5646 recommends room for this much.
const LOCALE_BYTES_MAX: usize = 35;

/// Refuses what is no mail address, no number, or no language tag; what is absent is fine.
pub fn check(
    email: Option<&str>,
    phone: Option<&str>,
    locale: Option<&str>,
) -> Result<(), Refused> {
    if !email.is_none_or(is_address) {
        return Err(Refused::invalid("email is not an address like name@example.org"));
    }
    if !phone.is_none_or(is_number) {
        return Err(Refused::invalid("phone is not an E.164 number like +15550100100"));
    }
    if !locale.is_none_or(is_locale) {
        return Err(Refused::invalid("locale is not a language tag like de-AT"));
    }
    Ok(())
}

fn is_address(email: &str) -> bool {
    let (user, host) = email.split_once('@').unwrap_or(("", ""));
    email.len() <= EMAIL_BYTES_MAX
        && !user.is_empty()
        && !host.is_empty()
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn is_number(phone: &str) -> bool {
    let digits = phone.strip_prefix('+').unwrap_or("");
    (7..=15).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
}

fn is_locale(locale: &str) -> bool {
    (2..=LOCALE_BYTES_MAX).contains(&locale.len())
        && locale.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
