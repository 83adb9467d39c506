//! The six states of a code, the live ones among them, and the text form of each.

use std::fmt;

/// Where a code stands (product.md §3). *Expired* is not a state: it follows from the expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Known to us; the buyer has not received it, or we cannot tell.
    Issued,
    /// The buyer has received it: somebody registered a code the buyer handed over.
    Received,
    /// The marketplace confirmed the activation.
    Activated,
    /// Activated, and at least one renewal is in force; same rights as activated.
    Renewed,
    /// A freeze is in force; the live state to thaw to is remembered.
    Frozen,
    /// Over. Terminal: no event revives it.
    Released,
}

impl State {
    /// Every state, in the order of a code's life and of the columns of the transition table.
    pub const ALL: [Self; 6] = [
        Self::Issued,
        Self::Received,
        Self::Activated,
        Self::Renewed,
        Self::Frozen,
        Self::Released,
    ];
    /// States in which the marketplace has confirmed an activation and nothing forbids use.
    pub const IN_USE: [Self; 2] = [Self::Activated, Self::Renewed];
    /// States that no event leaves.
    pub const TERMINAL: [Self; 1] = [Self::Released];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Received => "received",
            Self::Activated => "activated",
            Self::Renewed => "renewed",
            Self::Frozen => "frozen",
            Self::Released => "released",
        }
    }

    /// The state that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state that a freeze can interrupt and a thaw can restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Live {
    /// See [`State::Issued`].
    Issued,
    /// See [`State::Received`].
    Received,
    /// See [`State::Activated`].
    Activated,
    /// See [`State::Renewed`].
    Renewed,
}

impl Live {
    /// The state this is.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Self::Issued => State::Issued,
            Self::Received => State::Received,
            Self::Activated => State::Activated,
            Self::Renewed => State::Renewed,
        }
    }

    /// The live state that `state` is, if it is one.
    #[must_use]
    pub const fn of(state: State) -> Option<Self> {
        match state {
            State::Issued => Some(Self::Issued),
            State::Received => Some(Self::Received),
            State::Activated => Some(Self::Activated),
            State::Renewed => Some(Self::Renewed),
            State::Frozen | State::Released => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_sets_agree_for_every_state() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            if let Some(live) = Live::of(state) {
                assert_eq!(live.state(), state);
                assert!(!State::TERMINAL.contains(&state));
            }
            if State::IN_USE.contains(&state) {
                assert!(Live::of(state).is_some());
            }
        }
        assert_eq!(State::parse("Issued"), None);
    }
}
