//! Bytes of messages that an isolate holds from their arrival to their answer, and in which instance of which object. The platform
//! can end an instance alone, and tells nobody: what it held is free as soon as the next instance of its object begins here.

use std::{collections::BTreeMap, rc::Rc};

use crate::{ids::UserHash, limits, shares::Shares};

/// An instance of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    object: Rc<str>,
    /// Instances of an isolate are numbered as they begin.
    instance: u64,
}

/// What the instances of an isolate hold.
#[derive(Debug)]
pub(in crate::edge) struct Held {
    shares: Shares,
    /// Of those that hold something.
    of: BTreeMap<Holder, BTreeMap<UserHash, usize>>,
    begun: u64,
}

impl Default for Held {
    fn default() -> Self {
        Self { shares: Shares::new(limits::MESSAGES_HELD_MAX), of: BTreeMap::new(), begun: 0 }
    }
}

impl Held {
    /// All of it, in bytes.
    pub(in crate::edge) fn all(&self) -> usize {
        self.shares.all()
    }

    /// An instance of this object begins. Nothing runs any more of those before it.
    pub(super) fn begin(&mut self, object: &str) -> Holder {
        let ended = self.of.keys().filter(|holder| &*holder.object == object && !planted!(HeldByTheDead));
        let ended: Vec<_> = ended.cloned().collect();
        for (user, bytes) in ended.iter().filter_map(|holder| self.of.remove(holder)).flatten() {
            self.shares.give_back(&user, bytes);
        }
        self.begun += 1;
        Holder { object: object.into(), instance: self.begun }
    }

    /// Notes that an instance holds so many bytes of a user, if there is room for them.
    pub(super) fn take(&mut self, holder: &Holder, user: &UserHash, bytes: usize) -> bool {
        let has_room = self.shares.take(user, bytes);
        if has_room && bytes > 0 {
            *self.of.entry(holder.clone()).or_default().entry(user.clone()).or_default() += bytes;
        }
        has_room
    }

    /// Notes that it holds them no more. Of an instance that was taken for ended nothing is held.
    pub(super) fn give_back(&mut self, holder: &Holder, user: &UserHash, bytes: usize) {
        let Some(of_instance) = self.of.get_mut(holder) else { return };
        let Some(held) = of_instance.get_mut(user) else { return };
        *held = held.checked_sub(bytes).expect("BUG: more is given back than is held");
        if *held == 0 {
            of_instance.remove(user);
        }
        if of_instance.is_empty() {
            self.of.remove(holder);
        }
        self.shares.give_back(user, bytes);
    }
}
