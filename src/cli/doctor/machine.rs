//! What is on this machine: folders, the database, backups, disk, certificate, unit.

use super::Findings;
use crate::clock::Clock;
use crate::config::{Config, SecretFile};
use crate::domain::time::{DAY_MS, Timestamp};
use crate::http::Certificate;
use crate::lifecycle::is_nightly_backup;
use crate::store::{self, OpenError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// Free space that is too little for the database and its log, in bytes.
const TIGHT: u64 = 100 << 20;
/// Free space that calls for a look.
const LITTLE: u64 = 1 << 30;
/// A certificate that ends within so many days should have been renewed by now.
const RENEW_DAYS: i64 = 14;
/// A nightly backup older than this was missed.
const BACKUP_MS: u128 = 36 * 3_600_000;
/// Restarts since the unit was started that are no accident any more.
const RESTARTS: u64 = 3;

pub(super) fn look(config: &Config, file: &Path, found: &mut Findings) {
    permissions(config, file, found);
    database(config, found);
    backups(config, found);
    disk(config, found);
    certificate(config, found);
    unit(found);
}

fn permissions(config: &Config, file: &Path, found: &mut Findings) {
    let mode = |path: &Path| std::fs::metadata(path).map(|meta| meta.permissions().mode() & 0o7777);
    let mut good = true;
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    for path in [file, folder] {
        if let Ok(mode) = mode(path)
            && mode & 0o022 != 0
            && mode & 0o1000 == 0
        {
            good = false;
            let text = format!("{} can be changed by others (mode {mode:04o})", path.display());
            found.fail(
                "permissions",
                text,
                "run chmod go-w on it, and look whether somebody has changed it",
            );
        }
    }
    match mode(&config.data_dir) {
        Ok(mode) if mode & 0o077 != 0 => {
            let text = format!("{} is open to others (mode {mode:04o})", config.data_dir.display());
            found.fail(
                "permissions",
                text,
                "run chmod 700 on it: the keys that sign leases lie there",
            );
        }
        Ok(_) if good => {
            found.ok("permissions", "configuration and data folder are closed to others");
        }
        Ok(_) => {}
        Err(error) => {
            let text = format!("{}: {error}", config.data_dir.display());
            found.warn(
                "permissions",
                text,
                "the first start makes it; run as root to look into it",
            );
        }
    }
}

fn database(config: &Config, found: &mut Findings) {
    let file = config.data_dir.join("authcoded.db");
    if !file.exists() {
        let text = format!("{}: not there", file.display());
        return found.warn(
            "database",
            text,
            "the first start makes it; if there was one, restore a backup",
        );
    }
    match store::examine(&file).and_then(|held| held.whole(&file)) {
        Ok(held) => {
            let rows = |table| held.rows.get(table).copied().unwrap_or(0);
            let text =
                format!("schema {}, {} codes, every page is whole", held.schema, rows("license"));
            found.ok("database", text);
            let text =
                format!("hold over {} events and {} callbacks", rows("event"), rows("callback"));
            found.ok("chains", text);
        }
        Err(error @ OpenError::Chain { .. }) => {
            found.fail(
                "chains",
                error.to_string(),
                "compare the rows with your backups and logs; `authcoded evidence verify` looks at each chain",
            );
        }
        Err(error) => {
            found.fail("database", error.to_string(), "authcoded restore FILE puts a backup back");
        }
    }
}

fn backups(config: &Config, found: &mut Findings) {
    let Some(backup) = &config.backup else {
        let remedy = "add a section [backup], or a timer that runs `authcoded backup`";
        return found.warn("backup", "no nightly backup is configured", remedy);
    };
    let found_there = std::fs::read_dir(&backup.folder).into_iter().flatten().flatten();
    let newest =
        found_there.filter(|entry| entry.file_name().to_str().is_some_and(is_nightly_backup));
    let age = |entry: std::fs::DirEntry| entry.metadata().ok()?.modified().ok()?.elapsed().ok();
    match newest.filter_map(age).min() {
        Some(age) if age.as_millis() < BACKUP_MS => {
            found.ok("backup", format!("the newest is {} h old", age.as_secs() / 3600));
        }
        Some(age) => {
            let text = format!("the newest is {} h old", age.as_secs() / 3600);
            found.fail(
                "backup",
                text,
                "see the last upkeep in `authcoded job list`, and its line in the log",
            );
        }
        None => {
            let text = format!("there is none in {}", backup.folder.display());
            found.warn("backup", text, "`authcoded job run upkeep` makes one now");
        }
    }
}

fn disk(config: &Config, found: &mut Findings) {
    let folder =
        config.data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            return found.warn("disk", format!("{}: {error}", folder.display()), "look with `df`");
        }
    };
    let text = format!("{} MiB free at {}", free >> 20, folder.display());
    let remedy = "free some space: a full disk makes every callback fail until there is some";
    if free < TIGHT {
        found.fail("disk", text, remedy);
    } else if free < LITTLE {
        found.warn("disk", text, remedy);
    } else {
        found.ok("disk", text);
    }
}

/// The certificate that we serve ourselves.
fn certificate(config: &Config, found: &mut Findings) {
    let (Some(file), Some(key)) = (&config.callback.tls_cert, &config.callback.tls_key) else {
        return;
    };
    if let Err(error) = Certificate::check_files(file, &|| read(key)) {
        return found.fail(
            "certificate",
            error.to_string(),
            "put chain and key right, then reload",
        );
    }
    let first = CertificateDer::pem_file_iter(file).ok().and_then(|mut chain| chain.next()?.ok());
    let days = first.and_then(|der| days_left(&der, Clock::system().now()));
    days_told("certificate", &format!("{}", file.display()), days, found);
}

fn read(key: &SecretFile) -> Result<secrecy::SecretString, String> {
    key.read("callback.tls-key").map_err(|error| error.to_string())
}

/// Whole days until a certificate ends.
pub(super) fn days_left(der: &[u8], now: Timestamp) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let ms = certificate.validity().not_after.timestamp().saturating_mul(1_000);
    Some(Timestamp::from_ms(ms).ms_since(now).div_euclid(DAY_MS))
}

pub(super) fn days_told(name: &'static str, whose: &str, days: Option<i64>, found: &mut Findings) {
    let remedy = "renew it; a certificate that has ended fails every callback and dial test";
    match days {
        None => found.warn(name, format!("{whose}: its end cannot be read"), remedy),
        Some(days) if days < 0 => {
            found.fail(name, format!("{whose} has ended {} days ago", -days), remedy);
        }
        Some(days) if days < RENEW_DAYS => {
            found.warn(name, format!("{whose} ends in {days} days"), remedy);
        }
        Some(days) => found.ok(name, format!("{whose} holds for {days} days")),
    }
}

/// Only where systemd runs: elsewhere something else looks after the process.
fn unit(found: &mut Findings) {
    if !Path::new("/run/systemd/system").exists() {
        return found.ok("unit", "no systemd runs here");
    }
    let show = Command::new("systemctl")
        .args(["show", "authcoded.service", "-p", "LoadState,ActiveState,UnitFileState,NRestarts"])
        .output();
    let Ok(output) = show else {
        return found.warn("unit", "systemctl cannot be run", "run as root");
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("").to_owned()
    };
    let (load, active, enabled) =
        (value("LoadState"), value("ActiveState"), value("UnitFileState"));
    let restarts: u64 = value("NRestarts").parse().unwrap_or(0);
    if load != "loaded" {
        found.warn(
            "unit",
            format!("authcoded.service is {load}"),
            "install the unit, or mind the process yourself",
        );
    } else if active != "active" {
        found.fail(
            "unit",
            format!("authcoded.service is {active}"),
            "journalctl -u authcoded -n 50 says why",
        );
    } else if enabled != "enabled" {
        found.warn(
            "unit",
            format!("authcoded.service is {enabled}"),
            "systemctl enable authcoded.service authcoded-callback.socket",
        );
    } else if restarts > RESTARTS {
        found.warn(
            "unit",
            format!("it was restarted {restarts} times"),
            "journalctl -u authcoded -p warning says why",
        );
    } else {
        found.ok("unit", "active and enabled");
    }
}

/// When a file was last changed, if that can be told.
pub(super) fn changed_ms_ago(file: &Path) -> Option<u128> {
    let changed: SystemTime = std::fs::metadata(file).ok()?.modified().ok()?;
    changed.elapsed().ok().map(|age| age.as_millis())
}
