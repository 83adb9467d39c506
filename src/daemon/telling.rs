//! Who is told of alarms: the configuration's channels, their secrets, and the guard that fills them.

use crate::config::{ChannelKind, ChannelSecrets, Config, MailTls, Notify, Secrets};
use crate::guard::{Guard, Subscriber, Telling};
use crate::lifecycle::Lifecycle;
use crate::notify::{self, ChannelSettings, MailSettings, Notifier, Route};
use anyhow::Context as _;
use std::sync::Arc;
use tokio::sync::watch;

/// Gives the guard its subscribers, and makes what sends to them.
pub(super) fn wire(
    config: &Config,
    secrets: &Secrets,
    extra_ca: Option<&[u8]>,
    lifecycle: &Arc<Lifecycle>,
    guard: Guard,
) -> anyhow::Result<(Guard, Arc<Notifier>)> {
    let bell = watch::Sender::new(());
    let channels = config.notify.iter().zip(&secrets.channels);
    let settings: Vec<ChannelSettings> =
        channels.map(|(channel, secrets)| settings(channel, secrets)).collect::<Result<_, _>>()?;
    let subscribers =
        settings.iter().map(|it| Subscriber { channel: it.name.clone(), least: it.least });
    let telling = Telling {
        restraint: config.alarms.restraint(),
        subscribers: subscribers.collect(),
        bell: bell.clone(),
    };
    let access = (lifecycle.store.clone(), lifecycle.clock.clone(), Arc::clone(&lifecycle.metrics));
    let notifier = Notifier::new(settings, installation(config), extra_ca, access, bell)?;
    Ok((guard.telling(telling), Arc::new(notifier)))
}

/// How messages name us: as configured, else as the marketplace does, else as the machine does.
fn installation(config: &Config) -> String {
    let public = || config.callback.public_url.as_ref().map(|url| url.host().to_owned());
    let machine = || {
        let name = std::fs::read_to_string("/etc/hostname").ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    };
    let named = config.alarms.name.clone().or_else(public).or_else(machine);
    named.unwrap_or_else(|| "authcoded".to_owned())
}

fn settings(channel: &Notify, secrets: &ChannelSecrets) -> anyhow::Result<ChannelSettings> {
    let name = &channel.name;
    let lacks =
        |key: &str| format!("notify: the channel {name} has no {key}; run `authcoded check`");
    let url = || secrets.url.clone().with_context(|| lacks("url-file"));
    let secret = secrets.secret.clone();
    let route = match channel.kind {
        ChannelKind::Webhook => {
            Route::Webhook { url: url()?, secret: secret.with_context(|| lacks("secret-file"))? }
        }
        ChannelKind::Wecom => Route::Wecom { url: url()? },
        ChannelKind::Dingtalk => Route::Dingtalk { url: url()?, secret },
        ChannelKind::Feishu => Route::Feishu { url: url()?, secret },
        ChannelKind::Smtp => Route::Smtp(MailSettings {
            server: channel.server.clone().with_context(|| lacks("server"))?,
            port: channel.port,
            tls: match channel.tls.unwrap_or_default() {
                MailTls::Implicit => notify::MailTls::Implicit,
                MailTls::Starttls => notify::MailTls::Starttls,
                MailTls::None => notify::MailTls::None,
            },
            login: channel.user.clone().zip(secrets.password.clone()),
            from: channel.from.clone().with_context(|| lacks("from"))?,
            to: channel.to.clone(),
        }),
    };
    Ok(ChannelSettings {
        name: name.clone(),
        least: channel.min_severity,
        language: channel.language,
        show_codes: channel.shows_codes(),
        route,
    })
}
