//! Members' homes are told what has become of their memberships, so that everybody can list the spaces they are in.
//!
//! A notice is due from the section on in which a membership changes, and stays so until the home has answered: it survives
//! restarts. It says what holds when it is sent, so of several changes only the last is told.
//!
//! The rows are a queue by the time before which each home is left alone: a minute after it was told, as nobody may write into
//! another's home at the speed of their own requests, and longer the more often it has not answered. That is noted before
//! anything is sent, so a home that does not answer goes behind all others, whatever becomes of this instance. After a day of
//! that it is told no more, until something else becomes of the membership.
//!
//! A home that knows of a later position than it is told says so: storage has gone back, or this is a later space of its id,
//! begun by a clock that was behind. Then a new epoch begins, above what the home knows, and it is told again in that.

use super::{
    Coordinator,
    ledger::{Ledger, LedgerResult, Meta, Untold},
    members,
};
use crate::{
    ids::{SpaceHash, SpaceId, UserHash},
    limits::{NOTICE_RETRY_MS, NOTICE_RETRY_MS_MAX, NOTICE_TRIES_MAX, NOTICES_MS_PER_TURN, NOTICES_PER_TURN},
    protocol::{
        internal::{GONE, Order},
        role::Role,
    },
    time::Millis,
    value::text_field,
    version::{Position, Version},
};

/// What a member's home has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The member.
    pub user: UserHash,
    /// The member's private space.
    pub home: SpaceHash,
    /// The space that tells.
    pub space: SpaceId,
    /// What the member may do in it; none: nothing any more.
    pub role: Option<Role>,
    /// Whether that is so because the space was deleted.
    pub is_gone: bool,
    /// Where the space stood when that changed: of two notices the one from further on holds.
    pub at: Position,
}

impl Notice {
    /// What the home is told.
    #[must_use]
    pub fn order(&self) -> Order {
        let role = if self.is_gone { GONE } else { self.role.map_or("", Role::as_str) };
        Order {
            space: self.space.as_str().to_owned(),
            role: role.to_owned(),
            at: self.at.to_string(),
            ..Order::default()
        }
    }
}

/// How telling a home ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has noted that.
    Noted,
    /// It knows of a later position of the space, and has noted nothing.
    Later(Position),
    /// It has noted nothing, or nobody knows.
    Failed,
}

impl Told {
    /// Out of what a home has answered.
    #[must_use]
    pub fn of(status: u16, body: &str) -> Self {
        match (status, text_field(body, "at").and_then(|at| Position::parse(&at))) {
            (204, _) => Self::Noted,
            (200, Some(at)) => Self::Later(at),
            _ => Self::Failed,
        }
    }

    /// The body of the answer of a home that knows of a later position.
    pub(super) fn later(at: &Position) -> String {
        format!(r#"{{"at":"{at}"}}"#)
    }
}

/// Which homes have to be told. The rows say it; this says when to look at them.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// When to look next; none if everybody knows.
    due: Option<Millis>,
    turn: Option<Turn>,
}

/// What was sent in a turn of the alarm.
#[derive(Debug, Default)]
struct Turn {
    sent: usize,
    first_at: Option<Millis>,
    last_at: Millis,
}

impl Notices {
    pub(super) fn open<L: Ledger>(ledger: &L, meta: &Meta, now: Millis) -> LedgerResult<Self> {
        let first = if meta.space.is_some() { ledger.untold()? } else { None };
        Ok(Self { due: first.map(|first| first.next_at.max(now)), turn: None })
    }

    /// Notes that there is something to tell.
    pub(super) fn arise(&mut self, now: Millis) {
        self.due = Some(now);
    }

    /// When the next turn has to be for their sake.
    pub(super) fn due(&self, now: Millis) -> Option<Millis> {
        // Not at this moment: an alarm that is set to the present from within an alarm can be lost (workerd#6866).
        self.due.map(|due| due.max(now.plus(1)))
    }

    /// A turn begins; whether it has to do with them.
    pub(super) fn begin_turn(&mut self, now: Millis) -> bool {
        self.turn = Some(Turn::default());
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether a turn is under way.
    pub(super) fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The turn is over.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Whom to tell next in this turn, if anybody. A turn ends in time, so that the next one can publish.
    fn next<L: Ledger>(&mut self, ledger: &mut L, now: Millis) -> LedgerResult<Option<Untold>> {
        let is_due = self.due.is_some_and(|due| due <= now);
        let Some(turn) = self.turn.as_mut().filter(|_| is_due) else { return Ok(None) };
        let took_ms = turn.first_at.map_or(0, |first| now.since(first));
        if turn.sent >= NOTICES_PER_TURN || took_ms >= NOTICES_MS_PER_TURN {
            return Ok(None);
        }
        let first = ledger.untold()?;
        self.due = first.as_ref().map(|first| first.next_at);
        let Some(first) = first.filter(|first| first.next_at <= now) else { return Ok(None) };
        if first.tries >= NOTICE_TRIES_MAX {
            return Ok(Some(first));
        }
        let wait = NOTICE_RETRY_MS << first.tries.min(10);
        ledger.is_telling(&first.user, now.plus(wait.min(NOTICE_RETRY_MS_MAX)))?;
        turn.sent += 1;
        turn.first_at.get_or_insert(now);
        turn.last_at = now;
        Ok(Some(first))
    }
}

impl<L: Ledger> Coordinator<L> {
    pub(super) fn next_notice(&mut self, now: Millis) -> Option<Notice> {
        let space = self.meta.space.clone()?;
        let notice = self.first_notice(&space, now);
        notice.unwrap_or_else(|error| {
            self.storage_failed(error);
            self.notices.due = Some(now.plus(NOTICE_RETRY_MS_MAX));
            None
        })
    }

    fn first_notice(&mut self, space: &SpaceId, now: Millis) -> LedgerResult<Option<Notice>> {
        while let Some(Untold { user, home, version, tries, .. }) =
            self.notices.next(&mut self.ledger, now)?
        {
            if tries >= NOTICE_TRIES_MAX {
                self.tell_no_more(&user, version, now)?;
                continue;
            }
            let role = members::role_of(&self.ledger, &self.meta, &user)?;
            let at = Position { epoch: self.meta.epoch.clone(), version };
            let is_gone = self.meta.gone_at.is_some();
            return Ok(Some(Notice { user, home, space: space.clone(), role, is_gone, at }));
        }
        Ok(None)
    }

    /// How telling a home ended. `version` is the one of the notice. A home that has not noted it is told again, which was
    /// noted before it was told.
    pub fn was_told(&mut self, user: &UserHash, version: Version, told: &Told, now: Millis, random: u64) {
        // Without a turn, another one has taken over since, and tells it again.
        let Some(turn) = &self.notices.turn else { return };
        let next_at = turn.last_at.plus(NOTICE_RETRY_MS);
        match told {
            // An epoch that began since the notice was sent may lie above what the home knows.
            Told::Later(at) if at.epoch >= self.meta.epoch && !planted!(HomesNotBelieved) => {
                // Where it fails, or may not begin yet, the home says so again.
                let _ = self.begin_epoch_after(at, now, random);
            }
            Told::Noted => self.note_told(user, version, next_at),
            Told::Failed if planted!(NoticeNotRepeated) => self.note_told(user, version, next_at),
            Told::Later(_) | Told::Failed => {}
        }
    }

    fn note_told(&mut self, user: &UserHash, version: Version, next_at: Millis) {
        if let Err(error) = self.tell_no_more(user, version, next_at) {
            self.storage_failed(error);
        }
    }

    /// Notes that a home need not be told of the step `version` any more.
    fn tell_no_more(&mut self, user: &UserHash, version: Version, next_at: Millis) -> LedgerResult<()> {
        let role = members::role_of(&self.ledger, &self.meta, user)?;
        self.ledger.atomically(&mut |ledger| {
            // Who is no member, and knows it, is never told anything again.
            if role.is_none() {
                ledger.forget_member(user, version)?;
            }
            ledger.was_told(user, version, next_at)
        })
    }
}
