//! Links made anew, over rows that an earlier schema wrote: a step from schema to schema.

use super::chain::{Chain, Link};
use super::{callbacks, events};
use rusqlite::Connection;

/// Rows read before they are written to, so that memory stays flat.
const PAGE: i64 = 1_000;

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
