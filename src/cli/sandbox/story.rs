//! Lives of codes: a seller, buyers and a licensed software, each acting over HTTP, and a narrator.

use super::ground::Ground;
use crate::clock::Clock;
use crate::daemon::Addresses;
use crate::domain::slots::Zone;
use anyhow::{Context as _, bail};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How often the daemon's events are looked at, in real time.
const FOLLOW_EVERY: Duration = Duration::from_millis(400);
/// A new set of lives begins after this long, in the sandbox's time.
const ROUND: Duration = Duration::from_hours(12);
/// A call that takes longer is told as a failure.
const DEADLINE: Duration = Duration::from_secs(15);

/// The actors and the narrator.
pub(super) struct Story {
    http: Client,
    clock: Clock,
    marketplace: SocketAddr,
    addresses: Addresses,
    admin_token: SecretString,
    software_token: SecretString,
    config_file: PathBuf,
}

/// One buyer's code.
struct Life<'a> {
    story: &'a Story,
    license: String,
}

impl Story {
    pub(super) fn new(
        ground: &Ground,
        marketplace: SocketAddr,
        addresses: Addresses,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            http: Client::builder().timeout(DEADLINE).no_proxy().build()?,
            clock: ground.clock.clone(),
            marketplace,
            addresses,
            admin_token: ground.admin_token.clone(),
            software_token: ground.software_token.clone(),
            config_file: ground.config_file(),
        })
    }

    /// Says where everything is.
    pub(super) fn introduce(&self) -> anyhow::Result<()> {
        let software = self.addresses.software.context("the software's listener is missing")?;
        let command = format!("authcoded --config {}", self.config_file.display());
        println!(
            "A daemon and a simulated marketplace are up; a minute here takes {} ms.",
            60_000 / self.clock.speed()
        );
        println!("  marketplace's console   http://{}/console", self.marketplace);
        println!(
            "  callbacks               http://{}/koogallery/callback",
            self.addresses.callback
        );
        println!("  operators (page, API)   http://{}", self.addresses.admin);
        println!(
            "  their token             {}",
            self.config_file.with_file_name("admin-token").display()
        );
        println!("  software                http://{software}");
        println!("  everything that happens {command} log");
        println!("  the codes               {command} license list");
        println!("Ctrl-C ends it. Times are Beijing's.\n");
        Ok(())
    }

    /// Plays lives and tells what the daemon makes of them. Returns only with an error.
    pub(super) async fn tell(&self) -> anyhow::Result<()> {
        tokio::try_join!(self.follow(), self.rounds())?;
        Ok(())
    }

    async fn rounds(&self) -> anyhow::Result<()> {
        loop {
            tokio::try_join!(
                self.impatient_buyer(),
                self.renewed_and_regretted(),
                self.late_payer(),
                self.non_payer(),
                self.refund(),
                self.bad_line(),
                self.violation(),
                self.stranger(),
            )?;
            self.say("narrator", "that was one set of lives; the next begins later today");
            tokio::time::sleep(self.clock.real(ROUND)).await;
        }
    }

    /// Hands the code over before receiving it: 92020004, and the ladder of waits.
    async fn impatient_buyer(&self) -> anyhow::Result<()> {
        let life = self.buy("an impatient buyer", 365 * 24 * 60, false).await?;
        life.register().await?;
        self.minutes(6).await;
        life.act("receive", json!({})).await?;
        self.say("buyer", &format!("receives {} in the service supervision at last", life.license));
        Ok(())
    }

    async fn renewed_and_regretted(&self) -> anyhow::Result<()> {
        let life = self.buy("a loyal buyer", 30 * 24 * 60, true).await?;
        life.register().await?;
        self.minutes(20).await;
        life.act("renew", json!({})).await?;
        self.say("buyer", &format!("renews {}", life.license));
        self.minutes(25).await;
        life.act("unrenew", json!({})).await?;
        self.say("buyer", &format!("gives the renewal of {} back", life.license));
        Ok(())
    }

    /// Expired, frozen, and thawed because the buyer pays after all.
    async fn late_payer(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer who pays late", 40, true).await?;
        life.register().await?;
        self.minutes(50).await;
        life.ask().await?;
        life.act("freeze", json!({})).await?;
        self.say("marketplace", &format!("the grace of {} is over: frozen", life.license));
        self.minutes(30).await;
        life.act("renew", json!({})).await?;
        self.say("buyer", &format!("renews {} while it is frozen", life.license));
        self.minutes(10).await;
        life.ask().await
    }

    async fn non_payer(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer who does not renew", 30, true).await?;
        life.register().await?;
        self.minutes(15).await;
        life.ask().await?;
        self.minutes(20).await;
        life.ask().await
    }

    async fn refund(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer who regrets", 365 * 24 * 60, true).await?;
        life.register().await?;
        self.minutes(30).await;
        life.act("refund", json!({})).await?;
        self.say("buyer", &format!("returns {}", life.license));
        self.minutes(10).await;
        life.ask().await
    }

    /// The marketplace's call comes with a damaged signature twice; the retry two minutes later counts.
    async fn bad_line(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer behind a bad line", 365 * 24 * 60, true).await?;
        life.register().await?;
        self.minutes(40).await;
        let rule =
            json!({"on": "callback", "code": life.license, "times": 2, "fault": "bad_signature"});
        self.console(Method::POST, "faults", &json!({ "rules": [rule] })).await?;
        life.act("renew", json!({})).await?;
        self.say(
            "marketplace",
            &format!("calls about {} arrive damaged, and are tried again", life.license),
        );
        Ok(())
    }

    async fn violation(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer who breaks the rules", 365 * 24 * 60, true).await?;
        life.register().await?;
        self.minutes(35).await;
        life.act("freeze", json!({})).await?;
        self.say("marketplace", &format!("freezes {} for a violation", life.license));
        self.minutes(30).await;
        life.act("unfreeze", json!({})).await?;
        self.say("marketplace", &format!("lifts the freeze of {}", life.license));
        Ok(())
    }

    /// A callback for a code that nobody registered here.
    async fn stranger(&self) -> anyhow::Result<()> {
        let life = self.buy("a buyer who told nobody", 365 * 24 * 60, true).await?;
        self.minutes(55).await;
        life.act("renew", json!({})).await?;
        self.say("buyer", &format!("renews {}, which was never handed over", life.license));
        Ok(())
    }

    async fn buy(&self, who: &str, minutes: u32, received: bool) -> anyhow::Result<Life<'_>> {
        let order = json!({"validity_seconds": i64::from(minutes) * 60, "received": received});
        let code = self.console(Method::POST, "codes", &order).await?;
        let license = code["license"].as_str().context("the console named no code")?.to_owned();
        self.say("marketplace", &format!("sells {license} to {who}"));
        Ok(Life { story: self, license })
    }

    async fn minutes(&self, minutes: u64) {
        tokio::time::sleep(self.clock.real(Duration::from_mins(minutes))).await;
    }

    fn say(&self, who: &str, what: &str) {
        let wall = Zone::SHANGHAI.wall(self.clock.now());
        println!("{} {who:>11}: {what}", wall.replace('T', " "));
    }

    /// Prints each event of the daemon as it appears.
    async fn follow(&self) -> anyhow::Result<()> {
        let mut after = self.newest_event().await?;
        loop {
            let page = self.events(&format!("after={after}&limit=1000")).await?;
            for event in page["items"].as_array().into_iter().flatten().rev() {
                after = event["id"].as_i64().unwrap_or(after);
                self.tell_event(event);
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    /// The first run is told from its beginning, a later one from where it goes on.
    async fn newest_event(&self) -> anyhow::Result<i64> {
        let page = self.events("limit=1").await?;
        let newest = page["items"][0]["id"].as_i64().unwrap_or(0);
        Ok(if newest < 20 { 0 } else { newest })
    }

    async fn events(&self, query: &str) -> anyhow::Result<Value> {
        let url = format!("http://{}/v1/events?{query}", self.addresses.admin);
        read(self.http.get(url).bearer_auth(self.admin_token.expose_secret())).await
    }

    fn tell_event(&self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or("");
        let moved = match (text("from"), text("to")) {
            ("", "") => String::new(),
            (from, to) => format!(" {from} → {to}"),
        };
        let (code, kind, source, detail) =
            (text("code"), text("kind"), text("source"), text("detail"));
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let code = if code.is_empty() { String::new() } else { format!("{code} ") };
        self.say("authcoded", &format!("{code}{kind}{moved} (by {source}){detail}"));
    }

    async fn console(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("http://{}/console/{path}", self.marketplace);
        let request = self.http.request(method, url);
        read(request.header("content-type", "application/json").body(body.to_string())).await
    }
}

impl Life<'_> {
    /// The buyer hands the code to the software, which registers it.
    async fn register(&self) -> anyhow::Result<()> {
        let body = json!({ "code": self.license }).to_string();
        let request = self.software(Method::POST, "licenses");
        read(request.header("content-type", "application/json").body(body)).await?;
        self.story.say("software", &format!("registers {}", self.license));
        Ok(())
    }

    async fn act(&self, act: &str, body: Value) -> anyhow::Result<()> {
        let path = format!("codes/{}/{act}", self.license);
        self.story.console(Method::POST, &path, &body).await.map(drop)
    }

    /// The software asks whether it may run.
    async fn ask(&self) -> anyhow::Result<()> {
        let path = format!("entitlements/{}", self.license);
        let answer = read(self.software(Method::GET, &path)).await?;
        let (decision, reason) = (&answer["decision"], &answer["reason"]);
        let text = format!(
            "may {} run? {} ({})",
            self.license,
            decision.as_str().unwrap_or("?"),
            reason.as_str().unwrap_or("?")
        );
        self.story.say("software", &text);
        Ok(())
    }

    fn software(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.story.addresses.software.map(|at| at.to_string()).unwrap_or_default();
        let request = self.story.http.request(method, format!("http://{address}/v1/{path}"));
        request.bearer_auth(self.story.software_token.expose_secret())
    }
}

async fn read(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    let status = response.status();
    let body = response.bytes().await?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if !status.is_success() {
        bail!("a call of the sandbox was answered {status}: {value}");
    }
    Ok(value)
}
