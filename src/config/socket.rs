//! Who may connect to the software's socket: its mode and its group.

use std::fmt;
use std::str::FromStr;

/// Where the system lists its groups. Groups of other sources (LDAP and the like) are given by number.
const GROUPS: &str = "/etc/group";

/// The permission bits of a socket, written in octal as `chmod` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

/// Why a text is no mode. The configuration's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mode: write three octal digits such as \"0660\", and let the owner read and write")]
pub struct BadSocketMode;

impl SocketMode {
    /// The owner and the group.
    pub(super) const OWNER_AND_GROUP: Self = Self(0o660);

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether everybody on this machine may connect.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.0 & 0o007 != 0
    }
}

impl FromStr for SocketMode {
    type Err = BadSocketMode;

    fn from_str(text: &str) -> Result<Self, BadSocketMode> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let bits = u32::from_str_radix(text, 8).map_err(|_| BadSocketMode)?;
        let fits = digits && (3..=4).contains(&text.len()) && bits <= 0o777;
        if fits && bits & 0o600 == 0o600 { Ok(Self(bits)) } else { Err(BadSocketMode) }
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The number of a group that is given by name or number; `None` when this machine has none of that name.
#[must_use]
pub fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| find(&std::fs::read_to_string(GROUPS).ok()?, group))
}

/// A line of the file is `name:password:number:members`.
fn find(groups: &str, name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_and_leaves_the_owner_in() {
        let bits = |text: &str| text.parse().map(SocketMode::bits);
        assert_eq!((bits("0660"), bits("600"), bits("0666")), (Ok(0o660), Ok(0o600), Ok(0o666)));
        for bad in ["", "0", "0060", "0860", "1660", "rw-rw----", "-660", "+660", "00660"] {
            assert_eq!(bits(bad), Err(BadSocketMode), "{bad}");
        }
        assert_eq!(SocketMode::OWNER_AND_GROUP.to_string(), "0660");
    }

    #[test]
    fn groups_are_found_by_name_or_number() {
        let groups = "root:x:0:\nwww-data:x:33:a,b\nbroken\nother:x:many:\n";
        assert_eq!((find(groups, "www-data"), find(groups, "root")), (Some(33), Some(0)));
        assert_eq!(
            (find(groups, "x"), find(groups, "other"), find(groups, "broken")),
            (None, None, None)
        );
        assert_eq!(group_id("4711"), Some(4711));
    }
}
