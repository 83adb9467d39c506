//! What was reported, by code and day: the list that operators see.

use crate::store::{Snapshot, StoreError};
use rusqlite::named_params;
use std::str::FromStr;

/// Where the entries of a code and day stand, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageState {
    /// Some were given up.
    Failed,
    /// Some are not sent yet, or their answer is not known.
    Waiting,
    /// All were taken.
    Sent,
}

impl UsageState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Waiting, Self::Sent];

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
        }
    }
}

/// Why a word is no [`UsageState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not failed, waiting or sent")]
pub struct BadUsageState;

impl FromStr for UsageState {
    type Err = BadUsageState;
    fn from_str(word: &str) -> Result<Self, BadUsageState> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(BadUsageState)
    }
}

/// What was reported of a code on a day.
#[derive(Debug, Clone)]
pub struct UsageDay {
    /// The Beijing day, counted from 1970-01-01.
    pub day: i64,
    /// The code.
    pub code: String,
    /// Clients.
    pub clients: i64,
    /// The greatest count.
    pub active_num: Option<i64>,
    /// Entries that are not sent yet, or whose answer is not known.
    pub waiting: i64,
    /// Entries taken.
    pub sent: i64,
    /// Entries given up.
    pub failed: i64,
    /// The marketplace's code for those that wait or were given up.
    pub error_code: Option<String>,
}

impl UsageDay {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> UsageState {
        if self.failed > 0 {
            UsageState::Failed
        } else if self.waiting > 0 {
            UsageState::Waiting
        } else {
            UsageState::Sent
        }
    }
}

/// Which days a list shows; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Only of this code.
    pub code: Option<String>,
    /// Only in this state.
    pub state: Option<UsageState>,
    /// Only after this place of the list.
    pub after: Option<(i64, String)>,
    /// At most so many.
    pub limit: usize,
}

impl Snapshot<'_> {
    /// What was reported, by day and code, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn usage_days(&self, filter: &UsageFilter) -> Result<Vec<UsageDay>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT day, code, sum(client <> x''), max(CASE client WHEN x'' THEN active_num END), \
             sum(state IN ('waiting','sending')) AS waiting, sum(state = 'sent'), \
             sum(state = 'failed') AS failed, max(coalesce(error_code, \
             (SELECT error_code FROM usage_batch WHERE id = batch))) \
             FROM usage WHERE (day, code) < (:day, :after) AND (:code IS NULL OR code = :code) \
             GROUP BY day, code HAVING :state IS NULL OR :state = \
             CASE WHEN failed > 0 THEN 'failed' WHEN waiting > 0 THEN 'waiting' ELSE 'sent' END \
             ORDER BY day DESC, code DESC LIMIT :limit",
        )?;
        let (day, after) = filter.after.clone().unwrap_or((i64::MAX, String::new()));
        let rows = statement.query_map(
            named_params! {
                ":day": day,
                ":after": after,
                ":code": filter.code,
                ":state": filter.state.map(UsageState::as_str),
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            |row| {
                Ok(UsageDay {
                    day: row.get(0)?,
                    code: row.get(1)?,
                    clients: row.get(2)?,
                    active_num: row.get(3)?,
                    waiting: row.get(4)?,
                    sent: row.get(5)?,
                    failed: row.get(6)?,
                    error_code: row.get(7)?,
                })
            },
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
