//! Chains over rows: a row's digest covers its columns, and a link covers the link before and the digest.
//!
//! Invariant: whoever has every digest of a chain can check every link, also without the rows. So a row
//! that is changed, removed, moved or put in between is found, and a copy about one code can be checked
//! without telling of another.

use super::{Snapshot, Tx};
use crate::domain::hex;
use ring::digest::{Context, SHA256, digest as sha256};
use rusqlite::{Connection, OptionalExtension as _};

/// What a text of all heads begins with: in the daily event, and in the log.
const HEADS: &str = "chain heads: ";

/// A chain. Callbacks have two, because test traffic is forgotten earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// What happened.
    Events,
    /// What came, but for test traffic.
    Callbacks,
    /// Test traffic.
    Tests,
}

impl Chain {
    /// Every chain.
    pub const ALL: [Self; 3] = [Self::Events, Self::Callbacks, Self::Tests];

    /// The word used in columns, files and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Callbacks => "callbacks",
            Self::Tests => "test-callbacks",
        }
    }

    /// The chain of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.as_str() == text)
    }
}

/// A place in a chain: a row and its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The row.
    pub id: i64,
    /// SHA-256 over the link before and the row's digest.
    pub hash: [u8; 32],
}

impl Link {
    /// Before the first row.
    pub const GENESIS: Self = Self { id: 0, hash: [0; 32] };

    /// The link of the row that follows.
    #[must_use]
    pub fn then(self, id: i64, digest: &[u8; 32]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(digest);
        Self { id, hash: bytes(context.finish().as_ref()) }
    }
}

/// A column as it goes into a row's digest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Integer(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Absent,
}

impl<'a> Cell<'a> {
    pub(super) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }

    pub(super) fn integer(number: Option<i64>) -> Self {
        number.map_or(Self::Absent, Self::Integer)
    }
}

/// SHA-256 over the columns. Each is preceded by its length as eight bytes, big-endian, an absent one is
/// eight bytes of 0xff, and a number is eight bytes, so that no two rows share a digest.
pub(super) fn digest(cells: &[Cell<'_>]) -> [u8; 32] {
    // One call of the hash for a row: most rows are short.
    let mut text = Vec::with_capacity(1_024);
    for cell in cells {
        let number;
        let part: &[u8] = match cell {
            Cell::Integer(n) => {
                number = n.to_be_bytes();
                &number
            }
            Cell::Text(text) => text.as_bytes(),
            Cell::Bytes(bytes) => bytes,
            Cell::Absent => {
                text.extend_from_slice(&[0xff; 8]);
                continue;
            }
        };
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    }
    bytes(sha256(&SHA256, &text).as_ref())
}

fn bytes(digest: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest);
    bytes
}

/// Where each chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads([Link; Chain::ALL.len()]);

impl Heads {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut heads = Self([Link::GENESIS; Chain::ALL.len()]);
        for chain in Chain::ALL {
            heads.0[chain as usize] = ends(connection, chain)?.1;
        }
        Ok(heads)
    }

    /// Where this chain ends.
    #[must_use]
    pub const fn of(&self, chain: Chain) -> Link {
        self.0[chain as usize]
    }

    /// One line for people, logs and the daily event.
    #[must_use]
    pub fn line(&self) -> String {
        let parts = Chain::ALL.map(|chain| {
            let Link { id, hash } = self.of(chain);
            format!("{} {id} {}", chain.as_str(), hex::encode(&hash))
        });
        format!("{HEADS}{}", parts.join("; "))
    }
}

/// The heads that a line tells of; none when it is another line.
#[must_use]
pub fn heads_of(line: &str) -> Vec<(Chain, Link)> {
    let part = |part: &str| {
        let (chain, rest) = part.split_once(' ')?;
        let (id, hash) = rest.split_once(' ')?;
        let place = Link { id: id.parse().ok()?, hash: hex::decode_32(hash)? };
        Some((Chain::parse(chain)?, place))
    };
    let parts = line.strip_prefix(HEADS).map(|parts| parts.split("; ").map(part).collect());
    parts.flatten().unwrap_or_default()
}

/// The link before the oldest row that is kept, and that of the newest one.
pub(super) fn ends(connection: &Connection, chain: Chain) -> rusqlite::Result<(Link, Link)> {
    let found = connection
        .prepare_cached(
            "SELECT anchor_id, anchor_hash, head_id, head_hash FROM chain WHERE name = ?1",
        )?
        .query_row([chain.as_str()], |row| {
            let anchor = Link { id: row.get(0)?, hash: row.get(1)? };
            Ok((anchor, Link { id: row.get(2)?, hash: row.get(3)? }))
        })
        .optional()?;
    Ok(found.unwrap_or((Link::GENESIS, Link::GENESIS)))
}

impl Tx<'_> {
    /// Where the chains end, with what this transaction has added.
    #[must_use]
    pub const fn heads(&self) -> Heads {
        self.heads
    }

    /// The id of the next callback: both chains count together.
    pub(super) fn next_callback(&self) -> i64 {
        let last = |chain| self.heads.of(chain).id;
        last(Chain::Callbacks).max(last(Chain::Tests)) + 1
    }

    /// Adds a row's digest to a chain. Returns its link.
    pub(super) fn chain(&mut self, chain: Chain, id: i64, digest: &[u8; 32]) -> [u8; 32] {
        let link = self.heads.of(chain).then(id, digest);
        self.heads.0[chain as usize] = link;
        link.hash
    }

    /// Keeps where the chains end that have grown since `before`: once for a group.
    pub(super) fn store_heads(&self, before: &Heads) -> rusqlite::Result<()> {
        for chain in Chain::ALL {
            let head = self.heads.of(chain);
            if head != before.of(chain) {
                self.connection
                    .prepare_cached(
                        "INSERT INTO chain VALUES (?1, 0, zeroblob(32), ?2, ?3) ON CONFLICT (name) \
                         DO UPDATE SET head_id = excluded.head_id, head_hash = excluded.head_hash",
                    )?
                    .execute((chain.as_str(), head.id, head.hash))?;
            }
        }
        Ok(())
    }

    /// Keeps the link of the last row that is forgotten.
    pub(super) fn anchor(&self, chain: Chain, anchor: Link) -> rusqlite::Result<()> {
        let head = self.heads.of(chain);
        self.connection
            .prepare_cached(
                "INSERT INTO chain VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) \
                 DO UPDATE SET anchor_id = excluded.anchor_id, anchor_hash = excluded.anchor_hash",
            )?
            .execute((chain.as_str(), anchor.id, anchor.hash, head.id, head.hash))?;
        Ok(())
    }
}

impl Snapshot<'_> {
    /// The link before the oldest row that is kept, and that of the newest one.
    ///
    /// # Errors
    /// [`super::StoreError::Sql`].
    pub fn chain_ends(&self, chain: Chain) -> Result<(Link, Link), super::StoreError> {
        Ok(ends(self.connection, chain)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_heads_is_read_as_it_is_written() {
        let mut heads = Heads([Link::GENESIS; 3]);
        for (n, chain) in (1..).zip(Chain::ALL) {
            heads.0[chain as usize] = Link::GENESIS.then(n, &[7; 32]);
        }
        let read = heads_of(&heads.line());
        assert_eq!(read, Chain::ALL.map(|chain| (chain, heads.of(chain))));
        for other in ["", "chain heads: events 1 00", "the heads: events 1 00", "chain heads: x"] {
            assert_eq!(heads_of(other), []);
        }
    }

    #[test]
    fn what_stands_in_another_column_has_another_digest() {
        let cells = |a, b| digest(&[a, b]);
        let (a, b, ab) = (Cell::Text("a"), Cell::Text("b"), Cell::Text("ab"));
        let all = [
            cells(ab, Cell::Text("")),
            cells(a, b),
            cells(Cell::Text(""), ab),
            cells(Cell::Absent, ab),
            cells(ab, Cell::Absent),
            cells(ab, Cell::Integer(0)),
        ];
        for (n, one) in all.iter().enumerate() {
            assert!(!all[n + 1..].contains(one), "{n}");
        }
    }
}
