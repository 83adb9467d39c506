//! Rows that a schema before the chains wrote: how it linked its events, and the links made anew, as a step
//! from schema to schema.
//!
//! Invariant: what is linked anew was walked before, because a file is examined when it is copied before a step;
//! a link that did not hold then was told.

use super::chain::{Chain, Link};
use super::events::EventRow;
use super::verify::ChainReport;
use super::{callbacks, events};
use ring::digest::{Context, SHA256};
use rusqlite::Connection;

/// Rows read before they are written to, so that memory stays flat.
const PAGE: i64 = 1_000;

/// Walks the events as they were linked then; callbacks were not.
pub(super) fn walk_earlier(connection: &Connection) -> rusqlite::Result<(ChainReport, Link)> {
    let mut statement =
        connection.prepare("SELECT *, NULL AS request_id FROM event ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut link = Link::GENESIS;
    while let Some(row) = rows.next()? {
        let row = events::from_row(row)?;
        let hash = earlier_hash(&link.hash, &row);
        if row.id != link.id + 1 || row.hash != hash {
            return Ok((ChainReport { rows: link.id, broken_at: Some(row.id) }, link));
        }
        link = Link { id: row.id, hash };
    }
    Ok((ChainReport { rows: link.id, broken_at: None }, link))
}

/// SHA-256 over the hash before and each column, a text behind its length and an absent one as 0xff.
fn earlier_hash(before: &[u8; 32], row: &EventRow) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&row.id.to_be_bytes());
    context.update(&row.at.as_ms().to_be_bytes());
    let columns = [
        row.code.as_deref(),
        Some(&row.kind),
        Some(&row.source),
        row.from.as_deref(),
        row.to.as_deref(),
        row.order_id.as_deref(),
        row.result_code.as_deref(),
        Some(&row.detail),
    ];
    for column in columns {
        if let Some(text) = column {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        } else {
            context.update(&[0xff; 8]);
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Links all events and callbacks as this version does.
pub(super) fn relink(connection: &Connection) -> rusqlite::Result<()> {
    let mut heads = [Link::GENESIS; Chain::ALL.len()];
    let mut after = 0;
    loop {
        let sql = "SELECT * FROM event WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut page = connection.prepare_cached(sql)?;
        let rows =
            page.query_map((after, PAGE), events::from_row)?.collect::<Result<Vec<_>, _>>()?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in &rows {
            let link = heads[Chain::Events as usize].then(row.id, &row.digest());
            heads[Chain::Events as usize] = link;
            set(connection, "UPDATE event SET hash = ?2 WHERE id = ?1", link)?;
        }
    }
    after = 0;
    loop {
        let sql = "SELECT * FROM callback WHERE id > ?1 ORDER BY id LIMIT ?2";
        let mut page = connection.prepare_cached(sql)?;
        let rows =
            page.query_map((after, PAGE), callbacks::from_row)?.collect::<Result<Vec<_>, _>>()?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        for row in &rows {
            let chain = row.chain() as usize;
            let link = heads[chain].then(row.id, &row.digest());
            heads[chain] = link;
            set(connection, "UPDATE callback SET hash = ?2 WHERE id = ?1", link)?;
        }
    }
    for chain in Chain::ALL {
        let head = heads[chain as usize];
        connection
            .prepare_cached("INSERT INTO chain VALUES (?1, 0, zeroblob(32), ?2, ?3)")?
            .execute((chain.as_str(), head.id, head.hash))?;
    }
    Ok(())
}

fn set(connection: &Connection, sql: &str, link: Link) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute((link.id, link.hash))?;
    Ok(())
}
