//! What is held at once of what all users share, and whose it is: nobody holds more than is left for all others.

use std::collections::BTreeMap;

use crate::ids::UserHash;

/// What is held, in bytes.
#[derive(Debug)]
pub struct Shares {
    max: usize,
    all: usize,
    of: BTreeMap<UserHash, usize>,
}

impl Shares {
    /// Nothing is held, of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max, all: 0, of: BTreeMap::new() }
    }

    /// What all hold together, in bytes.
    #[must_use]
    pub fn all(&self) -> usize {
        self.all
    }

    /// Notes that so many bytes of a user are held, if there is room for them.
    pub fn take(&mut self, user: &UserHash, bytes: usize) -> bool {
        let share = self.of.get(user).copied().unwrap_or(0) + bytes;
        let has_room = share.checked_add(self.all + bytes).is_some_and(|sum| sum <= self.max);
        if has_room && bytes > 0 {
            self.all += bytes;
            self.of.insert(user.clone(), share);
        }
        has_room
    }

    /// Notes that they are not held any more.
    ///
    /// # Panics
    /// For bytes that were not taken.
    pub fn give_back(&mut self, user: &UserHash, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let share = self.of.get_mut(user).expect("BUG: nothing of this user is held");
        *share = share.checked_sub(bytes).expect("BUG: more is given back than is held");
        if *share == 0 {
            self.of.remove(user);
        }
        self.all -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits;

    const MIB: usize = 1024 * 1024;

    fn user(name: usize) -> UserHash {
        UserHash::new("issuer", &name.to_string())
    }

    #[test]
    fn one_user_gets_half_and_the_next_half_of_what_is_left_unless_something_is_given_back() {
        let mut shares = Shares::new(limits::BODIES_HELD_MAX);
        let mut take = |name: usize, mib: usize| shares.take(&user(name), mib * MIB);
        assert_eq!([take(1, 4), take(1, 4), take(1, 1)], [true, true, false]);
        assert_eq!([take(2, 4), take(2, 1)], [true, false]);
        assert_eq!([take(3, 3), take(3, 2)], [false, true]);
        shares.give_back(&user(1), 4 * MIB);
        assert!(shares.take(&user(3), 2 * MIB));
    }

    #[test]
    fn bodies_of_no_bytes_take_nothing() {
        let mut shares = Shares::new(10);
        assert!(shares.take(&user(1), 0) && shares.take(&user(1), 0));
        shares.give_back(&user(1), 0);
        shares.give_back(&user(1), 0);
    }

    #[test]
    fn a_body_alone_has_room_however_long() {
        let mut shares = Shares::new(limits::BODIES_HELD_MAX);
        assert!(shares.take(&user(1), limits::BODY_BYTES_MAX));
    }

    proptest! {
        /// Whatever others hold, nobody holds more than is left, and what was given back is free.
        #[test]
        fn nobody_holds_more_than_is_left_for_all_others(
            events in proptest::collection::vec((0..6_usize, prop_oneof![Just(0), 0..6 * MIB], any::<bool>()), 1..100),
        ) {
            let mut shares = Shares::new(limits::BODIES_HELD_MAX);
            let mut held: Vec<(usize, usize)> = Vec::new();
            for (name, bytes, takes) in events {
                if takes || held.is_empty() {
                    if shares.take(&user(name), bytes) {
                        held.push((name, bytes));
                    }
                } else {
                    let (name, bytes) = held.remove(bytes % held.len());
                    shares.give_back(&user(name), bytes);
                }
                let all: usize = held.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(shares.all, all);
                prop_assert!(all <= limits::BODIES_HELD_MAX);
            }
            for (name, bytes) in held {
                shares.give_back(&user(name), bytes);
            }
            prop_assert_eq!((shares.all, shares.of.len()), (0, 0));
        }
    }
}
