//! Table `fact`: single values that hold for the whole installation.

use super::{Snapshot, StoreError, Tx};
use rusqlite::OptionalExtension as _;

impl Tx<'_> {
    /// Sets a fact.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn set_fact(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO fact VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )?
            .execute((name, value))?;
        Ok(())
    }
}

impl Snapshot<'_> {
    /// A fact's value.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT value FROM fact WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?)
    }
}
