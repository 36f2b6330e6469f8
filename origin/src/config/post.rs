//! `[mail]` and `[sms]`: who sends messages to buyers, and for whom?

use std::path::PathBuf;

use keys::Secret;
use lettre::message::Mailbox;
use reqwest::Url;
use serde::Deserialize;

use super::{ConfigError, refuse};
use crate::post::{MailConfig, Security, SmsConfig};
use crate::sale::PostRules;

/// Who sends messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostConfig {
    /// The mail server, if there is one.
    pub mail: Option<MailConfig>,
    /// The service for short messages, if there is one.
    pub sms: Option<SmsConfig>,
    /// Where links in messages lead: the shop as buyers reach it.
    pub shop_url: String,
}

impl PostConfig {
    /// What of it the rules of a sale need to know.
    #[must_use]
    pub fn rules(&self) -> PostRules {
        PostRules { mail: self.mail.is_some(), sms: self.sms.is_some() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MailFile {
    host: String,
    port: u16,
    security: Security,
    username: Option<String>,
    password: Option<Secret>,
    from: String,
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SmsFile {
    url: String,
    token: Option<Secret>,
}

pub(super) fn checked(
    mail: Option<MailFile>,
    sms: Option<SmsFile>,
    shop_url: Option<String>,
) -> Result<PostConfig, ConfigError> {
    let Some(shop_url) = shop_url else {
        if mail.is_some() || sms.is_some() {
            return refuse("shop_url", "not there", "the shop's address, for links in messages");
        }
        return Ok(PostConfig::default());
    };
    if Url::parse(&shop_url).ok().is_none_or(|url| !matches!(url.scheme(), "http" | "https")) {
        return refuse("shop_url", shop_url, "an address like https://tickets.example.org");
    }
    let mail = mail.map(checked_mail).transpose()?;
    let sms = sms.map(checked_sms).transpose()?;
    Ok(PostConfig { mail, sms, shop_url })
}

fn checked_mail(file: MailFile) -> Result<MailConfig, ConfigError> {
    let MailFile { host, port, security, username, password, from, ca_file } = file;
    if security == Security::None && !MailConfig::is_loopback(&host) {
        let expected = "starttls or tls, for anything but a server on this machine";
        return refuse("mail.security", "none", expected);
    }
    let login = match (username, password) {
        (Some(name), Some(password)) => Some((name, password)),
        (None, None) => None,
        _ => return refuse("mail.username", "alone", "username and password, or neither"),
    };
    let Ok(from) = from.parse::<Mailbox>() else {
        return refuse("mail.from", from, "an address like Tickets <tickets@example.org>");
    };
    Ok(MailConfig { host, port, security, login, from, ca_file })
}

fn checked_sms(file: SmsFile) -> Result<SmsConfig, ConfigError> {
    let is_ours = |url: &Url| {
        let is_loopback = url.host_str().is_some_and(MailConfig::is_loopback);
        url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
    };
    match Url::parse(&file.url).ok().filter(is_ours) {
        Some(url) => Ok(SmsConfig { url, token: file.token }),
        None => refuse("sms.url", file.url, "an https address, or http on this machine"),
    }
}
