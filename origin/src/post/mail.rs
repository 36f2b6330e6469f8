//! How does a letter get to a mail server? By SMTP, with TLS unless the server is this machine.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keys::{Secret, Timestamp};
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::NotSent;
use super::letter::Letter;

/// A mail server has this long for each answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How the connection is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Begins plain and must go on with TLS.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Plain: for a server on this machine.
    None,
}

/// `[mail]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailConfig {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: Security,
    /// Who we are, if it asks.
    pub login: Option<(String, Secret)>,
    /// Who writes.
    pub from: Mailbox,
    /// Who else may vouch for the server, beside the authorities that browsers trust: PEM.
    pub ca_file: Option<PathBuf>,
}

impl MailConfig {
    /// Whether the server is this machine.
    #[must_use]
    pub fn is_loopback(host: &str) -> bool {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// Why mail cannot be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// TLS cannot be set up.
    #[error("TLS for mail server {host}")]
    Tls {
        /// Which server.
        host: String,
        /// The cause.
        source: lettre::transport::smtp::Error,
    },
    /// Its authority's certificate cannot be read.
    #[error("mail.ca_file {path}")]
    Authority {
        /// Which file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Sends letters by mail.
#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl Mailer {
    /// Connects when there is something to send, and keeps connections for the next.
    ///
    /// # Errors
    /// If TLS cannot be set up for that name.
    pub fn new(config: &MailConfig) -> Result<Self, MailError> {
        let MailConfig { host, port, security, login, from, ca_file } = config.clone();
        let parameters = || tls(&host, ca_file.as_deref());
        let tls = match security {
            Security::StartTls => Tls::Required(parameters()?),
            Security::Tls => Tls::Wrapper(parameters()?),
            Security::None => Tls::None,
        };
        let builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&host);
        let mut builder = builder.port(port).tls(tls).timeout(Some(TIMEOUT));
        if let Some((name, password)) = login {
            builder = builder.credentials(Credentials::new(name, password.expose().to_owned()));
        }
        Ok(Self { transport: builder.build(), from })
    }

    pub(super) async fn send(
        &self,
        id: &str,
        since: Timestamp,
        (name, address): (Option<&str>, &str),
        letter: Letter,
        pdf: Option<Vec<u8>>,
    ) -> Result<(), NotSent> {
        let never = |error: &dyn std::fmt::Display| NotSent::Refused(error.to_string());
        let address =
            address.parse().map_err(|error: lettre::address::AddressError| never(&error))?;
        let Letter { subject, text, html, .. } = letter;
        let words = MultiPart::alternative_plain_html(text, html);
        let body = match pdf {
            None => words,
            Some(pdf) => {
                let kind = ContentType::parse("application/pdf").map_err(|error| never(&error))?;
                let tickets: SinglePart = Attachment::new("tickets.pdf".to_owned()).body(pdf, kind);
                MultiPart::mixed().multipart(words).singlepart(tickets)
            }
        };
        let domain = self.from.email.domain();
        let since = std::time::UNIX_EPOCH + Duration::from_millis(since.as_millis());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name.map(str::to_owned), address))
            .subject(subject)
            .date(since)
            .message_id(Some(format!("<{id}@{domain}>")))
            .multipart(body)
            .map_err(|error| never(&error))?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_sent(&error)),
        }
    }
}

fn tls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, MailError> {
    let failed = |source| MailError::Tls { host: host.to_owned(), source };
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let unread = |source| MailError::Authority { path: path.display().to_string(), source };
        let pem = std::fs::read(path).map_err(unread)?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(failed)?);
    }
    builder.build_rustls().map_err(failed)
}

fn not_sent(error: &lettre::transport::smtp::Error) -> NotSent {
    let mut why = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        why = format!("{why}: {cause}");
    }
    // 53x is about us, not about the letter: a wrong password must not cost a buyer their tickets.
    let code = error.status().map(u16::from);
    match code {
        Some(500..=529 | 540..=599) => NotSent::Refused(why),
        _ => NotSent::Later(why),
    }
}
