//! A step of a heartbeat, what was found in it, and what all of them come to.

use super::SLOW_AFTER;
use serde_json::{Value, json};
use std::time::Duration;

/// The first stage: the name of the public address.
pub(super) const DNS: &str = "dns";
/// The second: a connection to it.
pub(super) const TCP: &str = "tcp";
/// The third: its certificate.
pub(super) const TLS: &str = "tls";

/// How a step or the whole went, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::guard) enum Outcome {
    /// Not taken: an earlier step failed, or there is nothing to look at.
    Skipped,
    Ok,
    Slow,
    Failed,
}

impl Outcome {
    pub(in crate::guard) const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// What is wrong in plain words, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) text: String,
    pub(super) remedy: &'static str,
}

impl Diagnosis {
    pub(super) fn new(text: impl Into<String>, remedy: &'static str) -> Self {
        Self { text: text.into(), remedy }
    }
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    outcome: Outcome,
    status: Option<u16>,
    took: Duration,
    detail: String,
    remedy: Option<&'static str>,
}

/// What a heartbeat found.
#[derive(Debug)]
pub(in crate::guard) struct Found {
    /// The worst of its steps.
    pub(in crate::guard) outcome: Outcome,
    pub(in crate::guard) certificate_days: Option<i64>,
    steps: Vec<Step>,
    /// The step after whose fault no other can be taken.
    bar: Option<&'static str>,
}

impl Found {
    pub(super) const fn new() -> Self {
        Self { outcome: Outcome::Ok, certificate_days: None, steps: Vec::new(), bar: None }
    }

    /// Whether no further step can be taken.
    pub(super) const fn barred(&self) -> bool {
        self.bar.is_some()
    }

    /// Lets no further step be taken because of this one.
    pub(super) const fn bar(&mut self, name: &'static str) {
        self.bar = Some(name);
    }

    /// Records a stage; one that failed bars the way.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        took: Duration,
        verdict: Result<(T, String), Diagnosis>,
    ) -> Option<T> {
        let (reached, verdict) = match verdict {
            Ok((reached, detail)) => (Some(reached), Ok(detail)),
            Err(why) => {
                self.bar(name);
                (None, Err(why))
            }
        };
        self.answer(name, took, None, verdict);
        reached
    }

    /// Records a step that had an end.
    pub(super) fn answer(
        &mut self,
        name: &'static str,
        took: Duration,
        status: Option<u16>,
        verdict: Result<String, Diagnosis>,
    ) {
        let (outcome, detail, remedy) = match verdict {
            Err(why) => (Outcome::Failed, why.text, Some(why.remedy)),
            Ok(detail) if took > SLOW_AFTER => {
                let detail = format!("{detail}, but after {}; the limit is 20 s", seconds(took));
                (Outcome::Slow, detail, Some("look at what is slow: resolver, proxy, load, disk"))
            }
            Ok(detail) => (Outcome::Ok, detail, None),
        };
        self.push(Step { name, outcome, status, took, detail, remedy });
    }

    /// Records a step that cannot be taken because an earlier one failed.
    pub(super) fn skip<T>(&mut self, name: &'static str) -> Option<T> {
        let detail = format!("not tried, because {} failed", self.bar.unwrap_or("another step"));
        self.leave_out(name, &detail);
        None
    }

    /// Records a step for which there is nothing to do.
    pub(super) fn leave_out(&mut self, name: &'static str, why: &str) {
        let (outcome, took) = (Outcome::Skipped, Duration::ZERO);
        self.push(Step { name, outcome, status: None, took, detail: why.to_owned(), remedy: None });
    }

    fn push(&mut self, step: Step) {
        self.outcome = self.outcome.max(step.outcome);
        self.steps.push(step);
    }

    /// The steps as they are stored.
    pub(in crate::guard) fn steps_json(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            json!({
                "name": step.name,
                "outcome": step.outcome.as_str(),
                "status": step.status,
                "duration_ms": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
                "detail": step.detail,
                "what_to_do": step.remedy,
            })
        });
        Value::Array(steps.collect()).to_string()
    }

    /// Each step that was taken or barred, and whether it passed.
    pub(in crate::guard) fn passed(&self) -> impl Iterator<Item = (&'static str, bool)> + '_ {
        let barred = self.bar.is_some();
        let counts = move |step: &&Step| step.outcome != Outcome::Skipped || barred;
        let passed = |step: &Step| matches!(step.outcome, Outcome::Ok | Outcome::Slow);
        self.steps.iter().filter(counts).map(move |step| (step.name, passed(step)))
    }

    /// One line: the first thing that is wrong, or that all is well.
    pub(in crate::guard) fn diagnosis(&self) -> String {
        let at_fault = |step: &&Step| step.outcome == self.outcome;
        match self.steps.iter().find(at_fault).filter(|_| self.outcome > Outcome::Ok) {
            Some(step) => format!("{} ({}): {}", self.outcome.as_str(), step.name, step.detail),
            None => format!("ok, {} steps went as they should", self.steps.len()),
        }
    }
}

/// What to do about a failed step, when only its name is known.
pub(in crate::guard) fn what_to_do(step: &str) -> &'static str {
    match step {
        DNS => "restore the DNS record of callback.public-url, then `authcoded probe run`",
        TCP => {
            "see that the proxy listens there and that firewall and security group let it in, then `authcoded probe run`"
        }
        TLS => {
            "renew or complete the certificate that is served, reload the proxy, then `authcoded probe run`"
        }
        _ => {
            "`authcoded probe run` says for each step what to do; repair it before the next dial test"
        }
    }
}

/// A duration as people say it: whole seconds, with a tenth below ten.
pub(super) fn seconds(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Diagnosis {
        Diagnosis::new("DNS: no answer", "repair it")
    }

    #[test]
    fn a_failed_stage_bars_the_others_which_are_still_recorded() {
        let mut found = Found::new();
        assert_eq!(found.take::<()>(DNS, Duration::ZERO, Err(fault())), None);
        assert!(found.barred());
        found.skip::<()>(TCP);
        assert_eq!((found.outcome, found.steps.len()), (Outcome::Failed, 2));
        assert_eq!(found.steps[1].detail, "not tried, because dns failed");
        assert_eq!(found.diagnosis(), "failed (dns): DNS: no answer");
        assert_eq!(found.passed().collect::<Vec<_>>(), [(DNS, false), (TCP, false)]);
        let stored: Value = serde_json::from_str(&found.steps_json()).expect("JSON");
        assert_eq!(stored[0]["what_to_do"], "repair it");
        assert_eq!(stored[1]["outcome"], "skipped");
    }

    #[test]
    fn what_is_slow_is_told_and_what_is_left_out_is_no_fault() {
        let mut found = Found::new();
        found.leave_out(TLS, "plain http");
        assert_eq!((found.outcome, found.passed().count()), (Outcome::Ok, 0));
        found.answer("renewal", Duration::from_millis(2_500), Some(200), Ok("answered".to_owned()));
        assert_eq!(
            found.diagnosis(),
            "slow (renewal): answered, but after 2.5 s; the limit is 20 s"
        );
        assert_eq!(seconds(Duration::from_secs(25)), "25 s");
    }
}
