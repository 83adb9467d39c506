//! What a look writes, over a real database: alarms, their events, and the messages about them.

use super::*;
use crate::guard::undelivered;
use crate::store::{EventFilter, Held, Store};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

fn minute(n: i64) -> Timestamp {
    NOW.plus_ms(n * MINUTE_MS)
}

fn alarm(kind: &'static str, severity: Severity) -> Alarm {
    let (text, what_to_do) = ("it is wrong".to_owned(), "repair it");
    Alarm { id: kind.to_owned(), kind, since: NOW, severity, code: None, text, what_to_do }
}

/// Where looks are written down, and two channels: one wants all, the other what is high.
struct Desk {
    store: Store,
    _held: Held,
    _folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, held) = Store::open(folder.path(), |_, _| {}).expect("opened");
        Self { store, _held: held, _folder: folder }
    }

    async fn look(&self, at: i64, sees_all: bool, found: &[Alarm]) {
        let subscriber = |channel: &str, least| Subscriber { channel: channel.to_owned(), least };
        let book = Book {
            restraint: Restraint::default(),
            subscribers: vec![
                subscriber("all", Severity::Warning),
                subscriber("urgent", Severity::High),
            ],
            sees_all,
            now: minute(at),
        };
        let found = found.iter().map(|alarm| (alarm.id.clone(), alarm.clone())).collect();
        self.store.write(move |tx| book.keep(tx, &found)).await.expect("written");
    }

    /// What is due for a channel by then; it takes all of it.
    async fn taken(&self, channel: &str, at: i64) -> Vec<Phase> {
        let mut taken = Vec::new();
        while let Some(notice) =
            self.store.read(|snapshot| snapshot.next_notice(channel, minute(at))).expect("read")
        {
            taken.push(notice.phase);
            let sent = self.store.write(move |tx| tx.notice_sent(notice.id, minute(at)));
            sent.await.expect("written");
        }
        taken
    }

    fn events(&self) -> Vec<String> {
        let filter = EventFilter { limit: 100, ..EventFilter::default() };
        let events = self.store.read(|snapshot| snapshot.recent_events(&filter)).expect("read");
        let told = events.into_iter().filter(|event| event.kind == "alarm");
        told.map(|event| event.detail).collect()
    }
}

#[tokio::test]
async fn each_change_is_an_event_and_what_goes_on_is_none() {
    let desk = Desk::new();
    let warning = alarm("clock", Severity::Warning);
    for (at, wrong) in [(0, true), (1, true), (2, false), (3, true), (4, true)] {
        desk.look(at, true, if wrong { std::slice::from_ref(&warning) } else { &[] }).await;
    }
    let events = desk.events();
    let expected = [
        "alarm clock is back (warning): it is wrong",
        "alarm clock is over: it is wrong",
        "alarm clock raised (warning): it is wrong",
    ];
    assert_eq!(events, expected);
}

#[tokio::test]
async fn a_channel_is_told_from_its_severity_on_and_of_the_end_of_what_it_knows() {
    let desk = Desk::new();
    let found = [alarm("clock", Severity::Warning), alarm("heartbeat", Severity::High)];
    desk.look(0, true, &found).await;
    assert_eq!(desk.taken("all", 0).await, [Phase::Raised; 2]);
    assert_eq!(desk.taken("urgent", 0).await, [Phase::Raised]);
    desk.look(1, true, &[]).await;
    assert_eq!(desk.taken("all", 5).await, [], "it may come back");
    assert_eq!(desk.taken("all", 6).await, [Phase::Over; 2]);
    assert_eq!(desk.taken("urgent", 6).await, [Phase::Over], "of the clock it knew nothing");
}

#[tokio::test]
async fn an_end_is_taken_back_when_the_cause_returns() {
    let desk = Desk::new();
    let found = [alarm("clock", Severity::Warning)];
    desk.look(0, true, &found).await;
    desk.look(1, true, &[]).await;
    desk.look(2, true, &found).await;
    assert_eq!(desk.taken("all", 60).await, [Phase::Raised], "what was due before is kept");
}

#[tokio::test]
async fn what_fades_is_not_said_to_be_over() {
    let desk = Desk::new();
    desk.look(0, true, &[alarm("contradiction", Severity::Warning)]).await;
    desk.look(1, true, &[]).await;
    assert_eq!(desk.taken("all", 60).await, [Phase::Raised]);
    assert!(desk.events()[0].contains("is over"), "its event says so");
}

#[tokio::test]
async fn who_does_not_see_all_yet_takes_nothing_for_gone() {
    let desk = Desk::new();
    desk.look(0, true, &[alarm("clock", Severity::Warning)]).await;
    desk.look(1, false, &[]).await;
    assert_eq!(desk.store.read(|snapshot| snapshot.open_alarms()).expect("read").len(), 1);
    desk.look(2, true, &[]).await;
    assert_eq!(desk.store.read(|snapshot| snapshot.open_alarms()).expect("read").len(), 0);
}

#[tokio::test]
async fn a_channel_that_takes_nothing_for_an_hour_is_an_alarm() {
    let desk = Desk::new();
    desk.look(0, true, &[alarm("clock", Severity::Warning)]).await;
    let next = desk.store.read(|snapshot| snapshot.next_notice("all", NOW)).expect("read");
    let id = next.expect("a message").id;
    let failed = desk.store.write(move |tx| tx.notice_failed(id, Some(minute(90)), "HTTP 500"));
    failed.await.expect("written");
    let told = |at: Timestamp| {
        desk.store.read(|snapshot| undelivered::alarms(snapshot, at)).expect("read")
    };
    assert!(told(minute(60)).is_empty(), "an hour, and no less");
    let told = told(minute(60).plus_ms(1));
    assert_eq!((told.len(), told[0].id.as_str(), told[0].since), (1, "notify-all", NOW));
    assert_eq!(told[0].severity, Severity::High);
    assert!(told[0].text.ends_with("(HTTP 500)"), "{}", told[0].text);
}
