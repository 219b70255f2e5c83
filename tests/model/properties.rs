//! What must always hold, and what the exploration must have come by to be worth anything.

use std::sync::atomic::{AtomicU32, Ordering};

use stateright::Property;

use crate::{
    kv::Kv,
    protocol::Protocol,
    rules::Rules,
    world::World,
    writer::{Alarm, Outcome, Turn, Writer},
};

/// Those of `docs/INVARIANTS.md` that the model can break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Invariant {
    I3,
    I4,
    I5,
    I7,
    I8,
    I9,
}

impl Invariant {
    pub(crate) const ALL: [Self; 6] = [Self::I3, Self::I4, Self::I5, Self::I7, Self::I8, Self::I9];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::I3 => "I3: no reader gets a position below its own, or below its min",
            Self::I4 => "I4: published is at most durable and never falls",
            Self::I5 => "I5: a head names only objects that were put before, of versions up to its own",
            Self::I7 => "I7: a reader holds what its position ought to show",
            Self::I8 => "I8: without further faults KV's head reaches what is durable, and no alarm is left",
            Self::I9 => "I9: a reader is shown only the incarnation that its grant is for",
        }
    }

    pub(crate) fn property(self) -> Property<Protocol> {
        let condition: fn(&Protocol, &World) -> bool = match self {
            Self::I3 => |_, world| !world.went_back,
            Self::I4 => |_, world| {
                let published = world.writer.stored.published;
                !world.unpublished && published.is_none_or(|published| published <= world.writer.position())
            },
            Self::I5 => |_, world| heads_name_what_is_there(&world.kv),
            Self::I7 => |_, world| world.readers.iter().all(|reader| reader.is_right(&world.histories)),
            Self::I8 => |protocol, world| settles_down(world, protocol.rules),
            Self::I9 => |_, world| !world.showed_another_space,
        };
        Property::always(self.name(), condition)
    }
}

fn heads_name_what_is_there(kv: &Kv) -> bool {
    kv.keys.iter().enumerate().all(|(number, key)| {
        key.landed.iter().all(|head| {
            let exact = head.base.is_none_or(|base| base.to <= head.position.version);
            exact && kv.has_all_of(number, head)
        })
    })
}

/// Carries out what is under way and what the alarms bring, without a further fault and with nobody asking. That no other
/// order ends elsewhere follows from this being checked in every state: each state on another order's way is one of them.
fn settles_down(world: &World, rules: Rules) -> bool {
    let key = world.writer.key(rules);
    let mut calm: Option<(Writer, Kv)> = None;
    for _ in 0..40 {
        let (writer, kv) = calm.as_ref().map_or((&world.writer, &world.kv), |(writer, kv)| (writer, kv));
        if writer.turn.is_none() && writer.stored.alarm.is_none() && kv.keys[key].in_flight.is_empty() {
            let shown = kv.keys[key].current.map(|head| head.position);
            return shown == Some(writer.position()) || (shown.is_none() && writer.stored.version == 0);
        }
        let (writer, kv) = calm.get_or_insert_with(|| (world.writer, world.kv.clone()));
        calm_step(writer, kv, key, rules);
    }
    false
}

fn calm_step(writer: &mut Writer, kv: &mut Kv, key: usize, rules: Rules) {
    if !kv.keys[key].in_flight.is_empty() {
        kv.keys[key].land(0);
    } else if writer.turn.is_some() {
        writer.report(Outcome::Done, kv, rules);
    } else {
        writer.begin_turn(rules);
    }
}

/// Something that the exploration must have come by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    LatePutOverwritesANewerHead,
    CrashBetweenObjectAndHead,
    WatchdogBringsTheNextTurn,
    HeadIsSettled,
    DeletionIsForgotten,
    BaseIsFolded,
    StaleHeadIsRefused,
    CoordinatorTakesOver,
    ObjectIsMissing,
    ReaderIsResetByANewEpoch,
    LayersAnswerTogether,
    ReadsGoOnWithoutTheCoordinator,
    LatePutOfADeletedSpaceLands,
    ReaderIsShownTheNextSpace,
}

impl Event {
    const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Holds in the first state that is checked after it happened.
    pub(crate) fn property(self) -> Property<Protocol> {
        macro_rules! seen {
            ($($event:ident: $name:literal),+ $(,)?) => {
                match self {
                    $(Self::$event => Property::sometimes($name, |protocol, _| {
                        protocol.seen.shows_for_the_first_time(Self::$event)
                    }),)+
                }
            };
        }
        seen! {
            LatePutOverwritesANewerHead: "a late put of a head overwrites a newer one",
            CrashBetweenObjectAndHead: "an instance dies between an object's put and the head's",
            WatchdogBringsTheNextTurn: "the watchdog of a dead instance brings the next turn",
            HeadIsSettled: "a head is put once more because an earlier put may still have landed",
            DeletionIsForgotten: "a deletion is forgotten",
            BaseIsFolded: "a base is replaced by another",
            StaleHeadIsRefused: "a reader refuses a head that is older than itself",
            CoordinatorTakesOver: "KV shows a reader too little, and the coordinator answers",
            ObjectIsMissing: "an object is missing, and the coordinator answers alone",
            ReaderIsResetByANewEpoch: "a new epoch resets a reader",
            LayersAnswerTogether: "base, tail and overlay, or two of them, answer together",
            ReadsGoOnWithoutTheCoordinator: "the coordinator does not answer, and KV does",
            LatePutOfADeletedSpaceLands: "a head of the deleted space lands after the next was created",
            ReaderIsShownTheNextSpace: "a reader of the deleted space is shown the next",
        }
    }
}

/// What the exploration came by. Beside the states, because most of it happens between two of them, and a mark in the
/// state would double their number each time.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    happened: AtomicU32,
    shown: AtomicU32,
}

impl Seen {
    pub(crate) fn note(&self, event: Event) {
        self.happened.fetch_or(event.bit(), Ordering::Relaxed);
    }

    fn shows_for_the_first_time(&self, event: Event) -> bool {
        let happened = self.happened.load(Ordering::Relaxed) & event.bit() != 0;
        happened && self.shown.fetch_or(event.bit(), Ordering::Relaxed) & event.bit() == 0
    }
}

/// Whether a turn puts the head that settles.
pub(crate) fn is_settling(turn: Option<Turn>) -> bool {
    matches!(turn, Some(Turn::Head { settles: true, .. }))
}

/// Whether this alarm is the watchdog of an instance that is gone.
pub(crate) fn is_watchdog(writer: &Writer) -> bool {
    writer.fresh && writer.stored.alarm == Some(Alarm::Settled)
}
