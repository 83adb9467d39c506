//! Table `event_hour`: where in the events an hour of our clock begins, each time that it does.
//!
//! Invariant: the events from one row's id up to the next one's are all of that row's hour. So a time is found
//! in a table of some thousand rows, whatever the clock did, and no event pays for an index over times.

use super::{Snapshot, Tx};
use crate::domain::time::{HOUR_MS, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

/// The hour of the newest event, if there is one.
pub(super) fn newest_hour(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT hour FROM event_hour ORDER BY first_id DESC LIMIT 1";
    connection.query_row(sql, [], |row| row.get(0)).optional()
}

impl Tx<'_> {
    /// Enters the hour of an event that is appended, unless it is that of the event before.
    pub(super) fn enter_hour(&mut self, id: i64, at: Timestamp) -> rusqlite::Result<()> {
        let hour = at.as_ms() / HOUR_MS;
        if self.hour.replace(hour) == Some(hour) {
            return Ok(());
        }
        self.connection
            .prepare_cached("INSERT INTO event_hour VALUES (?1, ?2)")?
            .execute((id, hour))?;
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Between which ids, both excluded, the events at or after `since` and before `until` lie, with some of
    /// the hours around; `None` when there is none.
    pub(super) fn ids_of_time(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> rusqlite::Result<Option<(i64, i64)>> {
        let hour = |at: Timestamp| at.as_ms() / HOUR_MS;
        let (first, last, next): (Option<i64>, Option<i64>, Option<i64>) = self
            .connection
            .prepare_cached(
                "SELECT (SELECT min(first_id) FROM event_hour WHERE hour >= ?1), last, \
                 (SELECT min(first_id) FROM event_hour WHERE first_id > last) \
                 FROM (SELECT max(first_id) AS last FROM event_hour WHERE hour <= ?2)",
            )?
            .query_row((since.map_or(i64::MIN, hour), until.map_or(i64::MAX, hour)), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        Ok(first.zip(last).map(|(first, _)| (first - 1, next.unwrap_or(i64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::time::{HOUR_MS, Timestamp};
    use crate::domain::transition::{EventDraft, EventKind, Source};
    use crate::store::{EventFilter, Store};
    use proptest::prelude::*;

    /// Steps of the clock, mostly onwards, now and then far back.
    fn steps() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            8 => 0..HOUR_MS,
            2 => HOUR_MS..50 * HOUR_MS,
            1 => -30 * HOUR_MS..0,
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_time_finds_its_events_whatever_the_clock_did(
            steps in steps(),
            group in 1usize..9,
            bounds in prop::collection::vec((-40i64..600, 0i64..200), 6),
        ) {
            let start = Timestamp::from_ms(1_795_249_800_000);
            let clock = steps.iter().scan(start, |at, step| {
                *at = at.plus_ms(*step);
                Some(*at)
            });
            let times: Vec<Timestamp> = clock.collect();
            let folder = tempfile::tempdir().expect("a folder");
            let (store, _held) = Store::open(folder.path(), |_, _| {}).expect("opened");
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            for group in times.chunks(group) {
                let group = group.to_vec();
                let stored = store.write(move |tx| {
                    let event = EventDraft::note(EventKind::Observed, "");
                    group.iter().try_for_each(|at| tx.append_event(*at, None, Source::Query, &event))
                });
                runtime.block_on(stored).expect("stored");
            }
            for (from, hours) in bounds {
                let since = start.plus_ms(from * HOUR_MS / 7);
                let until = since.plus_ms(hours * HOUR_MS / 5);
                for (since, until) in
                    [(Some(since), Some(until)), (Some(since), None), (None, Some(until))]
                {
                    let wanted = |at: &Timestamp| {
                        since.is_none_or(|since| *at >= since) && until.is_none_or(|until| *at < until)
                    };
                    let filter = EventFilter { since, until, limit: 1_000, ..EventFilter::default() };
                    let found = store.read(|snapshot| snapshot.events(&filter)).expect("read");
                    let found: Vec<i64> = found.iter().rev().map(|row| row.id).collect();
                    let all = (1i64..).zip(&times).filter(|(_, at)| wanted(at));
                    prop_assert_eq!(found, all.map(|(id, _)| id).collect::<Vec<_>>());
                }
            }
            store.shut_down();
        }
    }
}
