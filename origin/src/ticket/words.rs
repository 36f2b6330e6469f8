//! In which words do we speak to a buyer? English, German, Spanish or French.
//!
//! Documents and messages take their words from here, so that a language is one more column and
//! not a hunt. Dates are the venue's own; amounts have the currency's code, because a sign alone
//! stands for twenty currencies.

use jiff::civil::DateTime;

/// A language that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English, and whoever's language we do not write.
    #[default]
    English,
    /// German.
    German,
    /// Spanish.
    Spanish,
    /// French.
    French,
}

/// The words on a ticket.
#[derive(Debug, Clone, Copy)]
pub struct TicketWords {
    /// What it is.
    pub ticket: &'static str,
    /// `1 of 4`.
    pub of: &'static str,
    /// Where to enter.
    pub gate: &'static str,
    /// The block.
    pub block: &'static str,
    /// The row.
    pub row: &'static str,
    /// The seat.
    pub seat: &'static str,
    /// What it cost.
    pub price: &'static str,
    /// The order's number.
    pub order: &'static str,
    /// Who bought it.
    pub name: &'static str,
    /// The ticket's own number.
    pub number: &'static str,
    /// The clocks there.
    pub local_time: &'static str,
    /// What to do with the code.
    pub show: &'static str,
    /// What holds.
    pub terms: &'static str,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::English, Self::German, Self::Spanish, Self::French];

    /// The language of a locale like `de-AT`; English for all that we do not write.
    #[must_use]
    pub fn of(locale: &str) -> Self {
        let spoken = locale.split(['-', '_']).next().unwrap_or_default();
        let known =
            Self::ALL.into_iter().find(|language| spoken.eq_ignore_ascii_case(language.tag()));
        known.unwrap_or_default()
    }

    /// Its BCP 47 tag.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Spanish => "es",
            Self::French => "fr",
        }
    }

    /// The words on a ticket.
    #[must_use]
    pub const fn ticket_words(self) -> &'static TicketWords {
        match self {
            Self::English => &TicketWords {
                ticket: "Ticket",
                of: "of",
                gate: "Gate",
                block: "Block",
                row: "Row",
                seat: "Seat",
                price: "Price",
                order: "Order",
                name: "Name",
                number: "Ticket number",
                local_time: "local time",
                show: "Show this code at the entrance, on paper or on your phone.",
                terms: "Admits one person, once. Whoever shows the code first enters, so keep it to \
                        yourself. A refunded ticket is void.",
            },
            Self::German => &TicketWords {
                ticket: "Ticket",
                of: "von",
                gate: "Eingang",
                block: "Block",
                row: "Reihe",
                seat: "Platz",
                price: "Preis",
                order: "Bestellung",
                name: "Name",
                number: "Ticketnummer",
                local_time: "Ortszeit",
                show: "Zeigen Sie diesen Code am Eingang, auf Papier oder auf dem Telefon.",
                terms: "Gilt einmal für eine Person. Wer den Code zuerst zeigt, tritt ein; behalten \
                        Sie ihn daher für sich. Ein erstattetes Ticket ist ungültig.",
            },
            Self::Spanish => &TicketWords {
                ticket: "Entrada",
                of: "de",
                gate: "Puerta",
                block: "Bloque",
                row: "Fila",
                seat: "Asiento",
                price: "Precio",
                order: "Pedido",
                name: "Nombre",
                number: "Número de entrada",
                local_time: "hora local",
                show: "Muestre este código en el acceso, en papel o en el teléfono.",
                terms: "Válida para una persona, una sola vez. Entra quien muestre primero el código: \
                        no lo comparta. Una entrada reembolsada no es válida.",
            },
            Self::French => &TicketWords {
                ticket: "Billet",
                of: "sur",
                gate: "Porte",
                block: "Bloc",
                row: "Rang",
                seat: "Place",
                price: "Prix",
                order: "Commande",
                name: "Nom",
                number: "Numéro de billet",
                local_time: "heure locale",
                show: "Présentez ce code à l’entrée, sur papier ou sur votre téléphone.",
                terms: "Valable une fois, pour une personne. Le premier qui montre le code entre : \
                        gardez-le pour vous. Un billet remboursé n’est plus valable.",
            },
        }
    }

    const fn months(self) -> [&'static str; 12] {
        match self {
            Self::English => [
                "January",
                "February",
                "March",
                "April",
                "May",
                "June",
                "July",
                "August",
                "September",
                "October",
                "November",
                "December",
            ],
            Self::German => [
                "Januar",
                "Februar",
                "März",
                "April",
                "Mai",
                "Juni",
                "Juli",
                "August",
                "September",
                "Oktober",
                "November",
                "Dezember",
            ],
            Self::Spanish => [
                "enero",
                "febrero",
                "marzo",
                "abril",
                "mayo",
                "junio",
                "julio",
                "agosto",
                "septiembre",
                "octubre",
                "noviembre",
                "diciembre",
            ],
            Self::French => [
                "janvier",
                "février",
                "mars",
                "avril",
                "mai",
                "juin",
                "juillet",
                "août",
                "septembre",
                "octobre",
                "novembre",
                "décembre",
            ],
        }
    }

    const fn weekdays(self) -> [&'static str; 7] {
        match self {
            Self::English => {
                ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
            }
            Self::German => {
                ["Montag", "Dienstag", "Mittwoch", "Donnerstag", "Freitag", "Samstag", "Sonntag"]
            }
            Self::Spanish => {
                ["lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"]
            }
            Self::French => {
                ["lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche"]
            }
        }
    }

    /// The day of a local time.
    #[must_use]
    pub fn day(self, at: DateTime) -> String {
        let index = |number: i8| usize::try_from(number - 1).unwrap_or_default();
        let month = self.months()[index(at.month()) % 12];
        let weekday = self.weekdays()[index(at.weekday().to_monday_one_offset()) % 7];
        let (day, year) = (at.day(), at.year());
        match self {
            Self::English => format!("{weekday}, {day} {month} {year}"),
            Self::German => format!("{weekday}, {day}. {month} {year}"),
            Self::Spanish => format!("{weekday}, {day} de {month} de {year}"),
            Self::French => format!("{weekday} {day} {month} {year}"),
        }
    }

    /// The time of a local time.
    #[must_use]
    pub fn clock(self, at: DateTime) -> String {
        let (hour, minute) = (at.hour(), at.minute());
        match self {
            Self::English | Self::Spanish => format!("{hour:02}:{minute:02}"),
            Self::German => format!("{hour:02}:{minute:02} Uhr"),
            Self::French => format!("{hour:02} h {minute:02}"),
        }
    }

    /// An amount of minor units.
    #[must_use]
    pub fn money(self, amount: u64, currency: &str) -> String {
        let digits = minor_digits(currency);
        let unit = 10_u64.pow(digits);
        let (group, point) = match self {
            Self::English => (',', '.'),
            Self::German | Self::Spanish => ('.', ','),
            Self::French => ('\u{a0}', ','),
        };
        let whole = (amount / unit).to_string();
        let mut grouped = String::new();
        for (at, digit) in whole.char_indices() {
            if at > 0 && (whole.len() - at).is_multiple_of(3) {
                grouped.push(group);
            }
            grouped.push(digit);
        }
        if digits > 0 {
            let width = digits as usize;
            grouped.push_str(&format!("{point}{:0width$}", amount % unit));
        }
        match self {
            Self::English => format!("{currency} {grouped}"),
            _ => format!("{grouped} {currency}"),
        }
    }
}

/// Digits behind the point (ISO 4217); two for all that are not listed.
fn minor_digits(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// The clocks there, from RFC 3339 with or without an offset.
#[must_use]
pub fn local(starts_at_local: &str) -> Option<DateTime> {
    // The offset says how far from UTC the clocks are, not what they show.
    starts_at_local.get(..19).unwrap_or(starts_at_local).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn dates_and_amounts_read_as_people_write_them() {
        //    locale     day                              clock        amount
        check("en-GB",  "Sunday, 19 July 2026",           "15:00",     "USD 1,234,567.05");
        check("de",     "Sonntag, 19. Juli 2026",         "15:00 Uhr", "1.234.567,05 USD");
        check("es_MX",  "domingo, 19 de julio de 2026",   "15:00",     "1.234.567,05 USD");
        check("FR-fr",  "dimanche 19 juillet 2026",       "15 h 00",   "1\u{a0}234\u{a0}567,05 USD");
        check("tlh",    "Sunday, 19 July 2026",           "15:00",     "USD 1,234,567.05");
    }

    #[track_caller]
    fn check(locale: &str, day: &str, clock: &str, amount: &str) {
        let (language, at) = (Language::of(locale), local("2026-07-19T15:00:00-04:00").unwrap());
        assert_eq!((language.day(at).as_str(), language.clock(at).as_str()), (day, clock));
        assert_eq!(language.money(123_456_705, "USD"), amount, "{locale}");
    }

    #[test]
    fn a_currency_has_as_many_digits_as_it_has() {
        let money = |amount, currency| Language::English.money(amount, currency);
        assert_eq!(money(12_000, "JPY"), "JPY 12,000");
        assert_eq!(money(12_345, "KWD"), "KWD 12.345");
        assert_eq!(money(7, "EUR"), "EUR 0.07");
    }
}
