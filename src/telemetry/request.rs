//! Which request a log line belongs to: one id in every line that a request causes.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells the requests of one run of the program from those of another.
static RUN: LazyLock<u32> = LazyLock::new(|| {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
});
/// How many requests there were.
static COUNT: AtomicU64 = AtomicU64::new(0);

tokio::task_local! {
    static NUMBER: u64;
}

/// Answers a request under an id of its own; what `work` spawns does not inherit it.
pub async fn as_request<F: Future>(work: F) -> F::Output {
    NUMBER.scope(COUNT.fetch_add(1, Ordering::Relaxed), work).await
}

/// The id of the request that is being answered, if one is.
#[must_use]
pub fn request_id() -> Option<String> {
    NUMBER.try_with(|number| format!("{:08x}-{number}", *RUN)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_has_an_id_of_its_own_and_background_work_has_none() {
        let ids = async || (request_id(), request_id());
        let (one, other) = (as_request(ids()).await, as_request(ids()).await);
        assert!(one.0.is_some() && one.0 == one.1);
        assert_ne!(one.0, other.0);
        assert_eq!(request_id(), None);
    }
}
