//! What spaces keep in memory of what storage says, so that the next event need not read it. All objects of an isolate have one
//! memory, which never shrinks, and the platform lets go of an object that sleeps only long after. So all spaces together keep so
//! much, and the space that was used longest ago keeps nothing first.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{ledger::OpenConflicts, places::Places, push::plan::Clients};
use crate::{limits, time::Hourly, version::Version};

/// What all objects of an isolate have in common.
#[derive(Debug, Clone, Default)]
pub struct Common {
    /// What their spaces keep.
    pub caches: Caches,
    /// Where their pushes wait for room in memory.
    pub(super) places: Rc<RefCell<Places>>,
    /// When one of them has said that a day is used up: all of them meet that, each time that they wake.
    pub used_up: Rc<RefCell<Hourly>>,
    /// When one of them has said that the day's budget was not reached.
    pub unbudgeted: Rc<RefCell<Hourly>>,
}

/// What one space keeps. It can be lost between any two events.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) overlay: Option<LastOverlay>,
    pub(super) collections: Option<BTreeSet<String>>,
    /// Once a push has asked: it costs a look at each of them.
    pub(super) open_conflicts: Option<OpenConflicts>,
    /// Rows of clients that pushed lately, as they are in storage.
    pub(super) clients: Clients,
}

/// The last overlay, until the next commit: readers of many locations ask for the same one.
#[derive(Debug)]
pub(super) struct LastOverlay {
    pub(super) from: Version,
    pub(super) lines: String,
}

impl Cache {
    /// The lines of the last overlay, if that begins there.
    pub(super) fn overlay_from(&self, from: Version) -> Option<&str> {
        self.overlay.as_ref().filter(|overlay| overlay.from == from).map(|overlay| overlay.lines.as_str())
    }

    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let overlay = self.overlay.as_ref().map_or(0, |overlay| overlay.lines.len());
        let names = self.collections.iter().flatten().map(String::len);
        let users = self.open_conflicts.as_ref().map_or(0, OpenConflicts::len);
        let clients = self.clients.values().map(|client| limits::CACHED_ROW_BYTES + client.history.len());
        let names = names.map(|name| name + limits::NAME_BYTES).sum::<usize>();
        limits::CACHED_ROW_BYTES + overlay + names + users * limits::CACHED_ROW_BYTES + clients.sum::<usize>()
    }
}

/// The caches of all spaces of an isolate. Each space has a clone, which notes the uses of its own.
#[derive(Debug, Clone)]
pub struct Caches {
    uses: Rc<RefCell<Uses>>,
    /// The last one of the space, or 0.
    last: u64,
}

#[derive(Debug)]
struct Uses {
    bytes_max: usize,
    bytes: usize,
    /// How many there were.
    count: u64,
    /// The last one of each space, with what its cache took then.
    last: BTreeMap<u64, (usize, Rc<RefCell<Cache>>)>,
}

impl Default for Caches {
    fn default() -> Self {
        Self::new(limits::CACHES_BYTES_MAX)
    }
}

impl Caches {
    /// They take so many bytes at most, between two events.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let uses = Uses { bytes_max, bytes: 0, count: 0, last: BTreeMap::new() };
        Self { uses: Rc::new(RefCell::new(uses)), last: 0 }
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.uses.borrow().bytes
    }

    /// Notes a use of the space's cache, and empties those that were used longest ago, as many as it takes.
    pub(super) fn used(&mut self, cache: &Rc<RefCell<Cache>>) {
        let mut uses = self.uses.borrow_mut();
        if let Some((bytes, _)) = uses.last.remove(&self.last) {
            uses.bytes -= bytes;
        }
        uses.count += 1;
        let bytes = cache.borrow().bytes();
        uses.bytes += bytes;
        self.last = uses.count;
        uses.last.insert(self.last, (bytes, Rc::clone(cache)));
        while uses.bytes > uses.bytes_max
            && let Some((_, (bytes, oldest))) = uses.last.pop_first()
        {
            uses.bytes -= bytes;
            oldest.take();
        }
    }
}
