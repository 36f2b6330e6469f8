//! What does an order cost? Prices, fees and tax, in whole minor units of one currency.
//!
//! The terms that an event sells under are written down with each hold, so what was promised is
//! what is charged, whatever the operator changes meanwhile.
//!
//! The rounding rule: tax is counted once an order, on the sum of prices and fees, and rounded
//! half up to a whole minor unit. Tax that is included in the prices is the part of that sum that
//! belongs to the state; tax that is not is put on top.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The active codes of ISO 4217 that somebody can pay with: no funds, metals or test codes.
const CODES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB \
    BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB \
    EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD \
    JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP \
    MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON \
    RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP \
    TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";
/// Highest tax rate, in hundredths of a percent: 100 %.
const BASIS_POINTS_MAX: u32 = 10_000;
/// Highest fee, in minor units: enough for any ticket, and no sum of them overflows.
const FEE_MAX: u64 = 1_000_000_000;

/// A currency by its ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Not a currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("currency {0:?} is not an ISO 4217 code in upper case, like USD")]
pub struct NotACurrency(String);

impl Currency {
    /// The dollar of the United States.
    pub const USD: Self = Self(*b"USD");

    /// The code.
    #[must_use]
    pub fn code(&self) -> &str {
        // The constructor took it from ASCII text.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = NotACurrency;

    fn from_str(text: &str) -> Result<Self, NotACurrency> {
        let is_code = CODES.split_whitespace().any(|code| code == text);
        let code = text.as_bytes().try_into().ok().filter(|_| is_code);
        code.map(Self).ok_or_else(|| NotACurrency(text.chars().take(16).collect()))
    }
}

impl TryFrom<String> for Currency {
    type Error = NotACurrency;
    fn try_from(text: String) -> Result<Self, NotACurrency> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What an event adds to the price of its seats, and in which currency it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TermsFile")]
pub struct Terms {
    /// Money is counted in its minor units.
    pub currency: Currency,
    /// For each ticket.
    pub ticket_fee: u64,
    /// For each order.
    pub order_fee: u64,
    /// Tax in hundredths of a percent.
    pub tax_basis_points: u32,
    /// Whether prices and fees have the tax in them already.
    pub is_tax_included: bool,
}

impl Default for Terms {
    /// US dollars, no fees, no tax.
    fn default() -> Self {
        let currency = Currency::USD;
        let (ticket_fee, order_fee, tax_basis_points) = (0, 0, 0);
        Self { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included: true }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TermsFile {
    currency: Currency,
    ticket_fee: u64,
    order_fee: u64,
    tax_basis_points: u32,
    is_tax_included: bool,
}

impl Default for TermsFile {
    fn default() -> Self {
        let Terms { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included } =
            Terms::default();
        Self { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included }
    }
}

/// Terms that do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {found}, expected at most {max}")]
pub struct TermsError {
    key: &'static str,
    found: u64,
    max: u64,
}

impl TryFrom<TermsFile> for Terms {
    type Error = TermsError;

    fn try_from(file: TermsFile) -> Result<Self, TermsError> {
        let TermsFile { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included } = file;
        Self { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included }.checked()
    }
}

impl Terms {
    /// These terms, if no sum can overflow with them.
    ///
    /// # Errors
    /// What is too high.
    pub fn checked(self) -> Result<Self, TermsError> {
        let Self { ticket_fee, order_fee, tax_basis_points, .. } = self;
        let bounds = [
            ("ticket_fee", ticket_fee, FEE_MAX),
            ("order_fee", order_fee, FEE_MAX),
            ("tax_basis_points", u64::from(tax_basis_points), u64::from(BASIS_POINTS_MAX)),
        ];
        if let Some((key, found, max)) = bounds.into_iter().find(|(_, found, max)| found > max) {
            return Err(TermsError { key, found, max });
        }
        Ok(self)
    }
}

/// What an order costs, and of what that is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bill {
    /// All of it is in this currency.
    pub currency: Currency,
    /// The seats.
    pub tickets: u64,
    /// Fees for the tickets and for the order.
    pub fees: u64,
    /// Tax, in the sum of the two above or on top of it.
    pub tax: u64,
    /// Whether it is in it.
    pub is_tax_included: bool,
    /// What is charged.
    pub total: u64,
}

impl Terms {
    /// Whether they are those of an event that says nothing.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What seats at these prices cost.
    #[must_use]
    pub fn bill(&self, prices: &[u64]) -> Bill {
        let count = prices.len() as u64;
        let tickets = prices.iter().fold(0, |sum: u64, price| sum.saturating_add(*price));
        let order_fee = if count == 0 { 0 } else { self.order_fee };
        let fees = self.ticket_fee.saturating_mul(count).saturating_add(order_fee);
        let sum = tickets.saturating_add(fees);
        let points = self.tax_basis_points;
        let of = if self.is_tax_included { BASIS_POINTS_MAX + points } else { BASIS_POINTS_MAX };
        let tax = half_up(u128::from(sum) * u128::from(points), u128::from(of));
        let total = if self.is_tax_included { sum } else { sum.saturating_add(tax) };
        let (currency, is_tax_included) = (self.currency, self.is_tax_included);
        Bill { currency, tickets, fees, tax, is_tax_included, total }
    }
}

/// A quotient, rounded half up.
fn half_up(dividend: u128, divisor: u128) -> u64 {
    u64::try_from((2 * dividend + divisor) / (2 * divisor)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // reads in columns
    fn fees_and_tax_are_added_up_in_whole_units_and_rounded_half_up() {
        //    prices            ticket  order  tax    included   tickets  fees  tax  total
        check(&[1000, 2000],        0,    0,    0,  true,      (3000,    0,    0,  3000));
        check(&[1000, 2000],      150,  200,    0,  true,      (3000,  500,    0,  3500));
        check(&[1000],              0,    0, 1900,  false,     (1000,    0,  190,  1190));
        check(&[1190],              0,    0, 1900,  true,      (1190,    0,  190,  1190));
        check(&[1000],            100,   50,  725,  false,     (1000,  150,   83,  1233)); // 83.375
        check(&[  10],              0,    0,  500,  false,     (  10,    0,    1,    11)); // 0.5 goes up
        check(&[   9],              0,    0,  500,  false,     (   9,    0,    0,     9)); // 0.45 does not
        check(&[   3,    3,    3],  0,    0,  500,  false,     (   9,    0,    0,     9)); // once an order
        check(&[  21],              0,    0,  500,  true,      (  21,    0,    1,    21));
        check(&[],                100,  100, 1900,  false,     (   0,    0,    0,     0));
        check(&[u64::MAX],          1,    0,    0,  true,      (u64::MAX, 1,   0,  u64::MAX));
    }

    #[track_caller]
    fn check(
        prices: &[u64],
        ticket_fee: u64,
        order_fee: u64,
        tax_basis_points: u32,
        is_tax_included: bool,
        expected: (u64, u64, u64, u64),
    ) {
        let terms = Terms {
            currency: Currency::USD,
            ticket_fee,
            order_fee,
            tax_basis_points,
            is_tax_included,
        };
        let Bill { tickets, fees, tax, total, .. } = terms.bill(prices);
        assert_eq!((tickets, fees, tax, total), expected, "{prices:?} under {terms:?}");
    }

    #[test]
    fn a_currency_is_one_that_somebody_can_pay_with() {
        for code in ["USD", "EUR", "JPY", "KWD"] {
            assert_eq!(code.parse::<Currency>().unwrap().to_string(), code);
        }
        for text in ["usd", "XAU", "XXX", "US", "USDX", "", "U D", "\u{fc}SD"] {
            assert!(text.parse::<Currency>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn terms_are_bounded() {
        let read = |text: &str| serde_json::from_str::<Terms>(text);
        assert_eq!(read("{}").unwrap(), Terms::default());
        let euros = read(r#"{"currency":"EUR","tax_basis_points":1900}"#).unwrap();
        assert_eq!((euros.currency.code(), euros.tax_basis_points), ("EUR", 1900));
        for text in [r#"{"tax_basis_points":10001}"#, r#"{"order_fee":1000000001}"#, r#"{"x":1}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
