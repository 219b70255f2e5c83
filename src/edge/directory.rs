//! How what a space says of its user's membership gets into the user's directory: brought there by the edge that has heard it,
//! after the answer to the user, once for each change.

use std::collections::BTreeMap;

use crate::{
    call::{DirectoryAnswer, Entry, Membership},
    ids::{SpaceId, UserHash},
    time::Millis,
    version::Position,
};

/// How long it is believed that something stands in a directory, in ms: the storage of one may go back.
pub const KNOWN_MS: u64 = 86_400_000;
/// Memberships of one half of memory, about 300 bytes each.
const MEMBERSHIPS_MAX: usize = 2_000;

/// What this isolate knows to stand in directories. When the younger half is full, the older one is forgotten.
#[derive(Debug, Default)]
pub struct KnownEntries {
    younger: BTreeMap<(UserHash, SpaceId), (Membership, Millis)>,
    older: BTreeMap<(UserHash, SpaceId), (Membership, Millis)>,
}

impl KnownEntries {
    /// What has to be done about what `space` has said of `user`; nothing if it is known to stand in the directory.
    #[must_use]
    pub fn deliver(
        &self,
        user: &UserHash,
        space: &SpaceId,
        membership: Membership,
        now: Millis,
    ) -> Option<Delivery> {
        let key = (user.clone(), space.clone());
        let known = self.younger.get(&key).or_else(|| self.older.get(&key));
        // A clock that went back is not believed for longer either.
        let is_fresh = |at: &Millis| *at <= now && now.since(*at) <= KNOWN_MS;
        let is_known = known.is_some_and(|(known, at)| is_fresh(at) && known.is_same_as(&membership));
        (!is_known).then(|| Delivery {
            user: user.clone(),
            space: space.clone(),
            next: DeliveryStep::Note(Entry::of(space, &membership)),
            membership,
            is_repeated: false,
        })
    }

    /// Notes what stands in a directory now, because it was delivered.
    pub fn learn(&mut self, delivered: Delivery, now: Millis) {
        let Delivery { user, space, membership, .. } = delivered;
        let key = (user, space);
        self.older.remove(&key);
        if self.younger.len() >= MEMBERSHIPS_MAX {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(key, (membership, now));
    }
}

/// What a space has said of a user on its way to the user's directory. [`Self::next`] says what to do; how that ended is
/// reported by [`Self::learn_noted`] or [`Self::learn_answer`].
#[derive(Debug, Clone)]
pub struct Delivery {
    user: UserHash,
    space: SpaceId,
    membership: Membership,
    /// Whether the space was asked once more.
    is_repeated: bool,
    /// What to do next.
    pub next: DeliveryStep,
}

/// What to do next about a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryStep {
    /// Note this entry in the user's directory.
    Note(Entry),
    /// Ask the space for a grant of the user once more, with this claim from the future: the directory knows more of the space
    /// than it seems to know itself.
    AskAgain(Position),
    /// Nothing, and it is known to stand in the directory ([`KnownEntries::learn`]).
    Done,
    /// Nothing: the next request will bring it.
    GiveUp,
}

impl Delivery {
    /// What the directory has answered, if it has. A list that is full is as good as noted: asking again makes no room.
    pub fn learn_noted(&mut self, answer: Option<DirectoryAnswer>) {
        self.next = match answer {
            Some(DirectoryAnswer::Done | DirectoryAnswer::Full) => DeliveryStep::Done,
            Some(DirectoryAnswer::Later(later)) if !self.is_repeated && !planted!(LaterNotClaimed) => {
                DeliveryStep::AskAgain(later)
            }
            Some(DirectoryAnswer::Later(_) | DirectoryAnswer::Page(_)) | None => DeliveryStep::GiveUp,
        };
    }

    /// What the space has answered to the claim, if it has.
    pub fn learn_answer(&mut self, membership: Option<Membership>) {
        self.is_repeated = true;
        self.next = match membership {
            Some(membership) => {
                self.membership = membership;
                DeliveryStep::Note(Entry::of(&self.space, &self.membership))
            }
            None => DeliveryStep::GiveUp,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::Standing,
        role::Role,
        sim::START,
        version::{Epoch, Version},
    };

    fn user(name: &str) -> UserHash {
        UserHash::new("i", name)
    }

    fn team() -> SpaceId {
        SpaceId::stored("team")
    }

    fn member(role: Role, since: u64, at: u64) -> Membership {
        let version = |number| Version::new(number).expect("a version");
        let epoch = Epoch::begin(START, None, 7);
        let standing = Standing::Member(role);
        let at = Position { epoch: epoch.clone(), version: version(at) };
        Membership { incarnation: epoch, standing, at, since: version(since) }
    }

    fn deliver(known: &KnownEntries, membership: &Membership, now: Millis) -> Option<Delivery> {
        known.deliver(&user("alice"), &team(), membership.clone(), now)
    }

    /// A memory that knows this of alice.
    fn knowing(membership: &Membership) -> KnownEntries {
        let mut known = KnownEntries::default();
        let mut delivery = deliver(&known, membership, START).expect("news");
        delivery.learn_noted(Some(DirectoryAnswer::Done));
        assert_eq!(delivery.next, DeliveryStep::Done);
        known.learn(delivery, START);
        known
    }

    #[test]
    fn each_change_is_delivered_once_however_far_the_space_has_got_meanwhile() {
        let known = knowing(&member(Role::Writer, 3, 5));
        assert!(deliver(&known, &member(Role::Writer, 3, 900), START).is_none(), "nothing has changed");
        assert!(deliver(&known, &member(Role::Reader, 3, 5), START).is_some(), "another role");
        assert!(deliver(&known, &member(Role::Writer, 8, 9), START).is_some(), "one has left and come back");
        let mut anew = member(Role::Writer, 3, 5);
        anew.incarnation = Epoch::begin(START.plus(5), None, 7);
        assert!(deliver(&known, &anew, START).is_some(), "another space of the id");
        let of_bob = known.deliver(&user("bob"), &team(), member(Role::Writer, 3, 5), START);
        assert!(of_bob.is_some());
    }

    #[test]
    fn what_stands_in_a_directory_is_believed_for_a_day() {
        let member = member(Role::Writer, 3, 5);
        let known = knowing(&member);
        assert!(deliver(&known, &member, START.plus(KNOWN_MS)).is_none());
        assert!(deliver(&known, &member, START.plus(KNOWN_MS + 1)).is_some());
        assert!(deliver(&known, &member, Millis(START.0 - 1)).is_some(), "a clock that went back");
    }

    #[test]
    fn a_directory_that_knows_more_makes_the_space_be_asked_once_more_and_only_once() {
        let known = KnownEntries::default();
        let mut delivery = deliver(&known, &member(Role::Writer, 1, 1), START).expect("news");
        assert!(matches!(&delivery.next, DeliveryStep::Note(entry) if entry.at.version.get() == 1));
        let later = member(Role::Writer, 9, 9).at;
        delivery.learn_noted(Some(DirectoryAnswer::Later(later.clone())));
        assert_eq!(delivery.next, DeliveryStep::AskAgain(later.clone()));
        delivery.learn_answer(Some(member(Role::Reader, 10, 10)));
        assert!(matches!(&delivery.next, DeliveryStep::Note(entry) if entry.at.version.get() == 10));
        let mut twice = delivery.clone();
        twice.learn_noted(Some(DirectoryAnswer::Later(later)));
        assert_eq!(twice.next, DeliveryStep::GiveUp);
        delivery.learn_noted(Some(DirectoryAnswer::Done));
        assert_eq!((delivery.next, delivery.membership), (DeliveryStep::Done, member(Role::Reader, 10, 10)));
    }

    #[test]
    fn what_was_not_noted_is_not_remembered_and_a_full_list_is_not_asked_again() {
        let known = KnownEntries::default();
        let delivery = deliver(&known, &member(Role::Writer, 1, 1), START).expect("news");
        let after = |answer| {
            let mut delivery = delivery.clone();
            delivery.learn_noted(answer);
            delivery.next
        };
        assert_eq!(after(None), DeliveryStep::GiveUp);
        assert_eq!(after(Some(DirectoryAnswer::Page("{}".to_owned()))), DeliveryStep::GiveUp);
        assert_eq!(after(Some(DirectoryAnswer::Full)), DeliveryStep::Done);
        let mut unanswered = delivery.clone();
        unanswered.learn_noted(Some(DirectoryAnswer::Later(member(Role::Writer, 9, 9).at)));
        unanswered.learn_answer(None);
        assert_eq!(unanswered.next, DeliveryStep::GiveUp);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let member = member(Role::Writer, 1, 1);
        let mut known = knowing(&member);
        let delivery = deliver(&KnownEntries::default(), &member, START).expect("news");
        let of = |name: &str| Delivery { user: user(name), ..delivery.clone() };
        for number in 0..5 * MEMBERSHIPS_MAX {
            known.learn(of(&number.to_string()), START);
            if number % 1_000 == 0 {
                known.learn(of("alice"), START);
            }
        }
        assert!(known.younger.len() + known.older.len() <= 2 * MEMBERSHIPS_MAX);
        assert!(deliver(&known, &member, START).is_none());
        assert!(known.deliver(&user("0"), &team(), member.clone(), START).is_some());
    }
}
