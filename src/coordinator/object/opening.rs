//! The first event of an instance opens the space.

use super::{Effect, Moment, Object, State, Storage, Task};
use crate::{
    call::{Administration, Call, Caller, Destination, Person},
    coordinator::{Coordinator, ledger::LedgerResult},
    error::ApiError,
    ids::SpaceId,
    snapshot::keys::Scope,
    time::Millis,
};

/// Which space an event may open.
enum Opening<'a> {
    /// A private one, whether or not it is there.
    Private(&'a Scope),
    /// A shared one that this person makes, unless it is there.
    Made(&'a SpaceId, &'a Person),
    /// One that is there.
    Known,
}

impl<S: Storage> Object<S> {
    /// Asks for the alarm that is set, which an instance that begins does not know.
    pub(super) fn open_first(
        &mut self,
        task: &mut Task,
        call: Option<Call>,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        if self.core.is_some() {
            return self.is_open(task, call, at);
        }
        task.state = State::Opening(call);
        Ok(Effect::ReadAlarm)
    }

    /// Opens the space for a task, unless another has done so meanwhile.
    pub(super) fn open(
        &mut self,
        task: &Task,
        call: Option<&Call>,
        alarm: Option<Millis>,
        at: Moment,
    ) -> Result<(), ApiError> {
        if self.core.is_some() {
            return Ok(());
        }
        let opening = match (task.caller().map(|caller| &caller.destination), call) {
            (Some(Destination::Private(scope)), _) => Opening::Private(scope),
            (
                Some(Destination::Shared { id, .. }),
                Some(Call::Administer(Administration::Create { owner })),
            ) => Opening::Made(id, owner),
            (Some(Destination::Shared { .. } | Destination::Directory | Destination::Budget) | None, _) => {
                Opening::Known
            }
        };
        let opened =
            self.open_storage(opening, alarm, at).map_err(|error| self.storage_failed(&error, at.now))?;
        let mut opened = opened.ok_or(ApiError::NotFound("There is no such space."))?;
        opened.take_over_meter(std::mem::take(&mut self.metering.before));
        self.live.opened(opened.position());
        self.core = Some(opened);
        let kv_writes = self.config.budget.kv_writes;
        self.space().budget_is(kv_writes);
        Ok(())
    }

    /// A call has said what it asks for. A directory, or the budget, answers nothing else, and nothing else answers for one.
    pub(super) fn called(&mut self, task: &mut Task, call: Call, at: Moment) -> Result<Effect, ApiError> {
        match (task.caller().map(|caller| &caller.destination), call) {
            (Some(Destination::Directory), Call::Directory(call)) => self.ask_directory(task, &call, at),
            (Some(Destination::Budget), Call::Budget(call)) => self.ask_budget(task, &call, at),
            (Some(Destination::Directory | Destination::Budget), _)
            | (_, Call::Directory(_) | Call::Budget(_)) => Err(ApiError::Internal),
            (_, call) => self.open_first(task, Some(call), at),
        }
    }

    /// Goes on with what was asked for; an alarm asks for nothing.
    pub(super) fn is_open(
        &mut self,
        task: &mut Task,
        call: Option<Call>,
        at: Moment,
    ) -> Result<Effect, ApiError> {
        if task.caller().is_some_and(Caller::is_foreign) {
            self.space().admit_dexie(task.user())?;
        }
        match call {
            None => Ok(self.begin_turn(task, at)),
            Some(Call::Push | Call::Resolve | Call::Dexie { .. }) => self.let_in(task, at),
            Some(Call::Pull(ask)) => self.pull(task, ask, at),
            Some(Call::Listen { expires, tells_usage, peer }) => {
                self.listen(task, (expires, tells_usage, peer))
            }
            Some(Call::Conflicts { after }) => self.conflicts(task, after, at),
            Some(Call::Administer(administration)) => self.administer(task, administration, at),
            Some(Call::Directory(_) | Call::Budget(_)) => panic!("BUG: this is no space"),
        }
    }

    /// None where there is no space and none is to be made: then nothing is written.
    fn open_storage(
        &mut self,
        opening: Opening<'_>,
        alarm: Option<Millis>,
        at: Moment,
    ) -> LedgerResult<Option<Coordinator<S::Ledger>>> {
        let (is_used, config, Moment { now, random }) =
            (self.storage.is_used()?, self.config.publication, at);
        let scope = match opening {
            Opening::Private(scope) => Some(scope.clone()),
            Opening::Made(id, owner) if !is_used => {
                return Coordinator::create(self.storage.open()?, id, owner, config, now, random).map(Some);
            }
            Opening::Made(..) | Opening::Known if is_used => None,
            Opening::Made(..) | Opening::Known => return Ok(None),
        };
        Coordinator::open(self.storage.open()?, scope, config, alarm, now, random).map(Some)
    }
}
