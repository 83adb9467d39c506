//! A channel: a name, a language, and the route a message takes.

use super::letter::Letter;
use super::mail::Mail;
use super::robots::{Robot, RobotKind};
use super::webhook::Webhook;
use crate::domain::alarm::Severity;
use crate::domain::language::Language;
use crate::domain::time::Timestamp;
use secrecy::SecretString;
use std::time::Duration;

/// The robots of WeCom and DingTalk take 20 messages in a minute; Feishu's takes more.
const ROBOT_PAUSE: Duration = Duration::from_secs(3);

/// A channel as the configuration has it.
pub struct ChannelSettings {
    /// Its name.
    pub name: String,
    /// The least severity that is told there.
    pub least: Severity,
    /// The language of its messages.
    pub language: Language,
    /// Whether its messages name codes in full.
    pub show_codes: bool,
    /// The route.
    pub route: Route,
}

/// Where messages go. What it holds is secret: an address of a robot is all that is needed to speak as it.
pub enum Route {
    /// A webhook after the Standard Webhooks specification.
    Webhook {
        /// Its address.
        url: SecretString,
        /// `whsec_…`, base64 behind it.
        secret: SecretString,
    },
    /// Mail.
    Smtp(MailSettings),
    /// A group robot of WeCom (企业微信).
    Wecom {
        /// Its address, with its key.
        url: SecretString,
    },
    /// A group robot of DingTalk (钉钉).
    Dingtalk {
        /// Its address, with its token.
        url: SecretString,
        /// `SEC…`, where the robot wants signatures (加签).
        secret: Option<SecretString>,
    },
    /// A group robot of Feishu (飞书).
    Feishu {
        /// Its address.
        url: SecretString,
        /// Where the robot wants signatures (签名校验).
        secret: Option<SecretString>,
    },
}

/// A mail server and who writes to whom.
pub struct MailSettings {
    /// Its name or address.
    pub server: String,
    /// Its port; the usual one of `tls` unless given.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: MailTls,
    /// Who logs in, and with what.
    pub login: Option<(String, SecretString)>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte (port 465, RFC 8314).
    Implicit,
    /// STARTTLS, and nothing is said before it (port 587, RFC 3207).
    Starttls,
    /// Not at all: only to a loopback literal.
    None,
}

/// A channel at work.
pub(super) struct Channel {
    pub(super) name: String,
    language: Language,
    show_codes: bool,
    way: Way,
}

enum Way {
    Webhook(Webhook),
    Mail(Box<Mail>),
    Robot(Robot),
}

impl Channel {
    pub(super) fn new(settings: ChannelSettings, extra_ca: Option<&[u8]>) -> Result<Self, String> {
        let ChannelSettings { name, language, show_codes, route, .. } = settings;
        let robot = |kind, url, secret| Robot::new(kind, url, secret, extra_ca).map(Way::Robot);
        let way = match route {
            Route::Webhook { url, secret } => Way::Webhook(Webhook::new(&url, &secret, extra_ca)?),
            Route::Smtp(settings) => Way::Mail(Box::new(Mail::new(settings, extra_ca)?)),
            Route::Wecom { url } => robot(RobotKind::Wecom, &url, None)?,
            Route::Dingtalk { url, secret } => robot(RobotKind::Dingtalk, &url, secret)?,
            Route::Feishu { url, secret } => robot(RobotKind::Feishu, &url, secret)?,
        };
        Ok(Self { name, language, show_codes, way })
    }

    pub(super) const fn kind(&self) -> &'static str {
        match &self.way {
            Way::Webhook(_) => "webhook",
            Way::Mail(_) => "smtp",
            Way::Robot(robot) => robot.kind.as_str(),
        }
    }

    /// How long it rests after a message.
    pub(super) const fn pause(&self) -> Duration {
        match &self.way {
            Way::Webhook(_) | Way::Mail(_) => Duration::ZERO,
            Way::Robot(_) => ROBOT_PAUSE,
        }
    }

    /// Sends a message. The error says why it was not taken, without address and secret.
    pub(super) async fn send(&self, letter: &Letter, now: Timestamp) -> Result<(), String> {
        let masked;
        let letter = if self.show_codes {
            letter
        } else {
            masked = letter.masked();
            &masked
        };
        match &self.way {
            Way::Webhook(webhook) => webhook.send(letter, self.language, now).await,
            Way::Mail(mail) => mail.send(letter, self.language, now).await,
            Way::Robot(robot) => robot.send(&letter.text(self.language), now).await,
        }
    }
}
