//! What an answer makes of its client. The protocol knows no reset, but an answer that does not name a realm that the client has
//! wipes it, and applies its changes in the same local transaction.

use super::LastPull;
use crate::version::Position;

/// What an answer says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextPull {
    /// Whether its realms name that of the user: if not, the client forgets all records of it that are not in this answer.
    pub has_own: bool,
    /// The revision that the client keeps.
    pub revision: String,
    /// Whether the changes are sent that were found for it.
    pub sends_changes: bool,
}

impl NextPull {
    /// Of an answer that brings whoever has this to a position. `is_reset` says that what was found is not what is new for the client
    /// but all there is.
    #[must_use]
    pub fn of(last_pull: Option<&LastPull>, at: &Position, is_reset: bool) -> Self {
        let at = at.to_string();
        let Some(last) = last_pull else {
            return Self { has_own: true, revision: at, sends_changes: true };
        };
        // What is not ours is of no history of ours.
        match (last.has_own, is_reset || last.position.is_none()) {
            (_, false) => Self { has_own: true, revision: at, sends_changes: true },
            (true, true) => Self { has_own: false, revision: at, sends_changes: true },
            (false, true) if planted!(ResetAnsweredTwice) => {
                Self { has_own: false, revision: at, sends_changes: true }
            }
            // It has just been reset: what it got then would stay although it is gone.
            (false, true) => Self::unmoved(last),
        }
    }

    /// Of an answer that leaves its client where it is, and brings it nothing but the state of some records.
    #[must_use]
    pub fn unmoved(last: &LastPull) -> Self {
        let has_own = !planted!(RealmLeftOut);
        Self { has_own, revision: last.revision.clone(), sends_changes: false }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const HERE: &str = "0mwrnsa6yk3v9q2.57";

    fn last(revision: &str, has_own: bool) -> LastPull {
        LastPull {
            revision: revision.to_owned(),
            position: Position::parse(revision),
            has_own,
            realms: BTreeMap::new(),
            invites: BTreeSet::new(),
        }
    }

    fn standing(last: Option<LastPull>, is_reset: bool) -> (bool, String, bool) {
        let at = Position::parse(HERE).expect("a position");
        let NextPull { has_own, revision, sends_changes } = NextPull::of(last.as_ref(), &at, is_reset);
        (has_own, revision, sends_changes)
    }

    #[test]
    fn a_first_answer_brings_everything() {
        assert_eq!(standing(None, false), (true, HERE.to_owned(), true));
        assert_eq!(standing(None, true), (true, HERE.to_owned(), true));
    }

    #[test]
    fn who_is_in_this_history_gets_what_is_new() {
        assert_eq!(standing(Some(last("0mwrnsa6yk3v9q2.9", true)), false), (true, HERE.to_owned(), true));
    }

    #[test]
    fn who_is_in_another_history_is_wiped_and_gets_everything() {
        for revision in ["0mwrnsa6yk3v9q1.99", "0mwrnsa6yk3v9q2.3"] {
            assert_eq!(standing(Some(last(revision, true)), true), (false, HERE.to_owned(), true));
        }
        let foreign = last("[1,\"2823\"]", true);
        assert_eq!(standing(Some(foreign), false), (false, HERE.to_owned(), true), "of another server");
    }

    #[test]
    fn who_was_just_reset_gets_the_realm_back_with_what_is_new() {
        assert_eq!(standing(Some(last("0mwrnsa6yk3v9q2.50", false)), false), (true, HERE.to_owned(), true));
    }

    #[test]
    fn who_was_just_reset_in_another_history_gets_the_realm_back_first_and_stays_there() {
        let before = "0mwrnsa6yk3v9q1.50";
        assert_eq!(standing(Some(last(before, false)), true), (true, before.to_owned(), false));
    }
}
