//! What becomes of a message that its channel does not take.

use super::*;
use crate::domain::alarm::{Phase, Severity};
use crate::domain::language::Language;
use crate::domain::time::{DAY_MS, SECOND_MS, Timestamp};
use crate::store::{AlarmFacts, EventFilter, Held};
use secrecy::SecretString;
use tempfile::TempDir;

const CHANNEL: &str = "ops";

struct Desk {
    notifier: Notifier,
    _held: Held,
    _folder: TempDir,
}

impl Desk {
    /// One channel, at a port where nobody listens.
    fn new() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().expect("a folder");
        let (store, held) = Store::open(folder.path(), |_, _| {}).expect("opened");
        let channel = ChannelSettings {
            name: CHANNEL.to_owned(),
            least: Severity::Warning,
            language: Language::En,
            show_codes: false,
            route: Route::Wecom { url: SecretString::from("http://127.0.0.1:1/robot") },
        };
        let parts = (store, Clock::system(), Arc::new(Metrics::new()));
        let bell = watch::Sender::new(());
        let notifier = Notifier::new(vec![channel], "shop".to_owned(), None, parts, bell);
        Self { notifier: notifier.expect("a channel"), _held: held, _folder: folder }
    }

    async fn queue(&self, first_due: Timestamp) {
        let facts = AlarmFacts {
            cause: "clock".to_owned(),
            kind: "clock".to_owned(),
            code: None,
            text: "our clock is wrong".to_owned(),
            what_to_do: "repair it".to_owned(),
        };
        let notice = Notice {
            id: 0,
            message: "1-5f".to_owned(),
            channel: CHANNEL.to_owned(),
            alarm: 1,
            phase: Phase::Raised,
            told_at: first_due,
            facts,
            severity: Severity::Warning,
            since: first_due,
            first_due,
            tries: 0,
        };
        self.notifier.store.write(move |tx| tx.queue_notice(&notice)).await.expect("queued");
    }

    /// The message that waits, whenever it is due.
    fn waiting(&self) -> Option<Notice> {
        let tomorrow = self.notifier.clock.now().plus_ms(DAY_MS);
        let store = &self.notifier.store;
        store.read(|snapshot| snapshot.next_notice(CHANNEL, tomorrow)).expect("read")
    }
}

#[tokio::test]
async fn a_message_is_tried_again_ever_later() {
    let desk = Desk::new();
    let Notifier { channels, store, clock, .. } = &desk.notifier;
    desk.queue(clock.now()).await;
    for wait_s in [5, 10, 20] {
        let notice = desk.waiting().expect("it stays");
        let before = clock.now();
        let refused = Err("it answered HTTP 500".to_owned());
        desk.notifier.record(&channels[0], notice, refused).await.expect("recorded");
        let due = store.read(|snapshot| snapshot.next_notice_due(CHANNEL, before));
        let due = due.expect("read").expect("it is tried again");
        let after = clock.now();
        let wait = |from: Timestamp| from.plus_ms(wait_s * SECOND_MS);
        assert!((wait(before)..=wait(after)).contains(&due), "{wait_s} s: {before} to {due}");
    }
}

#[tokio::test]
async fn a_message_that_nobody_takes_for_three_days_is_given_up_and_an_event_says_so() {
    let desk = Desk::new();
    let Notifier { channels, store, clock, .. } = &desk.notifier;
    desk.queue(clock.now().plus_ms(-3 * DAY_MS)).await;
    assert!(desk.notifier.deliver_next(&channels[0]).await.expect("recorded"), "it was due");
    assert!(desk.waiting().is_none());
    let filter = EventFilter { limit: 10, ..EventFilter::default() };
    let events = store.read(|snapshot| snapshot.events(&filter)).expect("read");
    let told = events.iter().filter(|event| event.detail.contains("was given up"));
    let told: Vec<_> = told.map(|event| event.kind.as_str()).collect();
    assert_eq!(told, ["alarm"]);
}
