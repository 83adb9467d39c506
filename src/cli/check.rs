//! `authcoded check`: every fault of the configuration, with its line and what to do.

use super::{Output, print};
use crate::config::{Config, ConfigError, Problem, Severity};
use crate::domain::slots::HeartbeatTimes;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Reads the file and every secret it names; nothing is started, called or changed. Secrets are not \
shown.

Exit status: 0 when the daemon would start with it (warnings or not), 1 otherwise.

Example:
  sudo authcoded check --config /etc/authcoded/authcoded.toml";

/// Runs it.
pub(super) fn run(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let (config, problems) = match Config::load_checked(file) {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(ConfigError::Refused(problems)) => (None, problems),
        Err(error) if output.json => {
            print::json(&json!({ "file": file, "ok": false, "problems": [of_form(&error)] }))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    };
    if output.json {
        let problems: Vec<_> = problems.iter().map(document).collect();
        print::json(&json!({ "file": file, "ok": config.is_some(), "problems": problems }))?;
    } else {
        for problem in &problems {
            print::line(&problem.to_string())?;
        }
        if let Some(config) = &config {
            print::facts(&FACTS, &summary(config)?)?;
            print::line(&format!("\n{}: configuration is fine", file.display()))?;
        }
    }
    Ok(if config.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const FACTS: [print::Column; 11] = [
    ("data folder", "data"),
    ("callbacks", "callbacks"),
    ("public address", "public"),
    ("access keys", "keys"),
    ("orders", "orders"),
    ("order keys", "order_keys"),
    ("marketplace", "marketplace"),
    ("AK", "ak"),
    ("operators", "admin"),
    ("software", "software"),
    ("heartbeat", "heartbeat"),
];

/// What the configuration comes to. The AK may be shown by its last four characters.
fn summary(config: &Config) -> anyhow::Result<Value> {
    let secrets = config.load_secrets()?;
    let callback = &config.callback;
    let tls = if callback.tls_cert.is_some() { "https" } else { "http" };
    let endpoints: Vec<_> =
        config.marketplace.endpoints.iter().map(|url| url.origin().to_owned()).collect();
    let software = [
        config.software.listen.map(|listen| listen.to_string()),
        config.software.socket.as_ref().map(|path| path.display().to_string()),
    ];
    Ok(json!({
        "data": config.data_dir,
        "callbacks": format!("{tls}://{}{}", callback.listen, callback.path),
        "public": callback.public_url.as_ref().map(ToString::to_string),
        "keys": secrets.access_keys.len(),
        "orders": config.orders.as_ref().map(|orders| format!("{tls}://{}{}", callback.listen, orders.path)),
        "order_keys": config.orders.as_ref().map(|_| secrets.order_keys.len()),
        "marketplace": endpoints.join(", "),
        "ak": format!("…{}", secrets.ak_tail()),
        "admin": config.admin.listen.to_string(),
        "software": software.into_iter().flatten().collect::<Vec<_>>().join(", "),
        "heartbeat": match &config.schedule.heartbeat {
            HeartbeatTimes::Auto => "auto: before the marketplace's dial tests".to_owned(),
            HeartbeatTimes::At(_) => {
                format!("{} {}", config.schedule.heartbeat, config.schedule.zone)
            }
        },
    }))
}

fn document(problem: &Problem) -> Value {
    json!({
        "line": problem.line,
        "key": problem.key,
        "severity": problem.severity.as_str(),
        "text": problem.text,
        "remedy": problem.remedy,
    })
}

fn of_form(error: &ConfigError) -> Value {
    let (line, remedy) = match error {
        ConfigError::Invalid { line, remedy, .. } => (Some(line), *remedy),
        ConfigError::Unreadable { .. } | ConfigError::Refused(_) => (None, ""),
    };
    let severity = Severity::Error.as_str();
    json!({
        "line": line, "key": null, "severity": severity, "text": error.to_string(), "remedy": remedy,
    })
}
