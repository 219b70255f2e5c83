//! What can be answered from what is known: the rules by which a head and an overlay on top of it serve a client.

use super::Pull;
use crate::{
    call::Ask,
    edge::known::{KnownHead, Overlay},
    fronts::headwater::{
        answer::{Format, Load, PullAnswer},
        pull::{Consistency, Cursor, Min},
    },
    limits,
    snapshot::lines,
    time::Millis,
    version::{Position, Version},
};

impl Pull {
    /// Whether a state at `position` does not take the client back and is as new as it asks.
    pub(super) fn is_usable(&self, position: &Position) -> bool {
        let own = self.request.position();
        let reached = match &self.request.min {
            _ if planted!(MinIgnored) => true,
            None => true,
            Some(Min::Position(min)) => position >= min,
            Some(Min::Version(min)) => match &self.request.epoch {
                Some(epoch) => position >= &Position { epoch: epoch.clone(), version: *min },
                None => position.version >= *min,
            },
        };
        let later = |own: &Position| planted!(EpochComparedForEquality) && position.epoch != own.epoch;
        reached && own.is_none_or(|own| *position >= own || later(&own) || planted!(OwnPositionIgnored))
    }

    /// An answer from what is known, if it is usable and holds everything the client needs. With `lenient` also what is
    /// dearer to send or less fresh than the coordinator's answer would be, because that is not to be had.
    pub(super) fn serve(&self, lenient: bool) -> Option<PullAnswer> {
        let top = self.known.position()?;
        if !self.is_usable(&top) {
            let own = self.request.position();
            let eventual = self.request.consistency == Consistency::Eventual && self.request.cursor.is_none();
            return own.filter(|own| eventual && *own > top).map(|position| PullAnswer::Nothing { position });
        }
        if let Some(Cursor::Parts { epoch, base, done }) = &self.request.cursor {
            let same = self.format == Format::Ndjson && *epoch == top.epoch;
            return if same { self.load(&top, Some((base, *done)), Version::ZERO, false) } else { None };
        }
        let (start, reset) = self.start_in(&top);
        let seen = planted!(NothingNewByHead).then_some(self.known.head.as_ref()).flatten();
        if (start == top.version || seen.is_some_and(|head| head.metadata.v == start)) && !reset {
            return Some(PullAnswer::Nothing { position: top });
        }
        if let Some(lines) = self.lines_after(start, &top) {
            return Some(PullAnswer::Changes { position: top, reset, lines });
        }
        let stream = self.format == Format::Ndjson && (start == Version::ZERO || lenient);
        if stream { self.load(&top, None, start, reset) } else { None }
    }

    /// From which version the client needs the state `top`, and whether its own must be forgotten.
    fn start_in(&self, top: &Position) -> (Version, bool) {
        let (since, epoch) = (self.request.since, self.request.epoch.as_ref());
        let another_epoch = epoch.is_some_and(|epoch| *epoch != top.epoch) && !planted!(EpochChangedSilently);
        let horizon = self.horizon_of(top);
        let reset =
            another_epoch || (since > Version::ZERO && since < horizon && !planted!(ServedBelowHorizon));
        (if reset { Version::ZERO } else { since }, reset)
    }

    fn horizon_of(&self, top: &Position) -> Version {
        let head =
            self.known.head.as_ref().filter(|head| head.metadata.e == top.epoch).map(|head| head.metadata.z);
        let overlay = self.known.overlay.as_ref().filter(|overlay| overlay.epoch == top.epoch);
        head.max(overlay.map(|overlay| overlay.horizon)).unwrap_or_default()
    }

    /// The overlay, if it is what stands at `top`.
    fn overlay_at(&self, top: &Position) -> Option<&Overlay> {
        self.known.overlay.as_deref().filter(|overlay| overlay.position() == *top)
    }

    /// The head, if it stands at `top` or the overlay carries it there; with what the overlay adds.
    fn head_below(&self, top: &Position) -> Option<(&KnownHead, &str)> {
        let head = self.known.head.as_deref()?;
        if head.position() == *top {
            return Some((head, ""));
        }
        let overlay = self.overlay_at(top).filter(|overlay| overlay.continues(head))?;
        Some((head, lines::newer_than(&overlay.lines, head.metadata.v)))
    }

    /// Everything in (`start`, `top`], if the newest records hold it.
    fn lines_after(&self, start: Version, top: &Position) -> Option<String> {
        if let Some(overlay) = self.overlay_at(top).filter(|overlay| overlay.from <= start) {
            return Some(lines::newer_than(&overlay.lines, start).to_owned());
        }
        let (head, newer) = self.head_below(top)?;
        let body = head.body.as_ref().filter(|body| body.head.tail.from <= start)?;
        // The overlay comes last: for one record a later line is newer.
        Some(lines::newer_than(body.tail(), start).to_owned() + newer)
    }

    /// A stream of the published runs that a client at `start` needs, or of what a broken one has left.
    fn load(
        &self,
        top: &Position,
        resume: Option<(&String, usize)>,
        start: Version,
        reset: bool,
    ) -> Option<PullAnswer> {
        let (known, newer) = self.head_below(top)?;
        let body = known.body.as_ref()?;
        let base = body.head.base.as_ref();
        let done = match resume {
            None => 0,
            // Another base: what the client has of the old one cannot be completed from this one.
            Some((wanted, done)) => {
                let same = base.is_some_and(|base| {
                    (base.fingerprint() == *wanted || planted!(OtherBaseResumed)) && done <= base.parts.len()
                });
                same.then_some(done)?
            }
        };
        let base = base.filter(|base| start < base.to);
        let resumable = base.map_or(0, |base| base.parts.len() - done);
        let parts = base.into_iter().chain(&body.head.delta).flat_map(|run| run.parts.iter().cloned());
        let cursor = base.map(|base| Cursor::Parts {
            epoch: top.epoch.clone(),
            base: base.fingerprint(),
            done: done + 1,
        });
        Some(PullAnswer::Load(Load {
            position: top.clone(),
            reset,
            parts: parts.skip(done).collect(),
            resumable,
            cursor: cursor.filter(|_| start == Version::ZERO),
            lines: body.tail().to_owned() + newer,
        }))
    }

    /// The head that the coordinator's answer should continue: one that then serves this client, and every other.
    pub(super) fn held(&self) -> Option<Position> {
        let head = self.known.head.as_ref()?;
        let body = head.body.as_ref()?;
        let (start, _) = self.start_in(&head.position());
        let serves =
            body.head.tail.from <= start || (self.format == Format::Ndjson && start == Version::ZERO);
        serves.then(|| head.position())
    }

    /// What to ask the coordinator, with what this location has seen.
    pub(super) fn ask(&self, now: Millis) -> Ask {
        let head = self.known.head.as_ref();
        let ordered = match &self.request.cursor {
            Some(Cursor::Ordered(cursor)) => Some(cursor.clone()),
            _ => None,
        };
        let (min, min_version) = match &self.request.min {
            None => (None, None),
            Some(Min::Position(position)) => (Some(position.clone()), None),
            Some(Min::Version(version)) => match &self.request.epoch {
                Some(epoch) => (Some(Position { epoch: epoch.clone(), version: *version }), None),
                None => (None, Some(*version)),
            },
        };
        Ask {
            epoch: self.request.epoch.clone(),
            since: self.request.since,
            min,
            min_version,
            cursor: ordered,
            restart: self.restart,
            page_bytes: match self.format {
                Format::Json => limits::JSON_PAGE_BYTES,
                Format::Ndjson => limits::STREAM_PAGE_BYTES,
            },
            held: self.held(),
            seen: self.kv_seen.clone().unwrap_or_default(),
            missed: self.missed.clone(),
            expiring: head.is_some_and(|head| head.is_expiring(now)),
        }
    }
}
