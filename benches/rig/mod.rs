//! What the benches share: the daemon as a child process, codes in its database, and a cheap load generator.
#![allow(dead_code, reason = "each bench uses its part")]

pub(crate) mod daemon;
pub(crate) mod figures;
pub(crate) mod load;

use authcoded::domain::license::Standing;
use authcoded::domain::license::{Code, Expiry, License, MarketplaceStatus};
use authcoded::domain::state::Live;
use authcoded::domain::time::{DAY_MS, DateText, Timestamp};
use authcoded::store::{Store, StoreError};
use std::path::Path;
use tempfile::TempDir;

/// Codes stored in one transaction while a database is prepared.
const BATCH: usize = 20_000;

/// The time at the edge of a bench.
pub(crate) fn now() -> Timestamp {
    authcoded::clock::Clock::system().now()
}

/// A folder on the disk that the target folder is on: `/tmp` may be memory, which would make fsync free.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

/// The n-th code: looks like one, and sorts by its number, so that a million are stored quickly.
pub(crate) fn code(n: usize) -> String {
    format!("PL{n:010}BENCHCODE{:011}", n * 7_919 % 99_999_999_977)
}

/// Fills the database in `data` with `count` codes in use, renewed once and asked about just now, so
/// that neither a first use nor the sweep at start calls the marketplace.
pub(crate) fn store_codes(data: &Path, count: usize) {
    store_licenses(data, count, license);
}

/// Fills the database in `data` with what `license` says of each number below `count`, as of now.
pub(crate) fn store_licenses<F>(data: &Path, count: usize, license: F)
where
    F: Fn(usize, Timestamp) -> License + Clone + Send + 'static,
{
    let (store, held) = Store::open(data, |_, _| {}).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for first in (0..count).step_by(BATCH) {
            let (last, at, license) = (count.min(first + BATCH), now(), license.clone());
            let stored: Result<(), StoreError> = store
                .write(move |tx| {
                    (first..last).try_for_each(|n| tx.save_license(&license(n, at), None))
                })
                .await;
            stored.expect("codes are stored");
        }
        store.shut_down();
        held.writer_end.await.expect("the writer ends");
    });
}

fn license(n: usize, at: Timestamp) -> License {
    in_use(&code(n), DateText::from_utc(at.plus_ms(180 * DAY_MS)), at)
}

/// A code in use until `text`, asked about just now.
pub(crate) fn in_use(code: &str, text: DateText, at: Timestamp) -> License {
    let mut license = License::issued(Code::parse(code).expect("a code"), at);
    license.standing = Standing::Live(Live::Renewed);
    license.renewals_in_force = 1;
    license.expiry = Some(Expiry { text, at: text.utc() });
    license.marketplace_status = MarketplaceStatus::Alive;
    license.marketplace_checked_at = Some(at);
    license.activated_at = Some(at);
    license
}
