//! Locations and the readers that pull through them: what `src/edge/pull/` and `src/edge/known.rs` do.

use crate::{
    kv::Head,
    rules::{Mistake, Rules},
    world::{History, Lines, Position, RECORDS, Records, lines_in},
    writer::Writer,
};

/// An overlay: everything in (`from`, `position`] as the coordinator had it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Overlay {
    pub(crate) incarnation: u8,
    pub(crate) position: Position,
    pub(crate) from: u8,
    pub(crate) horizon: u8,
    pub(crate) lines: Lines,
}

/// What a location knows of a space.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Known {
    pub(crate) head: Option<Head>,
    pub(crate) overlay: Option<Overlay>,
}

/// Memory of one location, by incarnation.
pub(crate) type Location = [Known; 2];

/// A client. It may pull at any location.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Reader {
    /// For which incarnation it holds a grant.
    pub(crate) grant: u8,
    pub(crate) position: Option<Position>,
    /// Of which incarnation its records are.
    pub(crate) shows: u8,
    pub(crate) records: Records,
}

/// What a pull asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) own: Option<Position>,
    pub(crate) min: Option<Position>,
}

/// What a pull is answered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) incarnation: u8,
    pub(crate) position: Position,
    pub(crate) reset: bool,
    /// In the order in which they are applied.
    pub(crate) layers: [Lines; 3],
    /// Whether it needs objects from KV.
    pub(crate) loads: bool,
}

const NOTHING: Lines = [None; RECORDS];

impl Known {
    /// A newer position is never replaced by an older one.
    pub(crate) fn learn_head(&mut self, head: Head) {
        if self.head.is_none_or(|known| known.position <= head.position) {
            self.head = Some(head);
        }
    }

    /// Of two that stand alike the one that reaches further back serves more readers.
    pub(crate) fn learn_overlay(&mut self, new: Overlay) {
        self.overlay = Some(match self.overlay {
            Some(known) if known.position > new.position => known,
            Some(known) if known.position == new.position => {
                let longer = if known.from <= new.from { known } else { new };
                Overlay { horizon: known.horizon.max(new.horizon), ..longer }
            }
            _ => new,
        });
    }

    fn position(&self) -> Option<Position> {
        self.head.map(|head| head.position).max(self.overlay.map(|overlay| overlay.position))
    }

    /// The incarnation of what stands at `top`.
    fn incarnation_at(&self, top: Position) -> u8 {
        let head = self.head.filter(|head| head.position == top).map(|head| head.incarnation);
        head.or(self.overlay.map(|overlay| overlay.incarnation)).expect("something stands at the top")
    }

    fn horizon_of(&self, top: Position) -> u8 {
        let head = self.head.filter(|head| head.position.epoch == top.epoch).map_or(0, |head| head.horizon);
        let overlay = self.overlay.filter(|overlay| overlay.position.epoch == top.epoch);
        overlay.map_or(0, |overlay| overlay.horizon).max(head)
    }

    /// The head, if it stands at `top` or the overlay carries it there; with what the overlay adds.
    fn head_below(&self, top: Position, rules: Rules) -> Option<(Head, Lines)> {
        let head = self.head?;
        if head.position == top {
            return Some((head, NOTHING));
        }
        let at = head.position.version;
        let overlay = self.overlay.filter(|overlay| {
            let begins = overlay.from <= at || rules.breaks(Mistake::OverlayOnAnyHead);
            let horizon = overlay.horizon <= at || rules.breaks(Mistake::HorizonIgnoredAboveHeads);
            let same = overlay.position == top && overlay.position.epoch == head.position.epoch;
            same && begins && horizon && overlay.position.version >= at
        })?;
        Some((head, lines_in(&overlay.lines, at, u8::MAX)))
    }

    /// From which version the client needs the state `top`, and whether its own must be forgotten.
    fn start_in(&self, request: &Request, top: Position, rules: Rules) -> (u8, bool) {
        let Some(own) = request.own else { return (0, false) };
        let below = own.version > 0
            && own.version < self.horizon_of(top)
            && !rules.breaks(Mistake::HorizonIgnoredForClients);
        let reset = own.epoch != top.epoch || below;
        (if reset { 0 } else { own.version }, reset)
    }

    /// An answer from what is known. `lenient` when the coordinator is not to be had.
    pub(crate) fn serve(&self, request: &Request, lenient: bool, rules: Rules) -> Option<Answer> {
        let top = self.position()?;
        if !is_usable(top, request, rules) {
            return None;
        }
        let (start, reset) = self.start_in(request, top, rules);
        let answer = |reset, layers, loads| Answer {
            incarnation: self.incarnation_at(top),
            position: top,
            reset,
            layers,
            loads,
        };
        let bare = rules.breaks(Mistake::NothingNewByBareVersion);
        let same = bare && request.own.is_some_and(|own| own.version == top.version);
        if same || (start == top.version && !reset) {
            return Some(answer(false, [NOTHING; 3], false));
        }
        let reaches = |from: u8| from <= start || rules.breaks(Mistake::SinceIgnored);
        let overlay = self.overlay.filter(|overlay| overlay.position == top && reaches(overlay.from));
        if let Some(overlay) = overlay {
            return Some(answer(reset, [NOTHING, NOTHING, lines_in(&overlay.lines, start, u8::MAX)], false));
        }
        let (head, newer) = self.head_below(top, rules)?;
        if reaches(head.tail_from) {
            return Some(answer(reset, [NOTHING, lines_in(&head.tail, start, u8::MAX), newer], false));
        }
        let base = head.base.filter(|_| start == 0 || lenient)?;
        Some(answer(reset, [base.parts, head.tail, newer], true))
    }

    /// The head that the coordinator's answer should continue.
    pub(crate) fn held(&self, request: &Request, rules: Rules) -> Option<Position> {
        let head = self.head?;
        let (start, _) = self.start_in(request, head.position, rules);
        (head.tail_from <= start || start == 0).then_some(head.position)
    }
}

fn is_usable(top: Position, request: &Request, rules: Rules) -> bool {
    let reaches = |wanted: Option<Position>| wanted.is_none_or(|wanted| top >= wanted);
    let min = match request.min {
        Some(min) if rules.breaks(Mistake::MinByBareVersion) => top.version >= min.version,
        min => reaches(min),
    };
    let own = match request.own {
        Some(own) if rules.breaks(Mistake::EpochsByEquality) => {
            own.epoch != top.epoch || top.version >= own.version
        }
        own => reaches(own) || rules.breaks(Mistake::SessionRuleDropped),
    };
    own && min
}

impl Reader {
    /// The one page by the coordinator alone.
    pub(crate) fn page_of(&self, writer: &Writer, restart: bool, rules: Rules) -> Answer {
        let (since, epoch) = (self.since(), self.position.map(|own| own.epoch));
        let start = if restart { 0 } else { writer.start_of(since, epoch, rules) };
        let new_epoch = epoch.is_some_and(|epoch| epoch != writer.stored.epoch);
        Answer {
            incarnation: writer.stored.incarnation,
            position: writer.position(),
            reset: restart || new_epoch || start != since,
            layers: [lines_in(&writer.stored.records, start, u8::MAX), NOTHING, NOTHING],
            loads: false,
        }
    }

    pub(crate) fn since(&self) -> u8 {
        self.position.map_or(0, |own| own.version)
    }

    /// Applies an answer. Lines at or below its own version are ignored, unless it begins anew.
    pub(crate) fn apply(&mut self, answer: &Answer) {
        let since = if answer.reset { 0 } else { self.since() };
        if answer.reset {
            self.records = [None; RECORDS];
        }
        for layer in &answer.layers {
            for (record, line) in layer.iter().enumerate() {
                if let Some(line) = line.filter(|line| line.version > since) {
                    self.records[record] = line.value;
                }
            }
        }
        (self.position, self.shows) = (Some(answer.position), answer.incarnation);
    }

    /// Whether it holds what its position ought to show (I7).
    pub(crate) fn is_right(&self, histories: &[History; 2]) -> bool {
        self.position.is_none_or(|at| self.records == histories[usize::from(self.shows)].records_at(at))
    }
}
