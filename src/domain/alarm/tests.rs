//! A cause that comes and goes as it likes is told of as often as it may be, and no more.

use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

fn alarm(severity: Severity, since: Timestamp) -> Alarm {
    Alarm {
        id: "clock".to_owned(),
        kind: "clock",
        since,
        severity,
        code: None,
        text: "our clock is wrong".to_owned(),
        what_to_do: "repair it",
    }
}

/// A cause as it is remembered from look to look, with what was told of it.
#[derive(Default)]
struct Life {
    restraint: Restraint,
    standing: Option<Standing>,
    /// When, what, and how severe it then was.
    told: Vec<(Timestamp, Phase, Severity)>,
    /// A message that it is over, which may still be taken back.
    over: Option<Timestamp>,
}

impl Life {
    fn look(&mut self, found: Option<Severity>, now: Timestamp) -> Option<Change> {
        if self.over.is_some_and(|due| due <= now) {
            self.over = None;
            let severity = self.standing.expect("remembered").severity;
            self.told.push((now, Phase::Over, severity));
        }
        let found = found.map(|severity| alarm(severity, now));
        let ruling = rule(&self.restraint, self.standing.as_ref(), found.as_ref(), now)?;
        if ruling.change == Change::Reopened {
            self.over = None;
        }
        match ruling.tell {
            Some((Phase::Over, due)) => self.over = Some(due),
            Some((phase, at)) => {
                assert_eq!(at, now, "what is wrong is told at once");
                self.told.push((now, phase, ruling.standing.severity));
            }
            None => {}
        }
        self.standing = Some(ruling.standing);
        Some(ruling.change)
    }

    fn phases(&self) -> Vec<Phase> {
        self.told.iter().map(|(_, phase, _)| *phase).collect()
    }
}

fn minutes(n: i64) -> Timestamp {
    NOW.plus_ms(n * MINUTE_MS)
}

#[test]
fn a_cause_is_told_reminded_of_and_over() {
    let mut life = Life::default();
    assert_eq!(life.look(None, minutes(0)), None);
    assert_eq!(life.look(Some(Severity::High), minutes(1)), Some(Change::Raised));
    for n in 2..361 {
        assert_eq!(life.look(Some(Severity::High), minutes(n)), Some(Change::Still));
    }
    assert_eq!(life.phases(), [Phase::Raised]);
    life.look(Some(Severity::High), minutes(361));
    assert_eq!(life.phases(), [Phase::Raised, Phase::Reminder], "six hours later");
    assert_eq!(life.look(None, minutes(362)), Some(Change::Cleared));
    assert_eq!(life.look(None, minutes(366)), None);
    assert_eq!(life.told.len(), 2, "it may come back");
    life.look(None, minutes(367));
    assert_eq!(life.phases()[2..], [Phase::Over]);
    assert_eq!(life.standing.expect("remembered").since, minutes(1));
}

#[test]
fn what_becomes_worse_is_told_at_once_and_needs_a_new_acknowledgement() {
    let mut life = Life::default();
    life.look(Some(Severity::Warning), minutes(0));
    life.standing.as_mut().expect("remembered").acknowledged = true;
    life.look(Some(Severity::Warning), minutes(3_000));
    assert_eq!(life.phases(), [Phase::Raised], "acknowledged");
    life.look(Some(Severity::Emergency), minutes(3_001));
    life.look(Some(Severity::Warning), minutes(3_002));
    life.look(Some(Severity::Emergency), minutes(3_003));
    assert_eq!(
        life.phases(),
        [Phase::Raised, Phase::Worse],
        "and not for each step back and forth"
    );
    assert!(!life.standing.expect("remembered").acknowledged);
}

#[test]
fn a_cause_that_flaps_is_one_alarm_and_is_not_said_to_be_over() {
    let mut life = Life::default();
    for n in 0..300 {
        life.look((n % 2 == 0).then_some(Severity::Warning), minutes(n));
    }
    assert_eq!(life.phases(), [Phase::Raised]);
    assert_eq!(life.standing.expect("remembered").since, NOW);
}

#[test]
fn a_cause_that_was_away_for_its_interval_is_a_new_one() {
    let mut life = Life::default();
    life.look(Some(Severity::Warning), minutes(0));
    life.look(None, minutes(10));
    life.look(None, minutes(20));
    assert_eq!(life.look(Some(Severity::Warning), minutes(30)), Some(Change::Reopened));
    let standing = life.standing.expect("remembered");
    assert_eq!(standing.since, minutes(30), "it was away");
    assert_eq!(life.phases(), [Phase::Raised, Phase::Over]);
    life.look(None, minutes(40));
    let day = 24 * 60;
    assert_eq!(life.look(Some(Severity::Warning), minutes(day)), Some(Change::Raised));
}

#[test]
fn a_clock_that_was_set_back_silences_nothing_for_long() {
    let mut life = Life::default();
    life.look(Some(Severity::Emergency), minutes(100_000));
    life.look(Some(Severity::Emergency), minutes(0));
    life.look(Some(Severity::Emergency), minutes(60));
    assert_eq!(life.phases(), [Phase::Raised, Phase::Reminder]);
}

#[test]
fn words_round_trip() {
    for severity in Severity::ALL {
        assert_eq!(Severity::parse(severity.as_str()), Some(severity));
    }
    for phase in Phase::ALL {
        assert_eq!(Phase::parse(phase.as_str()), Some(phase));
    }
    assert!(Severity::Warning < Severity::High && Severity::High < Severity::Emergency);
}

fn some_severity() -> impl Strategy<Value = Option<Severity>> {
    prop_oneof![Just(None), prop::sample::select(&Severity::ALL[..]).prop_map(Some)]
}

proptest! {
    /// Whatever a cause does, and whenever somebody acknowledges it.
    #[test]
    fn nobody_is_told_too_often_or_too_late(
        looks in prop::collection::vec((1..200_i64, some_severity(), prop::bool::weighted(0.05)), 1..200)
    ) {
        let mut life = Life::default();
        let mut now = NOW;
        for (pause, found, acknowledge) in looks {
            now = now.plus_ms(pause * MINUTE_MS);
            let before = life.standing;
            let said = life.told.len();
            let change = life.look(found, now);
            let standing = life.standing;
            prop_assert_eq!(
                standing.is_some_and(|standing| standing.cleared_at.is_none()),
                found.is_some(),
                "it is open while it is wrong"
            );
            if let (Some(severity), Some(standing)) = (found, standing) {
                let (told_at, told_as) = standing.told.expect("what is wrong was told once");
                prop_assert!(told_as >= severity, "nobody knows how severe it is");
                let silent = now.ms_since(told_at);
                prop_assert!(standing.acknowledged || silent < life.restraint.interval_ms(severity));
                prop_assert!(standing.since <= now);
            }
            if change == Some(Change::Still) {
                prop_assert!(standing.map(|s| s.since) <= before.map(|s| s.since));
            }
            prop_assert!(life.told.len() - said <= 2);
            if acknowledge && let Some(standing) = life.standing.as_mut() {
                standing.acknowledged |= standing.cleared_at.is_none();
            }
        }
        let alarming: Vec<_> = life.told.iter().filter(|(_, phase, _)| *phase != Phase::Over).collect();
        for pair in alarming.windows(2) {
            let (earlier, later) = (pair[0], pair[1]);
            let rested = later.0.ms_since(earlier.0) >= life.restraint.interval_ms(later.2);
            prop_assert!(rested || (later.1 == Phase::Worse && later.2 > earlier.2), "{pair:?}");
        }
        for pair in life.told.windows(2) {
            prop_assert!(pair[1].1 != Phase::Over || pair[0].1 != Phase::Over, "over twice: {pair:?}");
        }
        prop_assert!(life.told.first().is_none_or(|(_, phase, _)| *phase == Phase::Raised));
    }
}
