//! What came of a story, step by step.

use super::step::Step;
use serde::Serialize;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done, or as expected.
    Ok,
    /// Impossible, or not as expected.
    Failed,
    /// Left out, because it needs the merchant's admin interface or somebody's hands.
    Skipped,
}

/// A step that was played.
#[derive(Debug, Clone, Serialize)]
pub struct Played {
    /// The line of the file in which it begins.
    pub line: usize,
    /// The step on one line.
    pub step: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was expected, where it did not come.
    pub expected: Option<String>,
    /// What was seen or done; for a skipped step, what to do instead.
    pub got: Option<String>,
}

/// How the playing of one step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Done, with something to tell or nothing.
    Ok(Option<String>),
    /// This was expected, that was seen.
    Missed { expected: String, got: String },
    /// An act that was refused.
    Refused(String),
    /// Left out.
    Skipped(String),
}

impl Played {
    pub(super) fn new(step: &Step, end: End) -> Self {
        let (outcome, expected, got) = match end {
            End::Ok(told) => (Outcome::Ok, None, told),
            End::Missed { expected, got } => (Outcome::Failed, Some(expected), Some(got)),
            End::Refused(why) => (Outcome::Failed, None, Some(why)),
            End::Skipped(why) => (Outcome::Skipped, None, Some(why)),
        };
        Self { line: step.line, step: step.text.clone(), outcome, expected, got }
    }
}

/// A story that was played.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Its steps, up to the first that failed.
    pub steps: Vec<Played>,
    /// How many were left after that.
    pub not_played: usize,
}

impl Report {
    /// Whether no step failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.count(Outcome::Failed) == 0
    }

    /// How many steps ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.steps.iter().filter(|step| step.outcome == outcome).count()
    }
}
