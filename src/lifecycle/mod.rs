//! Sequences over the store and the marketplace. Whatever comes in becomes a command, the pure
//! [`crate::domain::transition::decide`] chooses, and [`perform`] acts, in one transaction.
//!
//! Invariant: no call to the marketplace is made inside a transaction, and what it answers is decided
//! again from the row as it is then.

mod activation;
mod again;
mod backups;
mod batches;
mod callback;
mod calls;
mod client_key;
mod dial_tests;
mod drift;
mod entitlement;
mod evidence;
mod failed_calls;
mod hearing;
mod leases;
mod orders;
mod orphans;
mod perform;
mod query;
mod reconcile;
mod registration;
mod remark;
mod secret_file;
mod upkeep;
mod usage;

pub use backups::{Backups, is_ours as is_nightly_backup};
pub use callback::Arrival;
pub use calls::{CallOutcome, CallReport, Errand};
pub use client_key::{ClientKey, ClientKeyError};
pub use drift::{Drift, DriftPage};
pub use entitlement::{Basis, Entitlement, Fresh};
pub use evidence::{Evidence, Received, Reply};
pub use failed_calls::Followed;
pub use hearing::facts_of_a_restore;
pub use leases::{LeaseKeyError, LeaseKeys, Leases, Retired, RotateError};
pub use orders::OrderReport;
pub use reconcile::Plan;
pub use registration::{Registered, Registration};
pub use secret_file::SecretFileError;
pub use upkeep::Retention;
pub use usage::{Flushed, Reported};

use crate::clock::Clock;
use crate::domain::entitlement::Policy;
use crate::domain::license::Code;
use crate::domain::slots::Zone;
use crate::domain::time::Timestamp;
use crate::marketplace::Client;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// The fact that keeps a stop of the marketplace queue over a restart: milliseconds since the epoch.
pub const STOPPED_UNTIL: &str = "marketplace_stopped_until";

/// Facts of this name keep what the marketplace sent and no document told us of: when, and what.
pub const STRANGE: &str = "strange ";

/// Why an order to a code was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The caller names a code we do not hold.
    #[error("no such code here: register it first")]
    UnknownCode,
    /// The code is over.
    #[error("the code is released, and nothing revives it")]
    Released,
    /// Our fault: see the inner error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of this installation's own making.
pub struct Keys {
    /// Signs what the software is told.
    pub leases: Leases,
    /// Hides the clients that the software reports.
    pub clients: ClientKey,
}

/// What the sequences need. One for the whole process.
pub struct Lifecycle {
    /// The database.
    pub store: Store,
    /// The way to the marketplace.
    pub marketplace: Client,
    /// The time.
    pub clock: Clock,
    /// The zone in which `expireTime` is read.
    pub zone: Zone,
    /// What the merchant chose for the end of a code.
    pub policy: Policy,
    /// Signs what the software is told.
    pub leases: Leases,
    /// Hides the clients that it reports.
    clients: ClientKey,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When the database was last put back from a backup.
    pub restored_at: Option<Timestamp>,
    /// Wakes the activation worker when calls are owed.
    pub owed: Notify,
    /// Whether we hear the marketplace's calls.
    ears: hearing::Ears,
    /// Calls that failed and could not be stored.
    unstored: failed_calls::Unstored,
    /// Queries under way for the software's sake: one per code, whoever waits.
    asking: Mutex<HashMap<Code, watch::Receiver<()>>>,
}

impl Lifecycle {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Store,
        marketplace: Client,
        clock: Clock,
        zone: Zone,
        policy: Policy,
        keys: Keys,
        metrics: Arc<Metrics>,
    ) -> Self {
        let ears = hearing::Ears::new(clock.now());
        Self {
            restored_at: hearing::restored_at(&store),
            store,
            marketplace,
            clock,
            zone,
            policy,
            leases: keys.leases,
            clients: keys.clients,
            metrics,
            owed: Notify::new(),
            ears,
            unstored: failed_calls::Unstored::default(),
            asking: Mutex::new(HashMap::new()),
        }
    }
}
