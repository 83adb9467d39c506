//! What is reached over the network: the daemon, names, the marketplace, the public address.
//!
//! Invariant: the marketplace is asked at most once, about a code that cannot exist, and not while a refusal
//! of the key is fresh.

use super::super::api::{Api, Query};
use super::Findings;
use super::machine::{changed_ms_ago, days_left, days_told};
use crate::clock::Clock;
use crate::config::{Config, HttpUrl, Secrets};
use crate::daemon::{connect, read_extra_ca};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::lifecycle::STOPPED_UNTIL;
use crate::marketplace::{Call, CallResult, Client, Effort};
use crate::store;
use crate::telemetry::error_chain;
use reqwest::header::ALLOW;
use std::path::Path;
use std::time::Duration;

/// No purchase has it.
const NO_CODE: &str = "AUTHCODED-DOCTOR";
/// What the marketplace answers about a code that does not exist (protocol.md 2.9).
const UNKNOWN_CODE: &str = "92020005";
/// How long each call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where it is noted that the marketplace refused our key.
const REFUSED: &str = "doctor-was-refused";
/// For how long nothing is asked after that, in milliseconds: more than five refusals lock the key.
const REFUSED_MS: u128 = 5 * 60_000;
/// How far the clock may be off, in milliseconds: told, and too far (hazards, clock).
const SKEW_WARN_MS: i64 = 20_000;
const SKEW_FAIL_MS: i64 = 45_000;

pub(super) async fn look(config: &Config, file: &Path, found: &mut Findings) {
    daemon(config, file, found).await;
    look_outside(config, found).await;
}

/// All but the daemon itself.
pub(super) async fn look_outside(config: &Config, found: &mut Findings) {
    names(config, found).await;
    if let Ok(secrets) = config.load_secrets() {
        marketplace(config, &secrets, found).await;
    } else {
        found.warn("marketplace", "not asked: a secret is missing", "correct the secrets first");
    }
    public_address(config, found).await;
}

async fn daemon(config: &Config, file: &Path, found: &mut Findings) {
    if !store::is_held(&config.data_dir) {
        return found.warn("daemon", "it does not run", "systemctl start authcoded");
    }
    let summary = match Api::of(file) {
        Ok(mut api) => api.get("/v1/summary", &Query::default()).await,
        Err(error) => {
            return found.fail("daemon", error_chain(error.as_ref()), "correct admin.token-file");
        }
    };
    match summary {
        Err(error) => {
            let remedy = "it runs, but does not answer operators: compare admin.listen and admin.token-file with those it was started with";
            found.fail("daemon", error.to_string(), remedy);
        }
        Ok(summary) => {
            let version = summary["version"].as_str().unwrap_or("?");
            let alarms = summary["alarms"].as_u64().unwrap_or(0);
            if alarms == 0 {
                found.ok("daemon", format!("version {version} runs, without an alarm"));
            } else {
                let text = format!("version {version} runs, with {alarms} alarms");
                found.warn("daemon", text, "authcoded status tells each, with what to do");
            }
        }
    }
}

async fn names(config: &Config, found: &mut Findings) {
    let urls = config.marketplace.endpoints.iter().chain(&config.callback.public_url);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for url in urls {
        let lookup = tokio::net::lookup_host((url.host(), url.port()));
        match tokio::time::timeout(PATIENCE, lookup).await {
            Ok(Ok(mut addresses)) => match addresses.next() {
                Some(_) => good.push(url.host()),
                None => bad.push(format!("{}: no address", url.host())),
            },
            Ok(Err(error)) => bad.push(format!("{}: {error}", url.host())),
            Err(_) => bad.push(format!("{}: no answer", url.host())),
        }
    }
    if bad.is_empty() {
        found.ok("dns", format!("resolved: {}", good.join(", ")));
    } else {
        found.fail(
            "dns",
            bad.join("; "),
            "look at /etc/resolv.conf, and at the names in the configuration",
        );
    }
}

async fn marketplace(config: &Config, secrets: &Secrets, found: &mut Findings) {
    let clock = Clock::system();
    let note = config.data_dir.join(REFUSED);
    let database = config.data_dir.join("authcoded.db");
    let stopped = store::peek_fact(&database, STOPPED_UNTIL).ok().flatten();
    let stopped = stopped.and_then(|text| text.parse().ok()).map(Timestamp::from_ms);
    if stopped.is_some_and(|until| until > clock.now())
        || changed_ms_ago(&note).is_some_and(|age| age < REFUSED_MS)
    {
        let text = "the marketplace refused our key a short while ago: not asked again within five minutes, because refusals in a row lock the key";
        return found.fail("signature", text, REFUSED_REMEDY);
    }
    let client = match read_extra_ca(config).and_then(|ca| connect(config, secrets, ca, &clock)) {
        Ok(client) => client,
        Err(error) => {
            return found.fail(
                "marketplace",
                error_chain(error.as_ref()),
                "correct the configuration",
            );
        }
    };
    let Ok(code) = Code::parse(NO_CODE) else { return };
    let call = client.query(&code, Effort::Once { deadline: PATIENCE }).await;
    answered(&call, &note, found);
    skew(&client, found);
}

const REFUSED_REMEDY: &str = "compare AK and SK with the seller's console, look at this machine's clock, and see whether the account's user has programmatic access";

/// The good answer is that there is no such code: it was reached, and believed who we are.
fn answered<V>(call: &Call<V>, note: &Path, found: &mut Findings) {
    if call.error_code.as_deref() == Some(UNKNOWN_CODE) {
        found.ok("marketplace", "reached");
        return found.ok("signature", "believed: 92020005 about a code that does not exist");
    }
    let told = call.error_code.as_deref().unwrap_or("no code");
    match &call.result {
        CallResult::Stopped { .. } => {
            // Not being able to note it only means that the next doctor asks once more.
            drop(std::fs::write(note, ""));
            found.ok("marketplace", "reached");
            found.fail(
                "signature",
                format!("refused ({told}): it does not believe who we are"),
                REFUSED_REMEDY,
            );
        }
        CallResult::Retry { why, .. } if call.http.is_none() => {
            found.fail(
                "marketplace",
                why.clone(),
                "look at firewall, proxy, DNS and marketplace.endpoints",
            );
        }
        CallResult::Retry { why, .. } | CallResult::Permanent { why } => {
            found.warn("marketplace", format!("answered {told}: {why}"), "try again later");
        }
        CallResult::Unrecognised { sample } => {
            let remedy = "does marketplace.endpoints name the marketplace?";
            found.fail(
                "marketplace",
                format!("answered what no document tells of: {sample}"),
                remedy,
            );
        }
        CallResult::Verdict(_) => {
            let text = format!("answered {told} about a code that does not exist");
            found.warn("marketplace", text, "does marketplace.endpoints name the marketplace?");
        }
    }
}

fn skew(client: &Client, found: &mut Findings) {
    let remedy = "repair time synchronisation (timedatectl, chronyc tracking); at 60 s every callback is refused";
    match client.clock_skew_ms() {
        None => found.warn("clock", "not compared: the marketplace did not answer", "timedatectl"),
        Some(ms) => {
            let text = format!(
                "{:+.1} s against the marketplace's",
                Duration::from_millis(ms.unsigned_abs()).as_secs_f64()
                    * if ms < 0 { -1.0 } else { 1.0 }
            );
            match ms.saturating_abs() {
                off if off >= SKEW_FAIL_MS => found.fail("clock", text, remedy),
                off if off >= SKEW_WARN_MS => found.warn("clock", text, remedy),
                _ => found.ok("clock", text),
            }
        }
    }
}

/// Our listener answers a GET with 405 and takes POST: anything else is another server.
async fn public_address(config: &Config, found: &mut Findings) {
    const REMEDY: &str =
        "`authcoded probe run` names the step that fails; compare proxy, path and firewall";
    let Some(url) = &config.callback.public_url else {
        return found.warn(
            "public address",
            "callback.public-url is not set",
            "give the address that the seller's console holds",
        );
    };
    let response = match ask(config, url).await {
        Ok(response) => response,
        Err(why) => return found.fail("public address", format!("{url}: {why}"), REMEDY),
    };
    let info = response.extensions().get::<reqwest::tls::TlsInfo>();
    if url.is_https() {
        let der = info.and_then(|info| info.peer_certificate());
        let days = der.and_then(|der| days_left(der, Clock::system().now()));
        days_told("certificate", url.host(), days, found);
    }
    let status = response.status().as_u16();
    let takes_post = response.headers().get(ALLOW).is_some_and(|allow| allow == "POST");
    if status == 405 && takes_post {
        found.ok("public address", format!("{url} leads to the daemon"));
    } else {
        let text = format!("{url} answered HTTP {status}: not the daemon");
        found.fail("public address", text, REMEDY);
    }
}

async fn ask(config: &Config, url: &HttpUrl) -> Result<reqwest::Response, String> {
    let mut client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_info(true);
    if let Some(pem) = read_extra_ca(config).map_err(|error| error_chain(error.as_ref()))? {
        let roots =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error_chain(&error))?;
        client = client.tls_certs_merge(roots);
    }
    let client = client.build().map_err(|error| error_chain(&error))?;
    let sent = client.get(url.as_str()).send().await;
    sent.map_err(|error| error_chain(&error.without_url()))
}
