//! What there is: a coordinator with its storage, KV, two locations, two readers, and what may still go wrong.

use crate::{kv::Kv, reader::Location, reader::Reader, writer::Writer};

/// How many records a space has. Each is a part of its own when a base is built.
pub(crate) const RECORDS: usize = 2;
/// Lines that a tail holds; more make a base necessary.
pub(crate) const TAIL_LINES_MAX: usize = 1;

/// Epochs are times in the product, so those of a later incarnation sort later too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Position {
    pub(crate) epoch: u8,
    pub(crate) version: u8,
}

/// Which step of which history wrote a value: no two steps write the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Step {
    pub(crate) incarnation: u8,
    /// 1 after a new epoch has begun.
    pub(crate) life: u8,
    pub(crate) version: u8,
}

/// A record line: a value, or a deletion.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Line {
    pub(crate) version: u8,
    pub(crate) value: Option<Step>,
}

/// At most one line per record.
pub(crate) type Lines = [Option<Line>; RECORDS];
/// What a reader holds.
pub(crate) type Records = [Option<Step>; RECORDS];

/// The lines with versions in (`from`, `to`].
pub(crate) fn lines_in(lines: &Lines, from: u8, to: u8) -> Lines {
    lines.map(|line| line.filter(|line| line.version > from && line.version <= to))
}

/// What a step does: which records it touches, and whether it deletes them. The two lives differ in every step that can
/// follow an epoch's beginning, so a position of one taken for a position of the other shows.
fn script(life: u8, version: u8) -> &'static [(usize, bool)] {
    match (life, version) {
        (_, 1) => &[(0, false), (1, false)],
        (0, 2) | (1, 3) => &[(0, true)],
        (0, 3) | (1, 2) => &[(1, false)],
        _ => panic!("the script has no step {version}"),
    }
}

/// Where the second life of an incarnation parts from the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fork {
    pub(crate) epoch: u8,
    pub(crate) version: u8,
}

/// The history of one incarnation, by the rules alone: what its positions ought to show.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct History {
    pub(crate) incarnation: u8,
    pub(crate) fork: Option<Fork>,
}

impl History {
    /// The lines of all records at `position`, deletions included.
    pub(crate) fn lines_at(&self, position: Position) -> Lines {
        let mut lines = [None; RECORDS];
        for version in 1..=position.version {
            let forked = self.fork.is_some_and(|fork| position.epoch >= fork.epoch && version > fork.version);
            let step = Step { incarnation: self.incarnation, life: u8::from(forked), version };
            for (record, deletes) in script(step.life, version) {
                lines[*record] = Some(Line { version, value: (!deletes).then_some(step) });
            }
        }
        lines
    }

    /// What a reader at `position` ought to hold.
    pub(crate) fn records_at(&self, position: Position) -> Records {
        self.lines_at(position).map(|line| line.and_then(|line| line.value))
    }
}

/// How often each of these may happen: what bounds the exploration.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Bounds {
    pub(crate) readers: usize,
    /// Steps of a space.
    pub(crate) versions: u8,
    /// The instance dies, between any two effects.
    pub(crate) crashes: u8,
    /// A put is refused, or ends without an answer and lands later, or never.
    pub(crate) failures: u8,
    /// A new epoch begins, by a reset, or by a reset after storage was restored.
    pub(crate) epochs: u8,
    /// The deletions that there are become old enough to be forgotten.
    pub(crate) ages: u8,
    /// The space is deleted, and one of the same id created.
    pub(crate) incarnations: u8,
}

/// The bounds that `cargo test` explores: together they meet every fault, each small enough to be complete.
pub(crate) mod bounds {
    use super::Bounds;

    const NO_FAULTS: Bounds =
        Bounds { readers: 2, versions: 2, crashes: 0, failures: 0, epochs: 0, ages: 0, incarnations: 1 };

    pub(crate) const PUBLICATION: Bounds =
        Bounds { readers: 0, versions: 3, crashes: 1, failures: 2, epochs: 1, ages: 1, ..NO_FAULTS };
    pub(crate) const ONE_READER: Bounds =
        Bounds { readers: 1, versions: 1, crashes: 1, failures: 1, epochs: 1, ..NO_FAULTS };
    pub(crate) const TWO_READERS: Bounds = Bounds { crashes: 1, failures: 1, ..NO_FAULTS };
    pub(crate) const TWO_EPOCHS: Bounds = Bounds { versions: 1, failures: 1, epochs: 1, ..NO_FAULTS };
    pub(crate) const DELETIONS: Bounds = Bounds { readers: 1, versions: 3, crashes: 1, ages: 1, ..NO_FAULTS };
    pub(crate) const INCARNATIONS: Bounds = Bounds { versions: 1, failures: 1, incarnations: 2, ..NO_FAULTS };
}

/// The state that is explored.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct World {
    pub(crate) writer: Writer,
    pub(crate) kv: Kv,
    pub(crate) readers: Vec<Reader>,
    pub(crate) locations: Vec<Location>,
    /// Of both incarnations.
    pub(crate) histories: [History; 2],
    /// What may still happen.
    pub(crate) left: Bounds,
    /// A reader got a position below its own, or below the one that it asked for. Kept, because nothing else remembers.
    pub(crate) went_back: bool,
    /// A reader got something of another incarnation than its grant is for.
    pub(crate) showed_another_space: bool,
    /// The published position fell.
    pub(crate) unpublished: bool,
}

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            writer: Writer::new(0, 1),
            kv: Kv::default(),
            readers: vec![Reader::default(); bounds.readers],
            locations: vec![Location::default(); 2],
            histories: [0, 1].map(|incarnation| History { incarnation, fork: None }),
            left: bounds,
            went_back: false,
            showed_another_space: false,
            unpublished: false,
        }
    }

    pub(crate) fn history(&mut self) -> &mut History {
        &mut self.histories[usize::from(self.writer.stored.incarnation)]
    }
}
