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

    /// Sets a fact unless it is there. Returns whether it was not.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn add_fact(&mut self, name: &str, value: &str) -> Result<bool, StoreError> {
        let added = self
            .connection
            .prepare_cached("INSERT INTO fact VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING")?
            .execute((name, value))?;
        Ok(added == 1)
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

    /// The facts whose names begin so, at most a hundred, by name.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn facts(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT name, value FROM fact WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 \
             ORDER BY name LIMIT 100",
        )?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
