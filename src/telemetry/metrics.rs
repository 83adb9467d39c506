//! The metrics registry: every name, label and bucket of `GET /metrics` stands here.
//!
//! Invariant: label values come from closed sets or the configuration, never from a request, so the series
//! are bounded.

use super::watch::WatchMetrics;
use crate::domain::state::State;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Label = (&'static str, &'static str);
type Status = [(&'static str, u16); 1];
/// A name of the configuration, and a word of ours.
type Named = ([(&'static str, String); 1], [Label; 1]);
type Seconds = Gauge<f64, AtomicU64>;
type HttpRequests = Family<([Label; 1], Status), Counter>;

/// Buckets in seconds: a callback should take milliseconds and must take less than 20 s.
const CALLBACK_SECONDS: [f64; 12] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 5.0, 20.0];
/// Buckets in seconds of a call to the marketplace.
const CALL_SECONDS: [f64; 10] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0];
/// Buckets in jobs that one commit made durable.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Buckets in seconds of one commit.
const COMMIT_SECONDS: [f64; 10] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0];

/// Counts what one listener answers.
#[derive(Debug, Clone)]
pub struct Answered {
    listener: &'static str,
    all: HttpRequests,
    /// Most answers are this one: it is not looked up.
    ok: Counter,
}

impl Answered {
    fn new(listener: &'static str, all: &HttpRequests) -> Self {
        let ok = all.get_or_create_owned(&labels(listener, OK));
        Self { listener, all: all.clone(), ok }
    }

    /// One more answer, of this status.
    pub fn count(&self, status: u16) {
        if status == OK {
            self.ok.inc();
        } else {
            self.all.get_or_create(&labels(self.listener, status)).inc();
        }
    }
}

const OK: u16 = 200;

const fn labels(listener: &'static str, status: u16) -> ([Label; 1], Status) {
    ([("listener", listener)], [("status", status)])
}

/// All metrics. Cheap to record; share it in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    callbacks: Family<[Label; 3], Counter>,
    callback_duration: Histogram,
    transitions: Family<[Label; 2], Counter>,
    marketplace_calls: Family<[Label; 2], Counter>,
    marketplace_duration: Histogram,
    jobs: Family<[Label; 2], Counter>,
    http_requests: HttpRequests,
    usage_entries: Family<[Label; 1], Counter>,
    usage_waiting: Gauge,
    group_size: Histogram,
    commit_duration: Histogram,
    writer_queue: Gauge,
    licenses: Family<[Label; 1], Gauge>,
    waiting_for_buyer: Gauge,
    heartbeat_ok: Gauge,
    heartbeat_at: Seconds,
    heartbeat_step_ok: Family<[Label; 1], Gauge>,
    dial_test_calls: Family<[Label; 1], Counter>,
    delisting_failing_days: Gauge,
    marketplace_reachable: Gauge,
    marketplace_domain_working: Family<[(&'static str, String); 1], Gauge>,
    marketplace_strange: Family<[Label; 1], Gauge>,
    clock_skew: Seconds,
    failed_calls: Family<[Label; 2], Gauge>,
    failed_orders: Family<[Label; 1], Gauge>,
    deaf_gaps: Gauge,
    diagnoses: Family<[Label; 1], Counter>,
    unexamined: Counter,
    alarms: Family<[Label; 1], Gauge>,
    notifications: Family<Named, Counter>,
    notifications_waiting: Gauge,
    /// What the watches see.
    pub watch: WatchMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry in which nothing has been counted yet.
    #[must_use]
    pub fn new() -> Self {
        let mut r = Registry::with_prefix("authcoded");
        let seconds = |buckets: &[f64]| Histogram::new(buckets.iter().copied());
        Self {
            callbacks: add(&mut r, "callbacks", "Callbacks answered", Family::default()),
            callback_duration: add(
                &mut r,
                "callback_duration_seconds",
                "From the last byte of a callback to its answer",
                seconds(&CALLBACK_SECONDS),
            ),
            transitions: add(&mut r, "transitions", "Events of codes", Family::default()),
            marketplace_calls: add(
                &mut r,
                "marketplace_calls",
                "Calls to the marketplace, each try",
                Family::default(),
            ),
            marketplace_duration: add(
                &mut r,
                "marketplace_call_duration_seconds",
                "From sending to the whole answer",
                seconds(&CALL_SECONDS),
            ),
            jobs: add(&mut r, "jobs", "Runs of jobs", Family::default()),
            http_requests: add(&mut r, "http_requests", "Requests answered", Family::default()),
            usage_entries: add(
                &mut r,
                "usage_entries",
                "Entries of usage reports that ended",
                Family::default(),
            ),
            usage_waiting: add(
                &mut r,
                "usage_waiting",
                "Entries of usage reports that are not sent yet",
                Gauge::default(),
            ),
            group_size: add(
                &mut r,
                "commit_group_size",
                "Jobs that one commit made durable",
                seconds(&GROUP_SIZES),
            ),
            commit_duration: add(
                &mut r,
                "commit_duration_seconds",
                "One commit with its fsync",
                seconds(&COMMIT_SECONDS),
            ),
            writer_queue: add(&mut r, "writer_queue", "Jobs that wait", Gauge::default()),
            licenses: add(&mut r, "licenses", "Codes by state", Family::default()),
            waiting_for_buyer: add(
                &mut r,
                "waiting_for_buyer",
                "Codes whose buyer has not received them",
                Gauge::default(),
            ),
            heartbeat_ok: add(
                &mut r,
                "heartbeat_ok",
                "1 when the last heartbeat passed",
                Gauge::default(),
            ),
            heartbeat_at: add(
                &mut r,
                "heartbeat_timestamp_seconds",
                "When the last heartbeat ended, Unix time",
                Seconds::default(),
            ),
            heartbeat_step_ok: add(
                &mut r,
                "heartbeat_step_ok",
                "1 when the last heartbeat passed this step, 0 when it failed it or did not come to it",
                Family::default(),
            ),
            dial_test_calls: add(
                &mut r,
                "dial_test_calls",
                "Calls of the marketplace's dial tests that were seen",
                Family::default(),
            ),
            delisting_failing_days: add(
                &mut r,
                "delisting_failing_days",
                "Days in a row on which the dial test has failed; 5 freeze trading",
                Gauge::default(),
            ),
            marketplace_reachable: add(
                &mut r,
                "marketplace_reachable",
                "1 when the last call was answered",
                Gauge::default(),
            ),
            marketplace_domain_working: add(
                &mut r,
                "marketplace_domain_working",
                "0 while a domain rests after failures in a row",
                Family::default(),
            ),
            marketplace_strange: add(
                &mut r,
                "marketplace_strange_answers",
                "Answers since the start that held what no document tells of",
                Family::default(),
            ),
            clock_skew: add(
                &mut r,
                "clock_skew_seconds",
                "How far our clock is ahead of the marketplace's",
                Seconds::default(),
            ),
            failed_calls: add(
                &mut r,
                "failed_calls",
                "Calls that failed: repeated by the marketplace (open), or given up (restart)",
                Family::default(),
            ),
            failed_orders: add(
                &mut r,
                "failed_orders",
                "Orders of this month whose calls were given up (failed), or may be (at_risk)",
                Family::default(),
            ),
            deaf_gaps: add(
                &mut r,
                "deaf_gaps",
                "Gaps in which calls may have been missed, and after which not every code was compared",
                Gauge::default(),
            ),
            diagnoses: add(
                &mut r,
                "signature_diagnoses",
                "Refused callbacks that the signature doctor examined",
                Family::default(),
            ),
            unexamined: add(
                &mut r,
                "signature_unexamined",
                "Refused callbacks for which the signature doctor had no time",
                Counter::default(),
            ),
            alarms: add(&mut r, "alarms", "What is wrong now", Family::default()),
            notifications: add(
                &mut r,
                "notifications",
                "Tries to send a message about an alarm",
                Family::default(),
            ),
            notifications_waiting: add(
                &mut r,
                "notifications_waiting",
                "Messages about alarms that are due and not sent",
                Gauge::default(),
            ),
            watch: WatchMetrics::register(&mut r),
            registry: r,
        }
    }

    /// One callback was answered.
    pub fn callback(
        &self,
        activity: &'static str,
        verdict: &'static str,
        result_code: &'static str,
        took: Duration,
    ) {
        let labels = [("activity", activity), ("verdict", verdict), ("result_code", result_code)];
        self.callbacks.get_or_create(&labels).inc();
        self.callback_duration.observe(took.as_secs_f64());
    }

    /// One event of a code was committed.
    pub fn transition(&self, kind: &'static str, source: &'static str) {
        self.transitions.get_or_create(&[("kind", kind), ("source", source)]).inc();
    }

    /// One try of a call to the marketplace ended; `outcome` is a word of `Outcome`, or `transport`.
    pub fn marketplace_call(&self, api: &'static str, outcome: &'static str, took: Duration) {
        self.marketplace_calls.get_or_create(&[("api", api), ("outcome", outcome)]).inc();
        self.marketplace_duration.observe(took.as_secs_f64());
    }

    /// One run of a job ended.
    pub fn job(&self, job: &'static str, outcome: &'static str) {
        self.jobs.get_or_create(&[("job", job), ("outcome", outcome)]).inc();
    }

    /// Counts what a listener answers: `callback`, `admin` or `software`.
    #[must_use]
    pub fn http_requests(&self, listener: &'static str) -> Answered {
        Answered::new(listener, &self.http_requests)
    }

    /// So many entries of usage reports were `sent` or `failed`.
    pub fn usage(&self, outcome: &'static str, entries: usize) {
        self.usage_entries.get_or_create(&[("outcome", outcome)]).inc_by(entries as u64);
    }

    /// How many entries of usage reports are not sent yet.
    pub fn set_usage_waiting(&self, entries: i64) {
        self.usage_waiting.set(entries);
    }

    /// One commit made `jobs` jobs durable.
    pub fn commit(&self, jobs: u32, took: Duration) {
        self.group_size.observe(f64::from(jobs));
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// How many jobs wait for the writer.
    pub fn set_writer_queue(&self, jobs: i64) {
        self.writer_queue.set(jobs);
    }

    /// How many codes are in `state`.
    pub fn set_licenses(&self, state: State, codes: i64) {
        self.licenses.get_or_create(&[("state", state.as_str())]).set(codes);
    }

    /// How many codes wait for their buyer.
    pub fn set_waiting_for_buyer(&self, codes: i64) {
        self.waiting_for_buyer.set(codes);
    }

    /// The last heartbeat ended at `at_seconds` (Unix time).
    pub fn set_heartbeat(&self, passed: bool, at_seconds: f64) {
        self.heartbeat_ok.set(i64::from(passed));
        self.heartbeat_at.set(at_seconds);
    }

    /// Whether the last call to the marketplace was answered at all.
    pub fn set_marketplace_reachable(&self, reachable: bool) {
        self.marketplace_reachable.set(i64::from(reachable));
    }

    /// How the last heartbeat went in one step.
    pub fn set_heartbeat_step(&self, step: &'static str, passed: bool) {
        self.heartbeat_step_ok.get_or_create(&[("step", step)]).set(i64::from(passed));
    }

    /// A call of a dial test was `answered` with 000000, or `refused`.
    pub fn dial_test_call(&self, result: &'static str) {
        self.dial_test_calls.get_or_create(&[("result", result)]).inc();
    }

    /// How many days in a row the dial test has failed.
    pub fn set_delisting_failing_days(&self, days: i64) {
        self.delisting_failing_days.set(days);
    }

    /// Whether a domain of the configuration works, or rests after failures in a row.
    pub fn set_marketplace_domain(&self, endpoint: String, working: bool) {
        let labels = [("endpoint", endpoint)];
        self.marketplace_domain_working.get_or_create(&labels).set(i64::from(working));
    }

    /// How many strange things of a kind were seen.
    pub fn set_marketplace_strange(&self, kind: &'static str, seen: i64) {
        self.marketplace_strange.get_or_create(&[("kind", kind)]).set(seen);
    }

    /// How many seconds our clock is ahead of the marketplace's; negative when it is behind.
    pub fn set_clock_skew(&self, seconds: f64) {
        self.clock_skew.set(seconds);
    }

    /// How many failed calls stand so, and whether they are proved to be the marketplace's.
    pub fn set_failed_calls(&self, state: &'static str, authentic: bool, calls: i64) {
        let authentic = if authentic { "yes" } else { "no" };
        let labels = [("state", state), ("authentic", authentic)];
        self.failed_calls.get_or_create(&labels).set(calls);
    }

    /// How many orders of this month `failed`, or are `at_risk`.
    pub fn set_failed_orders(&self, state: &'static str, orders: u32) {
        self.failed_orders.get_or_create(&[("state", state)]).set(i64::from(orders));
    }

    /// How many gaps are not settled.
    pub fn set_deaf_gaps(&self, gaps: i64) {
        self.deaf_gaps.set(gaps);
    }

    /// The signature doctor found this cause.
    pub fn diagnosis(&self, cause: &'static str) {
        self.diagnoses.get_or_create(&[("cause", cause)]).inc();
    }

    /// The signature doctor had no time for a refused callback.
    pub fn unexamined(&self) {
        self.unexamined.inc();
    }

    /// How many alarms of this severity there are.
    pub fn set_alarms(&self, severity: &'static str, alarms: i64) {
        self.alarms.get_or_create(&[("severity", severity)]).set(alarms);
    }

    /// One try to send a message over a channel of the configuration: `sent`, `failed` or `given_up`.
    pub fn notification(&self, channel: &str, outcome: &'static str) {
        let labels = ([("channel", channel.to_owned())], [("outcome", outcome)]);
        self.notifications.get_or_create(&labels).inc();
    }

    /// How many messages are due and not sent.
    pub fn set_notifications_waiting(&self, messages: i64) {
        self.notifications_waiting.set(messages);
    }

    /// The text of `GET /metrics`, in the OpenMetrics format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

pub(super) fn add<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_encoded_under_its_name() {
        let metrics = Metrics::new();
        metrics.callback("releaseLicenseCode", "applied", "000000", Duration::from_millis(3));
        metrics.transition("released", "callback");
        metrics.marketplace_call("query", "done", Duration::from_millis(30));
        metrics.job("heartbeat", "ok");
        metrics.http_requests("admin").count(200);
        metrics.http_requests("admin").count(404);
        metrics.usage("sent", 3);
        metrics.set_usage_waiting(5);
        metrics.commit(7, Duration::from_millis(1));
        metrics.set_licenses(State::Frozen, 4);
        metrics.set_heartbeat(true, 1_763_700_000.0);
        metrics.set_clock_skew(-1.5);
        metrics.set_heartbeat_step("tls", true);
        metrics.dial_test_call("answered");
        metrics.set_delisting_failing_days(2);
        metrics.set_failed_calls("restart", true, 2);
        metrics.set_failed_orders("at_risk", 6);
        metrics.set_deaf_gaps(1);
        metrics.set_alarms("high", 2);
        metrics.notification("ops", "sent");
        let text = metrics.encode();
        for line in [
            r#"authcoded_callbacks_total{activity="releaseLicenseCode",verdict="applied",result_code="000000"} 1"#,
            r#"authcoded_transitions_total{kind="released",source="callback"} 1"#,
            r#"authcoded_marketplace_calls_total{api="query",outcome="done"} 1"#,
            r#"authcoded_jobs_total{job="heartbeat",outcome="ok"} 1"#,
            r#"authcoded_http_requests_total{listener="admin",status="200"} 1"#,
            r#"authcoded_http_requests_total{listener="admin",status="404"} 1"#,
            r#"authcoded_usage_entries_total{outcome="sent"} 3"#,
            "authcoded_usage_waiting 5",
            r#"authcoded_commit_group_size_bucket{le="8.0"} 1"#,
            r#"authcoded_licenses{state="frozen"} 4"#,
            "authcoded_heartbeat_ok 1",
            r#"authcoded_alarms{severity="high"} 2"#,
            r#"authcoded_notifications_total{channel="ops",outcome="sent"} 1"#,
            "authcoded_clock_skew_seconds -1.5",
            r#"authcoded_heartbeat_step_ok{step="tls"} 1"#,
            r#"authcoded_dial_test_calls_total{result="answered"} 1"#,
            "authcoded_delisting_failing_days 2",
            r#"authcoded_failed_calls{state="restart",authentic="yes"} 2"#,
            r#"authcoded_failed_orders{state="at_risk"} 6"#,
            "authcoded_deaf_gaps 1",
            "authcoded_callback_duration_seconds_count 1",
            "authcoded_writer_queue 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
