//! Silence where callbacks were due: a query told of a renewal, a release or a thaw, and no callback did.

use super::alarm as of_kind;
use crate::domain::time::Timestamp;
use crate::guard::alarms::{Alarm, Severity};
use std::collections::VecDeque;

/// The alarm for what queries alone told of in the last day.
pub(super) fn alarm(silent: &VecDeque<Timestamp>, now: Timestamp) -> Option<Alarm> {
    let since = *silent.iter().min()?;
    let text = match silent.len() {
        1 => "a code was renewed or released without a callback: a query told of it".to_owned(),
        codes => format!("{codes} changes of codes came without a callback: queries told of them"),
    };
    let what_to_do = "nothing is lost, but freezes are told by callbacks only: see 生产接口消息 in 卖家中心 for failed calls and restart them, and check that 生产接口 has our address";
    Some(Alarm { since, ..of_kind("silence", Severity::Warning, now, text, what_to_do) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_since_the_first_of_them() {
        let at = Timestamp::from_ms;
        assert!(alarm(&VecDeque::new(), at(9)).is_none());
        let one = alarm(&VecDeque::from([at(5)]), at(9)).expect("told");
        assert!(one.text.starts_with("a code was") && one.since == at(5));
        let told = alarm(&VecDeque::from([at(5), at(3)]), at(9)).expect("told");
        assert!(told.text.starts_with("2 changes") && told.since == at(3));
    }
}
