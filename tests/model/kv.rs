//! KV as it may behave: a put lands at once, late, or never; a reader is shown any head that ever landed, or none.

use crate::world::{Line, Lines, Position};

/// Parts of a space as they were at `to`. Part *k* holds the line of record *k*.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Run {
    pub(crate) to: u8,
    pub(crate) parts: Lines,
}

/// The value of the one mutable key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Head {
    pub(crate) position: Position,
    /// Whose it is. The product has it in the key and in the first line; no rule of the model looks at it here.
    pub(crate) incarnation: u8,
    pub(crate) horizon: u8,
    pub(crate) tail_from: u8,
    pub(crate) tail: Lines,
    pub(crate) base: Option<Run>,
}

/// A head on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Put {
    pub(crate) head: Head,
    /// Whether an instance still waits for the answer. If not, it may land after a newer one.
    pub(crate) waited_for: bool,
}

/// One key that holds heads.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct HeadKey {
    /// What was written last: what every location shows some day.
    pub(crate) current: Option<Head>,
    /// Every head that ever stood here, sorted: what a location may show meanwhile.
    pub(crate) landed: Vec<Head>,
    /// In the order in which they were sent.
    pub(crate) in_flight: Vec<Put>,
}

/// The namespace. Objects are named by what they hold, so one that landed late is no other than one that landed in time.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Kv {
    /// By incarnation.
    pub(crate) keys: [HeadKey; 2],
    /// Sorted: under which prefix, which record, what.
    pub(crate) objects: Vec<(usize, usize, Line)>,
}

impl HeadKey {
    /// A put arrives.
    pub(crate) fn land(&mut self, put: usize) {
        let head = self.in_flight.remove(put).head;
        if let Err(at) = self.landed.binary_search(&head) {
            self.landed.insert(at, head);
        }
        self.current = Some(head);
    }

    /// The put whose answer an instance waits for, if it has not landed.
    pub(crate) fn awaited(&self) -> Option<usize> {
        self.in_flight.iter().position(|put| put.waited_for)
    }

    /// Nobody waits any more.
    pub(crate) fn abandon(&mut self) {
        self.in_flight.iter_mut().for_each(|put| put.waited_for = false);
    }

    /// Whether a put that nobody waits for may still land.
    pub(crate) fn has_strays(&self) -> bool {
        self.in_flight.iter().any(|put| !put.waited_for)
    }
}

impl Kv {
    pub(crate) fn put_objects(&mut self, key: usize, parts: &Lines) {
        for (record, line) in parts.iter().enumerate() {
            let Some(line) = line else { continue };
            let object = (key, record, *line);
            if let Err(at) = self.objects.binary_search(&object) {
                self.objects.insert(at, object);
            }
        }
    }

    /// Whether all that `head` names was put.
    pub(crate) fn has_all_of(&self, key: usize, head: &Head) -> bool {
        let parts = head.base.map_or([None; 2], |base| base.parts);
        parts.iter().enumerate().all(|(record, line)| {
            line.is_none_or(|line| self.objects.binary_search(&(key, record, line)).is_ok())
        })
    }
}
