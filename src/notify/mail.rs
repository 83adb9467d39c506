//! Mail over SMTP (RFC 5321), submitted with TLS; the only file that knows lettre.
//!
//! Invariant: without TLS only a loopback literal is spoken to, and no login is sent before TLS.

use super::channel::{MailSettings, MailTls};
use super::letter::Letter;
use super::wire::PATIENCE;
use crate::domain::language::Language;
use crate::domain::time::Timestamp;
use crate::telemetry::error_chain;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

const IMPLICIT_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
/// The longest account of a failure, in characters.
const TOLD_MAX: usize = 300;

/// A mail server, and who writes to whom.
pub(super) struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Mail {
    pub(super) fn new(settings: MailSettings, extra_ca: Option<&[u8]>) -> Result<Self, String> {
        let MailSettings { server, port, tls, login, from, to } = settings;
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|_| format!("{text} is no mail address"))
        };
        let from = mailbox(&from)?;
        let to = to.iter().map(mailbox).collect::<Result<_, _>>()?;
        let (usual_port, tls) = match tls {
            MailTls::Implicit => (IMPLICIT_PORT, Tls::Wrapper(parameters(&server, extra_ca)?)),
            MailTls::Starttls => (SUBMISSION_PORT, Tls::Required(parameters(&server, extra_ca)?)),
            MailTls::None if server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) => {
                (SUBMISSION_PORT, Tls::None)
            }
            MailTls::None => return Err("without TLS the server must be a loopback literal".into()),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server)
            .port(port.unwrap_or(usual_port))
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(PATIENCE));
        if let Some((user, password)) = login {
            let password = password.expose_secret().to_owned();
            builder = builder.credentials(Credentials::new(user, password));
        }
        Ok(Self { transport: builder.build(), from, to })
    }

    pub(super) async fn send(
        &self,
        letter: &Letter,
        language: Language,
        now: Timestamp,
    ) -> Result<(), String> {
        let message = self.message(letter, language, now)?;
        let sending = self.transport.send(message);
        match tokio::time::timeout(PATIENCE * 2, sending).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(told(&error)),
            Err(_) => Err("the server did not take it in 30 s".to_owned()),
        }
    }

    /// The `Message-ID` is made of the message's id, so that a mailbox knows one that comes twice.
    fn message(
        &self,
        letter: &Letter,
        language: Language,
        now: Timestamp,
    ) -> Result<Message, String> {
        let since_1970 = Duration::from_millis(now.as_ms().max(0).unsigned_abs());
        let mut builder = Message::builder()
            .from(self.from.clone())
            .subject(format!("{} ({})", letter.title(language), letter.installation))
            .date(UNIX_EPOCH + since_1970)
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            // No out-of-office note answers it (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        builder.body(letter.text(language)).map_err(|error| error.to_string())
    }
}

fn parameters(server: &str, extra_ca: Option<&[u8]>) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(server.to_owned());
    if let Some(pem) = extra_ca {
        builder =
            builder.add_root_certificate(Certificate::from_pem(pem).map_err(|error| told(&error))?);
    }
    builder.build().map_err(|error| told(&error))
}

/// What went wrong, on one line and short: the server's words may be long.
fn told(error: &(dyn Error + 'static)) -> String {
    error_chain(error).chars().filter(|c| !c.is_control()).take(TOLD_MAX).collect()
}
