//! Members' homes are told what has become of their memberships, so that everybody can list the spaces they are in.
//!
//! A notice is due from the section on in which a membership changes, and stays so until the home has answered: it survives
//! restarts. It says what holds when it is sent, so of several changes only the last is told.

use super::{
    Coordinator,
    ledger::{Ledger, LedgerResult, Meta, Untold},
    members,
};
use crate::{
    ids::{SpaceHash, SpaceId, UserHash},
    limits::{NOTICE_RETRY_MS, NOTICES_PER_TURN},
    protocol::{
        internal::{GONE, Order},
        role::Role,
    },
    time::Millis,
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

/// Which homes have to be told. The rows say it; this says when to look at them.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// When the next round begins, or goes on; none if everybody knows.
    due: Option<Millis>,
    /// How far the round has got: a home that does not answer does not keep the others waiting.
    after: Option<UserHash>,
    has_failed: bool,
    sent_in_turn: usize,
}

impl Notices {
    pub(super) fn open<L: Ledger>(ledger: &L, meta: &Meta, now: Millis) -> LedgerResult<Self> {
        let is_due = meta.space.is_some() && ledger.untold(None)?.is_some();
        Ok(Self { due: is_due.then_some(now), ..Self::default() })
    }

    /// Notes that there is something to tell.
    pub(super) fn arise(&mut self, now: Millis) {
        (self.due, self.after) = (Some(now), None);
    }

    /// When the next turn has to be for their sake.
    pub(super) fn due(&self, now: Millis) -> Option<Millis> {
        // Not at this moment: an alarm that is set to the present from within an alarm can be lost (workerd#6866).
        self.due.map(|due| due.max(now.plus(1)))
    }

    /// A turn begins; whether it has to do with them.
    pub(super) fn begin_turn(&mut self, now: Millis) -> bool {
        self.sent_in_turn = 0;
        self.due.is_some_and(|due| due <= now)
    }

    /// Whom to tell next, if anybody.
    fn next<L: Ledger>(&mut self, ledger: &L, now: Millis) -> LedgerResult<Option<Untold>> {
        let is_due = self.due.is_some_and(|due| due <= now);
        if !is_due || self.sent_in_turn >= NOTICES_PER_TURN {
            return Ok(None);
        }
        let untold = ledger.untold(self.after.as_ref())?;
        match &untold {
            Some(untold) => {
                self.sent_in_turn += 1;
                self.after = Some(untold.user.clone());
            }
            None => {
                self.due = std::mem::take(&mut self.has_failed).then(|| now.plus(NOTICE_RETRY_MS));
                self.after = None;
            }
        }
        Ok(untold)
    }
}

impl<L: Ledger> Coordinator<L> {
    pub(super) fn next_notice(&mut self, now: Millis) -> Option<Notice> {
        let space = self.meta.space.clone()?;
        let notice = self.notices.next(&self.ledger, now).and_then(|untold| {
            let Some(Untold { user, home, version }) = untold else { return Ok(None) };
            let role = members::role_of(&self.ledger, &self.meta, &user)?;
            let at = Position { epoch: self.meta.epoch.clone(), version };
            let is_gone = self.meta.gone_at.is_some();
            Ok(Some(Notice { user, home, space, role, is_gone, at }))
        });
        notice.unwrap_or_else(|error| {
            self.storage_failed(error);
            self.notices.due = Some(now.plus(NOTICE_RETRY_MS));
            None
        })
    }

    /// How telling a home ended: whether it has answered that it knows. `version` is the one of the notice.
    pub fn was_told(&mut self, user: &UserHash, version: Version, is_told: bool) {
        let noted =
            if is_told || planted!(NoticeNotRepeated) { self.ledger.was_told(user, version) } else { Ok(()) };
        self.notices.has_failed |= !is_told || noted.is_err();
        if let Err(error) = noted {
            self.storage_failed(error);
        }
    }
}
