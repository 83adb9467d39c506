//! The configuration in force as people are shown it: each key with its value, of secrets only the place.
//!
//! Invariant: every key of the file is here; one that is added does not compile until it is.

use super::{
    Admin, Alarms, Backup, Callback, Config, Guard, HttpUrl, Log, Marketplace, Notify, Orders,
    Policy, Retention, Schedule, Software,
};
use std::fmt::Display;
use std::path::Path;

/// Keys with values, in the order of the file.
#[derive(Default)]
struct Keys(Vec<(String, String)>);

impl Keys {
    fn add(&mut self, key: &str, value: impl Display) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    /// What is not set stands there as such.
    fn add_maybe(&mut self, key: &str, value: Option<impl Display>) {
        self.add(key, value.map_or_else(|| "none".to_owned(), |value| value.to_string()));
    }

    fn add_list<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
        self.add(key, if values.is_empty() { "none".to_owned() } else { values.join(", ") });
    }
}

impl Config {
    /// Each key of the file, `section.key`, with its value in force. No secret is among them.
    #[must_use]
    pub fn shown(&self) -> Vec<(String, String)> {
        let Self {
            data_dir,
            callback,
            orders,
            marketplace,
            admin,
            software,
            schedule,
            policy,
            log,
            retention,
            guard,
            alarms,
            notify,
            backup,
        } = self;
        let mut keys = Keys::default();
        keys.add("data-dir", data_dir.display());
        callback.show(&mut keys);
        if let Some(orders) = orders {
            orders.show(&mut keys);
        }
        marketplace.show(&mut keys);
        admin.show(&mut keys);
        software.show(&mut keys);
        schedule.show(&mut keys);
        policy.show(&mut keys);
        log.show(&mut keys);
        retention.show(&mut keys);
        guard.show(&mut keys);
        alarms.show(&mut keys);
        for channel in notify {
            channel.show(&mut keys);
        }
        if let Some(backup) = backup {
            backup.show(&mut keys);
        }
        keys.0
    }
}

impl Callback {
    fn show(&self, keys: &mut Keys) {
        let Self {
            listen,
            path,
            public_url,
            access_key_files,
            retired_access_key_files,
            tls_cert,
            tls_key,
            keep_alive,
            max_connections,
            probe_codes,
        } = self;
        keys.add("callback.listen", listen);
        keys.add("callback.path", path);
        keys.add_maybe("callback.public-url", public_url.as_ref().map(HttpUrl::as_str));
        keys.add_list("callback.access-key-files", access_key_files);
        keys.add_list("callback.retired-access-key-files", retired_access_key_files);
        keys.add_maybe("callback.tls-cert", tls_cert.as_deref().map(Path::display));
        keys.add_maybe("callback.tls-key", tls_key.as_ref());
        keys.add("callback.keep-alive", keep_alive);
        keys.add("callback.max-connections", max_connections);
        keys.add_list("callback.probe-codes", probe_codes);
    }
}

impl Orders {
    fn show(&self, keys: &mut Keys) {
        let Self { path, access_key_files } = self;
        keys.add("orders.path", path);
        keys.add_list("orders.access-key-files", access_key_files);
    }
}

impl Marketplace {
    fn show(&self, keys: &mut Keys) {
        let Self {
            endpoints,
            ak_file,
            sk_file,
            extra_ca_file,
            expire_time_zone,
            requests_per_second,
            activation_batch,
            query_batch,
        } = self;
        keys.add_list("marketplace.endpoints", endpoints.iter().map(HttpUrl::as_str));
        keys.add("marketplace.ak-file", ak_file);
        keys.add("marketplace.sk-file", sk_file);
        let ca = extra_ca_file.as_deref().map(Path::display);
        keys.add_maybe("marketplace.extra-ca-file", ca);
        keys.add("marketplace.expire-time-zone", expire_time_zone);
        keys.add("marketplace.requests-per-second", requests_per_second);
        keys.add("marketplace.activation-batch", activation_batch);
        keys.add("marketplace.query-batch", query_batch);
    }
}

impl Admin {
    fn show(&self, keys: &mut Keys) {
        let Self { listen, token_file } = self;
        keys.add("admin.listen", listen);
        keys.add("admin.token-file", token_file);
    }
}

impl Software {
    fn show(&self, keys: &mut Keys) {
        let Self { listen, socket, socket_mode, socket_group, new_codes_per_hour, token_file } =
            self;
        keys.add_maybe("software.listen", *listen);
        keys.add_maybe("software.socket", socket.as_deref().map(Path::display));
        keys.add("software.socket-mode", format!("{:04o}", socket_mode.bits()));
        keys.add_maybe("software.socket-group", socket_group.as_deref());
        keys.add("software.new-codes-per-hour", new_codes_per_hour);
        keys.add("software.token-file", token_file);
    }
}

impl Schedule {
    fn show(&self, keys: &mut Keys) {
        let Self { zone, heartbeat } = self;
        keys.add("schedule.zone", zone);
        keys.add("schedule.heartbeat", heartbeat);
    }
}

impl Policy {
    fn show(&self, keys: &mut Keys) {
        let Self { grace_hours, lease_hours } = self;
        keys.add("policy.grace-hours", grace_hours);
        keys.add("policy.lease-hours", lease_hours);
    }
}

impl Log {
    fn show(&self, keys: &mut Keys) {
        let Self { level, format } = self;
        keys.add("log.level", format!("{level:?}").to_lowercase());
        keys.add("log.format", format!("{format:?}").to_lowercase());
    }
}

impl Retention {
    fn show(&self, keys: &mut Keys) {
        let Self {
            callbacks_days,
            test_callbacks_days,
            probes_days,
            job_runs_days,
            usage_days,
            alarms_days,
        } = self;
        keys.add("retention.callbacks-days", callbacks_days);
        keys.add("retention.test-callbacks-days", test_callbacks_days);
        keys.add("retention.probes-days", probes_days);
        keys.add("retention.job-runs-days", job_runs_days);
        keys.add("retention.usage-days", usage_days);
        keys.add("retention.alarms-days", alarms_days);
    }
}

impl Guard {
    fn show(&self, keys: &mut Keys) {
        let Self { on_sale, failed_orders_per_month } = self;
        keys.add("guard.on-sale", on_sale);
        keys.add("guard.failed-orders-per-month", failed_orders_per_month);
    }
}

impl Alarms {
    fn show(&self, keys: &mut Keys) {
        let Self { name, emergency_hours, high_hours, warning_hours, settle_minutes } = self;
        keys.add_maybe("alarms.name", name.as_deref());
        keys.add("alarms.emergency-hours", emergency_hours);
        keys.add("alarms.high-hours", high_hours);
        keys.add("alarms.warning-hours", warning_hours);
        keys.add("alarms.settle-minutes", settle_minutes);
    }
}

impl Backup {
    fn show(&self, keys: &mut Keys) {
        let Self { folder, keep } = self;
        keys.add("backup.folder", folder.display());
        keys.add("backup.keep", keep);
    }
}

impl Notify {
    fn show(&self, keys: &mut Keys) {
        let Self {
            name,
            kind,
            min_severity,
            language,
            show_codes,
            url_file,
            secret_file,
            server,
            port,
            tls,
            user,
            password_file,
            from,
            to,
        } = self;
        keys.add("notify.name", name);
        keys.add("notify.kind", kind.as_str());
        keys.add("notify.min-severity", min_severity.as_str());
        keys.add("notify.language", language.as_str());
        keys.add_maybe("notify.show-codes", *show_codes);
        keys.add_maybe("notify.url-file", url_file.as_ref());
        keys.add_maybe("notify.secret-file", secret_file.as_ref());
        keys.add_maybe("notify.server", server.as_deref());
        keys.add_maybe("notify.port", *port);
        let tls = tls.map(|tls| format!("{tls:?}").to_lowercase());
        keys.add_maybe("notify.tls", tls);
        keys.add_maybe("notify.user", user.as_deref());
        keys.add_maybe("notify.password-file", password_file.as_ref());
        keys.add_maybe("notify.from", from.as_deref());
        keys.add_list("notify.to", to);
    }
}
