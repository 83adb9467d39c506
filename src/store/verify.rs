//! A walk along a chain, from its anchor to its head.
//!
//! Invariant: a chain is called whole only when every row that its ends promise is there, as it was
//! written, in its order, and passes through the heads that were noted along the way.

use super::callbacks::CallbackRow;
use super::chain::{Chain, Link, heads_of};
use super::events::EventRow;
use super::{Snapshot, StoreError, callbacks, events};
use rusqlite::Row;
use std::collections::BTreeSet;

/// What a walk along a chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Rows walked whose links hold.
    pub rows: i64,
    /// The first row whose link does not hold, or that should be there and is not.
    pub broken_at: Option<i64>,
}

/// The heads of all chains that were noted day by day: in the events, and in the journal.
#[derive(Debug, Clone, Default)]
pub struct Noted(BTreeSet<(Chain, i64, [u8; 32])>);

impl Noted {
    /// Takes in a text, if it tells of heads. Returns whether it does.
    pub fn note(&mut self, line: &str) -> bool {
        let heads = heads_of(line);
        let any = !heads.is_empty();
        self.0.extend(heads.into_iter().map(|(chain, link)| (chain, link.id, link.hash)));
        any
    }

    /// Whether `link` may follow the row `after`: no head was noted between them, or another one here.
    #[must_use]
    pub fn allow(&self, chain: Chain, after: i64, link: Link) -> bool {
        self.agree(chain, after.saturating_add(1), link)
    }

    /// Whether the chain may begin behind this row.
    #[must_use]
    pub fn allow_anchor(&self, chain: Chain, anchor: Link) -> bool {
        self.agree(chain, anchor.id, anchor)
    }

    /// Whether the chain may end here: no head was noted behind it.
    #[must_use]
    pub fn allow_end(&self, chain: Chain, head: Link) -> bool {
        let behind = (chain, head.id.saturating_add(1), [0; 32])..=(chain, i64::MAX, [0xff; 32]);
        self.0.range(behind).next().is_none()
    }

    /// Whether all that was noted of the rows from `first` on is this link.
    fn agree(&self, chain: Chain, first: i64, link: Link) -> bool {
        if first > link.id {
            return true;
        }
        let mut noted = self.0.range((chain, first, [0; 32])..=(chain, link.id, [0xff; 32]));
        noted.all(|(_, id, hash)| *id == link.id && *hash == link.hash)
    }
}

/// A row of a chain as far as its place is concerned.
struct Placed {
    id: i64,
    digest: [u8; 32],
    hash: [u8; 32],
}

impl Snapshot<'_> {
    /// Walks a chain.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn verify_chain(&self, chain: Chain) -> Result<ChainReport, StoreError> {
        let mut noted = Noted::default();
        let mut details = self.connection.prepare(
            "SELECT detail FROM event WHERE kind = 'job' AND detail GLOB 'chain heads: *'",
        )?;
        let mut rows = details.query([])?;
        while let Some(row) = rows.next()? {
            noted.note(&String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()));
        }
        match chain {
            Chain::Events => self.walk(chain, "SELECT * FROM event ORDER BY id", &noted, |row| {
                events::from_row(row).map(|row| row.placed())
            }),
            Chain::Callbacks => self.walk(chain, callbacks::IN_CHAIN, &noted, |row| {
                callbacks::from_row(row).map(|row| row.placed())
            }),
            Chain::Tests => self.walk(chain, callbacks::IN_TEST_CHAIN, &noted, |row| {
                callbacks::from_row(row).map(|row| row.placed())
            }),
        }
    }

    fn walk(
        &self,
        chain: Chain,
        sql: &str,
        noted: &Noted,
        place: impl Fn(&Row<'_>) -> rusqlite::Result<Placed>,
    ) -> Result<ChainReport, StoreError> {
        let Ok((anchor, head)) = self.chain_ends(chain) else {
            return Ok(ChainReport { rows: 0, broken_at: Some(0) });
        };
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let (mut link, mut walked) = (anchor, 0);
        let broken = |rows, at| Ok(ChainReport { rows, broken_at: Some(at) });
        // Events are never forgotten: their chain begins with the first one.
        let is_late = chain == Chain::Events && anchor != Link::GENESIS;
        if is_late || !noted.allow_anchor(chain, anchor) {
            return broken(0, anchor.id);
        }
        while let Some(row) = rows.next()? {
            // A row that cannot even be read is not as it was written.
            let Ok(row) = place(row) else { return broken(walked, link.id + 1) };
            let next = link.then(row.id, &row.digest);
            let in_order = row.id > link.id && (chain != Chain::Events || row.id == link.id + 1);
            if !in_order || next.hash != row.hash || !noted.allow(chain, link.id, next) {
                return broken(walked, row.id);
            }
            link = next;
            walked += 1;
        }
        if link != head || !noted.allow_end(chain, head) {
            return broken(walked, link.id + 1);
        }
        Ok(ChainReport { rows: walked, broken_at: None })
    }
}

impl EventRow {
    fn placed(&self) -> Placed {
        Placed { id: self.id, digest: self.digest(), hash: self.hash }
    }
}

impl CallbackRow {
    fn placed(&self) -> Placed {
        Placed { id: self.id, digest: self.digest(), hash: self.hash }
    }
}
