//! `[payment]` and `[pricing]`: who takes the money, how long we wait, and what is added to prices.

use std::collections::BTreeMap;
use std::time::Duration;

use keys::{EventId, Secret};
use reqwest::Url;
use serde::Deserialize;

use super::{ConfigError, refuse};
use crate::checkout::CheckoutRules;
use crate::pay::StripeSetup;
use crate::sale::{Currency, GatewayName, PaymentRules, Rules, Terms, TermsError};

/// Most gateways: each is asked in turn while a buyer waits.
const GATEWAYS_MAX: usize = 8;

/// `[payment]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentConfig {
    /// Who takes the money, in the order in which they are asked.
    pub gateways: Vec<(GatewayName, GatewaySetup)>,
    /// How long one call may take.
    pub timeout: Duration,
    /// What the sale needs of it.
    pub rules: PaymentRules,
    /// What the checkout needs of it.
    pub checkout: CheckoutRules,
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewaySetup {
    /// The built-in one: no money moves.
    Sandbox,
    /// Stripe.
    Stripe(StripeSetup),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PaymentFile {
    timeout_ms: u64,
    give_up_after_secs: u64,
    capture_after_secs: u64,
    absent_after_secs: u64,
    reconcile_secs: u64,
    gateways: Vec<GatewayFile>,
}

impl Default for PaymentFile {
    fn default() -> Self {
        let name = GatewayName::default();
        Self {
            timeout_ms: 8000,
            give_up_after_secs: 600,
            capture_after_secs: 60,
            absent_after_secs: 120,
            reconcile_secs: 300,
            gateways: vec![GatewayFile::Sandbox { name }],
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
enum GatewayFile {
    Sandbox {
        name: GatewayName,
    },
    Stripe {
        name: GatewayName,
        #[serde(default)]
        base_url: BaseUrl,
        secret_key: Secret,
        #[serde(default)]
        webhook_secrets: Vec<Secret>,
    },
}

/// An address that starts with `http`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct BaseUrl(Url);

impl Default for BaseUrl {
    fn default() -> Self {
        Self(Url::parse("https://api.stripe.com").expect("it is an address"))
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = Url::parse(&text).ok().filter(|url| url.scheme().starts_with("http"));
        parsed.map(Self).ok_or_else(|| format!("base_url is {text:?}, expected an http(s) address"))
    }
}

/// `[pricing]`: what is added to prices, whatever currency an event has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "PricingFile")]
pub struct PricingConfig {
    /// What a search by price counts in if it names no currency. An event's own is the catalogue's.
    pub search_currency: Currency,
    /// Of all events that have none of their own.
    pub terms: Terms,
    /// Of single events.
    pub events: BTreeMap<EventId, Terms>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PricingFile {
    search_currency: Currency,
    terms: TermsFile,
    events: BTreeMap<EventId, TermsFile>,
}

impl Default for PricingFile {
    fn default() -> Self {
        let (terms, events) = (TermsFile::default(), BTreeMap::new());
        Self { search_currency: Currency::USD, terms, events }
    }
}

impl Default for PricingConfig {
    fn default() -> Self {
        let (terms, events) = (Terms::default(), BTreeMap::new());
        Self { search_currency: Currency::USD, terms, events }
    }
}

/// Terms without a currency, which is the event's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TermsFile {
    ticket_fee: u64,
    order_fee: u64,
    tax_basis_points: u32,
    is_tax_included: bool,
}

impl Default for TermsFile {
    fn default() -> Self {
        let Terms { ticket_fee, order_fee, tax_basis_points, is_tax_included, .. } =
            Terms::default();
        Self { ticket_fee, order_fee, tax_basis_points, is_tax_included }
    }
}

impl TermsFile {
    fn check(self) -> Result<Terms, TermsError> {
        let Self { ticket_fee, order_fee, tax_basis_points, is_tax_included } = self;
        let currency = Terms::default().currency;
        Terms { currency, ticket_fee, order_fee, tax_basis_points, is_tax_included }.checked()
    }
}

impl TryFrom<PricingFile> for PricingConfig {
    type Error = TermsError;

    fn try_from(file: PricingFile) -> Result<Self, TermsError> {
        let events = file.events.into_iter();
        let events = events.map(|(event, terms)| Ok((event, terms.check()?)));
        Ok(Self {
            search_currency: file.search_currency,
            terms: file.terms.check()?,
            events: events.collect::<Result<_, TermsError>>()?,
        })
    }
}

impl PricingConfig {
    /// The rules of one event, if those of all are these.
    #[must_use]
    pub fn rules_of(&self, event: &EventId, rules: Rules) -> Rules {
        Rules { terms: self.events.get(event).copied().unwrap_or(self.terms), ..rules }
    }
}

impl TryFrom<PaymentFile> for PaymentConfig {
    type Error = ConfigError;

    fn try_from(file: PaymentFile) -> Result<Self, ConfigError> {
        if !(10..=9000).contains(&file.timeout_ms) {
            let expected = "10 to 9000, for a buyer waits for two of them";
            return refuse("payment.timeout_ms", file.timeout_ms, expected);
        }
        if !(30..=1200).contains(&file.give_up_after_secs) {
            let found = file.give_up_after_secs;
            return refuse("payment.give_up_after_secs", found, "30 to 1200 seconds");
        }
        if file.capture_after_secs > 86_400 {
            let found = file.capture_after_secs;
            let expected = "at most 86400 seconds, for reservations lapse after days";
            return refuse("payment.capture_after_secs", found, expected);
        }
        if file.absent_after_secs > 3600 {
            let found = file.absent_after_secs;
            return refuse("payment.absent_after_secs", found, "at most 3600 seconds");
        }
        if !(1..=86_400).contains(&file.reconcile_secs) {
            return refuse("payment.reconcile_secs", file.reconcile_secs, "1 to 86400 seconds");
        }
        let gateways: Vec<_> = file.gateways.into_iter().map(GatewayFile::setup).collect();
        if !(1..=GATEWAYS_MAX).contains(&gateways.len()) {
            return refuse("payment.gateways", gateways.len(), "1 to 8 gateways");
        }
        let mut names: Vec<_> = gateways.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse("payment.gateways", &twice[0], "a name of its own for each gateway");
        }
        let is_sandbox = |setup: &GatewaySetup| *setup == GatewaySetup::Sandbox;
        if gateways.iter().filter(|(_, setup)| is_sandbox(setup)).count() > 1 {
            return refuse("payment.gateways", "two sandboxes", "one of kind sandbox at most");
        }
        Ok(Self {
            gateways,
            timeout: Duration::from_millis(file.timeout_ms),
            rules: PaymentRules {
                give_up_after: Duration::from_secs(file.give_up_after_secs),
                capture_after: Duration::from_secs(file.capture_after_secs),
            },
            checkout: CheckoutRules {
                absent_after: Duration::from_secs(file.absent_after_secs),
                reconcile_every: Duration::from_secs(file.reconcile_secs),
            },
        })
    }
}

impl GatewayFile {
    fn setup(self) -> (GatewayName, GatewaySetup) {
        match self {
            Self::Sandbox { name } => (name, GatewaySetup::Sandbox),
            Self::Stripe { name, base_url, secret_key, webhook_secrets } => {
                let setup = StripeSetup { base_url: base_url.0, secret_key, webhook_secrets };
                (name, GatewaySetup::Stripe(setup))
            }
        }
    }
}
