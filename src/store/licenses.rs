//! Table `license` and the counts beside it.

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::{Code, Expiry, Freeze, License, MarketplaceStatus, OrderId, Standing};
use crate::domain::state::{Live, State};
use crate::domain::time::{DateText, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// The columns in the order that [`from_row`] reads them.
macro_rules! columns {
    () => {
        "code, state, frozen_since, frozen_applied_at, frozen_from, frozen_expiry, \
         expires_text, expires_at, end_confirmed_at, marketplace_status, marketplace_checked_at, \
         ask_failed_at, renewals_in_force, registered_at, activated_at, status_signed_at, \
         callback_at, buyer_waits, last_error_code, order_id, product_id, note"
    };
}

/// A licence as lists show it.
#[derive(Debug, Clone)]
pub struct LicenseRow {
    /// The row.
    pub license: License,
    /// When its activation is tried next, if one is owed.
    pub next_activation_at: Option<Timestamp>,
}

/// In which order licences come; the code decides between equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LicenseSort {
    /// By code.
    #[default]
    Code,
    /// Those that end first; those whose end is not known last.
    Expiry,
    /// Those that became known last.
    Newest,
}

impl LicenseSort {
    /// What is sorted by, smallest first.
    const fn key(self) -> &'static str {
        match self {
            Self::Code => "0",
            Self::Expiry => "ifnull(expires_at, 9223372036854775807)",
            Self::Newest => "-registered_at",
        }
    }

    /// The same of a licence that was read: where a page that ends with it is gone on from.
    #[must_use]
    pub fn key_of(self, license: &License) -> i64 {
        match self {
            Self::Code => 0,
            Self::Expiry => license.expiry.map_or(i64::MAX, |expiry| expiry.at.as_ms()),
            Self::Newest => -license.registered_at.as_ms(),
        }
    }
}

/// Which licences a list shows.
#[derive(Debug, Clone, Default)]
pub struct LicenseFilter {
    /// Only this state.
    pub state: Option<State>,
    /// Only those whose expiry is known and before this.
    pub expires_before: Option<Timestamp>,
    /// Only those whose expiry is known and at or after this.
    pub expires_after: Option<Timestamp>,
    /// Only those whose code, order or note contains this text.
    pub text: Option<String>,
    /// Only codes after this one.
    pub after: Option<String>,
    /// In which order they come.
    pub sort: LicenseSort,
    /// With another order than by code: the [`LicenseSort::key_of`] of `after`.
    pub after_key: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Tx<'_> {
    /// The licence with this code.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn license(&self, code: &Code) -> Result<Option<License>, StoreError> {
        find(self.connection, code)
    }

    /// Stores the row as a whole; `before` is the state it had, `None` for a new code.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn save_license(
        &mut self,
        license: &License,
        before: Option<State>,
    ) -> Result<(), StoreError> {
        let freeze = license.freeze();
        let ms = |at: Option<Timestamp>| at.map(Timestamp::as_ms);
        self.connection
            .prepare_cached(
                "INSERT INTO license VALUES (:code, :state, :frozen_since, :frozen_applied_at, \
                 :frozen_from, :frozen_expiry, :expires_text, :expires_at, :end_confirmed_at, \
                 :marketplace_status, :marketplace_checked_at, :ask_failed_at, \
                 :renewals_in_force, :registered_at, :activated_at, :status_signed_at, \
                 :callback_at, :buyer_waits, :last_error_code, :order_id, :product_id, :note) \
                 ON CONFLICT (code) DO UPDATE SET state = excluded.state, \
                 frozen_since = excluded.frozen_since, \
                 frozen_applied_at = excluded.frozen_applied_at, \
                 frozen_from = excluded.frozen_from, frozen_expiry = excluded.frozen_expiry, \
                 expires_text = excluded.expires_text, expires_at = excluded.expires_at, \
                 end_confirmed_at = excluded.end_confirmed_at, \
                 marketplace_status = excluded.marketplace_status, \
                 marketplace_checked_at = excluded.marketplace_checked_at, \
                 ask_failed_at = excluded.ask_failed_at, \
                 renewals_in_force = excluded.renewals_in_force, \
                 activated_at = excluded.activated_at, \
                 status_signed_at = excluded.status_signed_at, \
                 callback_at = excluded.callback_at, buyer_waits = excluded.buyer_waits, \
                 last_error_code = excluded.last_error_code, order_id = excluded.order_id, \
                 product_id = excluded.product_id, note = excluded.note",
            )?
            .execute(named_params! {
                ":code": license.code.as_str(),
                ":state": license.state().as_str(),
                ":frozen_since": freeze.map(|f| f.since.as_ms()),
                ":frozen_applied_at": freeze.map(|f| f.applied_at.as_ms()),
                ":frozen_from": freeze.map(|f| f.from.state().as_str()),
                ":frozen_expiry": freeze.and_then(|f| ms(f.expiry_then)),
                ":expires_text": license.expiry.as_ref().map(|e| e.text.as_str()),
                ":expires_at": license.expiry.map(|e| e.at.as_ms()),
                ":end_confirmed_at": ms(license.end_confirmed_at),
                ":marketplace_status": license.marketplace_status.as_str(),
                ":marketplace_checked_at": ms(license.marketplace_checked_at),
                ":ask_failed_at": ms(license.ask_failed_at),
                ":renewals_in_force": license.renewals_in_force,
                ":registered_at": license.registered_at.as_ms(),
                ":activated_at": ms(license.activated_at),
                ":status_signed_at": ms(license.status_signed_at),
                ":callback_at": ms(license.callback_at),
                ":buyer_waits": license.buyer_waits,
                ":last_error_code": license.last_error_code,
                ":order_id": license.order_id.as_ref().map(OrderId::as_str),
                ":product_id": license.product_id,
                ":note": license.note,
            })?;
        self.changed.push(self.versions.place(&license.code));
        if before != Some(license.state()) {
            if let Some(before) = before {
                self.moved[before as usize] -= 1;
            }
            self.moved[license.state() as usize] += 1;
        }
        Ok(())
    }

    /// Adds the group's moves to the counts; the writer calls it once before it commits.
    pub(super) fn store_moves(&mut self) -> rusqlite::Result<()> {
        for state in State::ALL {
            let by = self.moved[state as usize];
            if by != 0 {
                self.connection
                    .prepare_cached(
                        "INSERT INTO license_count VALUES (?1, ?2) \
                         ON CONFLICT (state) DO UPDATE SET n = n + excluded.n",
                    )?
                    .execute((state.as_str(), by))?;
            }
        }
        Ok(())
    }
}

impl Snapshot<'_> {
    /// The licence with this code.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn license(&self, code: &Code) -> Result<Option<License>, StoreError> {
        find(self.connection, code)
    }

    /// The licence with this code and what is owed for it.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn license_row(&self, code: &Code) -> Result<Option<LicenseRow>, StoreError> {
        let Some(license) = find(self.connection, code)? else {
            return Ok(None);
        };
        let next = self
            .connection
            .prepare_cached("SELECT due_at FROM outbox WHERE code = ?1 AND call = 'activate'")?
            .query_row([code.as_str()], |row| row.get(0))
            .optional()?;
        Ok(Some(LicenseRow { license, next_activation_at: next.map(Timestamp::from_ms) }))
    }

    /// Licences in the order that is asked for.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn licenses(&self, filter: &LicenseFilter) -> Result<Vec<LicenseRow>, StoreError> {
        // By code, the primary key is walked; any other order looks at each row.
        let key = filter.sort.key();
        let (after, order) = match filter.sort {
            LicenseSort::Code => ("code > :after AND :key IS NOT NULL".to_owned(), String::new()),
            LicenseSort::Expiry | LicenseSort::Newest => {
                (format!("({key}, code) > (:key, :after)"), format!("{key}, "))
            }
        };
        let sql = format!(
            "SELECT {}, (SELECT due_at FROM outbox WHERE outbox.code = license.code \
             AND call = 'activate') FROM license \
             WHERE {after} AND (:state IS NULL OR state = :state) \
             AND (:before IS NULL OR expires_at < :before) \
             AND (:from IS NULL OR expires_at >= :from) \
             AND (:text IS NULL OR instr(code, :text) > 0 OR instr(order_id, :text) > 0 \
                  OR instr(note, :text) > 0) \
             ORDER BY {order}code LIMIT :limit",
            columns!(),
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_and_then(
            named_params! {
                ":after": filter.after.as_deref().unwrap_or(""),
                ":key": filter.after_key.unwrap_or(i64::MIN),
                ":state": filter.state.map(State::as_str),
                ":before": filter.expires_before.map(Timestamp::as_ms),
                ":from": filter.expires_after.map(Timestamp::as_ms),
                ":text": filter.text,
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            |row| {
                let license = from_row(row)?;
                let next: Option<i64> = row.get(22)?;
                Ok(LicenseRow { license, next_activation_at: next.map(Timestamp::from_ms) })
            },
        )?;
        rows.collect()
    }

    /// How many codes are in each state.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn license_counts(&self) -> Result<[(State, i64); State::ALL.len()], StoreError> {
        let mut counts = State::ALL.map(|state| (state, 0));
        let mut statement = self.connection.prepare_cached("SELECT state, n FROM license_count")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (word, n): (String, i64) = (row.get(0)?, row.get(1)?);
            if let Some(state) = State::parse(&word) {
                counts[state as usize].1 = n;
            }
        }
        Ok(counts)
    }
}

fn find(connection: &Connection, code: &Code) -> Result<Option<License>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM license WHERE code = ?1");
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([code.as_str()])?;
    rows.next()?.map(from_row).transpose()
}

fn from_row(row: &Row<'_>) -> Result<License, StoreError> {
    let code: String = row.get(0)?;
    let damaged = |what: &str| StoreError::Damaged(format!("license {code}: {what}"));
    let at = |index: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_ms))
    };
    let state = row.get_ref(1)?.as_str().ok().and_then(State::parse);
    let standing = match state.ok_or_else(|| damaged("state"))? {
        State::Issued => Standing::Live(Live::Issued),
        State::Received => Standing::Live(Live::Received),
        State::Activated => Standing::Live(Live::Activated),
        State::Renewed => Standing::Live(Live::Renewed),
        State::Released => Standing::Released,
        State::Frozen => Standing::Frozen(Freeze {
            since: at(2)?.ok_or_else(|| damaged("frozen_since"))?,
            applied_at: at(3)?.ok_or_else(|| damaged("frozen_applied_at"))?,
            from: row
                .get_ref(4)?
                .as_str()
                .ok()
                .and_then(State::parse)
                .and_then(Live::of)
                .ok_or_else(|| damaged("frozen_from"))?,
            expiry_then: at(5)?,
        }),
    };
    let expiry = match (row.get_ref(6)?.as_str_or_null().ok().flatten(), at(7)?) {
        (Some(text), Some(at)) => {
            let text = DateText::parse(text).map_err(|_| damaged("expires_text"))?;
            Some(Expiry { text, at })
        }
        _ => None,
    };
    let order_id = match row.get_ref(19)?.as_str_or_null().ok().flatten() {
        Some(text) => Some(OrderId::parse(text).map_err(|_| damaged("order_id"))?),
        None => None,
    };
    Ok(License {
        standing,
        expiry,
        end_confirmed_at: at(8)?,
        marketplace_status: row
            .get_ref(9)?
            .as_str()
            .ok()
            .and_then(MarketplaceStatus::parse)
            .ok_or_else(|| damaged("marketplace_status"))?,
        marketplace_checked_at: at(10)?,
        ask_failed_at: at(11)?,
        renewals_in_force: row.get(12)?,
        registered_at: at(13)?.ok_or_else(|| damaged("registered_at"))?,
        activated_at: at(14)?,
        status_signed_at: at(15)?,
        callback_at: at(16)?,
        buyer_waits: row.get(17)?,
        last_error_code: row.get(18)?,
        order_id,
        product_id: row.get(20)?,
        note: row.get(21)?,
        code: Code::parse(&code).map_err(|_| damaged("code"))?,
    })
}
