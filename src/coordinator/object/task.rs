//! A task, what can happen to it, and what it asks for.

use strum::AsRefStr;

use super::{Administering, Answer, Claimant, Turn};
use crate::{
    call::{Ask, BudgetAnswer, BudgetCall, Call, Caller, PushRequest, ReadPush, Usage},
    coordinator::{live::Listener, places::Place, push::queue::Ticket},
    error::{ApiError, is_used_up},
    ids::UserHash,
    role::Role,
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
    version::Position,
};

/// A call under way, or an alarm.
#[derive(Debug)]
pub struct Task {
    pub(super) purpose: Purpose,
    pub(super) state: State,
    /// Bytes of its body that count as held.
    pub(super) held: usize,
    /// Among those of all objects of the isolate.
    pub(super) place: Option<Place>,
    /// Its push, once that is in the queue.
    pub(super) ticket: Option<Ticket>,
    /// Whether a message has brought it about, and no request.
    pub(super) is_message: bool,
    /// Whether it has begun and not ended.
    pub(super) is_running: bool,
    pub(super) began_at: Millis,
    /// What it has used, but for rows, of which each answer tells its own.
    pub(super) used: Usage,
    /// What the answer to its push brings along: a grant, and how long that is good, in ms.
    pub(super) grant: Option<(String, u64)>,
}

/// What a task is there for.
#[derive(Debug)]
pub(super) enum Purpose {
    Alarm,
    /// That sockets are told what gathers.
    News,
    Push {
        caller: Caller,
        /// [`Call::Push`] or [`Call::Resolve`].
        push: Call,
        /// Bytes of the body, as announced; as many as it may have where that is not known.
        length: usize,
    },
    /// A call whose body says what it asks for.
    Call {
        caller: Caller,
        name: String,
    },
}

/// What a task waits for.
#[derive(Debug, AsRefStr)]
pub(super) enum State {
    Begun,
    /// For the alarm that is set, with what is asked for, unless it is an alarm itself.
    Opening(Option<Call>),
    /// For its place.
    Entering,
    /// For its body.
    Receiving,
    /// For others to have been heard before its body is looked at, …
    Unread(Vec<u8>),
    /// … and between the mutations of a long one, of so many bytes.
    Reading(Box<dyn ReadPush>, usize),
    Pausing(Box<Ask>),
    /// For the grant that the answer to its push brings along; with what the push costs, in units.
    Granting(Box<PushRequest>, u64),
    /// For a write to be durable, after which the claim is believed.
    Confirming(Position, Claimant),
    ClaimArmed(Claimant),
    /// For its push to be settled: by whoever wakes first after so many slices.
    Waiting {
        slice: u64,
    },
    /// It has settled a slice, and the alarm is being set …
    Committing,
    /// … and whoever waits for the next one is told that there is something to wait for.
    Syncing,
    Administering(Administering),
    Answering(Box<Answer>),
    /// For the grant of somebody who wants to listen.
    Listening(Listener),
    /// Until sockets may be told more.
    Gathering,
    Turn(Box<Turn>),
    Over,
}

/// What has happened.
#[derive(Debug, AsRefStr)]
pub enum Event {
    /// The task begins.
    Begun,
    /// When the platform will wake the object, if it will.
    Alarm(Option<Millis>),
    /// Whether the alarm was set, or could be read; if not, nobody knows which one is.
    AlarmSet(bool),
    /// It was not, and none will be before the day is over, because the rows of the day are used up.
    UsedUp,
    /// The body has come.
    Body(Result<Vec<u8>, NoBody>),
    /// What was waited for is over.
    Resumed,
    /// It never will be: what was written cannot be made durable.
    BrokenOff,
    /// Whether all that was written is durable.
    Confirmed(bool),
    /// The metadata of the head, if there is one, and can be read.
    Head(Result<Option<HeadMetadata>, ()>),
    /// KV has taken a value, or deleted one, or has said why not, in its own words.
    Put(Result<(), String>),
    /// What the budget has answered; none if it was not reached.
    Budget(Option<BudgetAnswer>),
    /// A grant, and when it ends.
    Signed(Result<(String, Millis), ApiError>),
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBody {
    /// It has ended before its end.
    BrokenOff,
    /// It is longer than was allowed.
    TooLong,
}

/// What a task asks for.
#[derive(Debug, AsRefStr)]
#[expect(
    clippy::large_enum_variant,
    reason = "each is moved once, and a box would be an allocation for each answer"
)]
pub enum Effect {
    /// Look when the platform will wake the object: [`Event::Alarm`].
    ReadAlarm,
    /// Set the alarm, or delete it: [`Event::AlarmSet`].
    SetAlarm(Option<Millis>),
    /// Read the body of the call: [`Event::Body`].
    ReadBody {
        /// How many bytes it has at most.
        limit: usize,
    },
    /// Let others be heard: [`Event::Resumed`].
    LetOthers,
    /// Wait until the last slice is durable, or until the events that are ready have run, if none is under way or
    /// `is_under_way` says that a push waits for nobody: [`Event::Resumed`], in the order in which they asked.
    AwaitSlice {
        /// Whether a part of a push is settled.
        is_under_way: bool,
    },
    /// A slice was written: whoever awaits the next one waits until it is durable. [`Event::Resumed`] at once.
    Committed,
    /// Wait until all that was written is durable: [`Event::Confirmed`].
    Confirm,
    /// Wait so long, in ms: [`Event::Resumed`].
    Pause(u64),
    /// Read the metadata of a head from KV: [`Event::Head`].
    ReadHead {
        /// Where.
        key: String,
    },
    /// Put a value into KV: [`Event::Put`].
    Put {
        /// Where.
        key: String,
        /// What.
        value: String,
        /// JSON beside it.
        metadata: Option<String>,
        /// When KV forgets it.
        expires: Expires,
    },
    /// Delete a value from KV: [`Event::Put`].
    Delete {
        /// Where.
        key: String,
    },
    /// Ask the deployment's budget on behalf of the space, with [`crate::call::BUDGET_TIMEOUT_MS`]: [`Event::Budget`].
    AskBudget(Box<Caller>, BudgetCall),
    /// Sign a grant for the caller: [`Event::Signed`].
    Sign {
        /// The caller.
        user: UserHash,
        /// What it is for.
        scope: Scope,
        /// What it allows.
        role: Role,
    },
    /// The call is answered.
    Answer(Answer),
    /// The alarm has done its work.
    Rest,
    /// The alarm could not do its work: the platform has to ring again.
    Fail,
}

/// When KV forgets a value, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// From now on.
    In(u64),
    /// Since the Unix epoch.
    At(u64),
}

impl Task {
    /// The alarm has fired.
    #[must_use]
    pub fn alarm() -> Self {
        Self::new(Purpose::Alarm)
    }

    /// Sockets have to be told more, later: [`crate::coordinator::live::Outlet::Coalesce`].
    #[must_use]
    pub fn news() -> Self {
        Self::new(Purpose::News)
    }

    /// A call has come; `length` is asked how many bytes its body has, if that matters.
    #[must_use]
    pub fn call(name: &str, caller: Caller, length: impl FnOnce() -> usize) -> Self {
        Self::new(match Call::push(name) {
            Some(push) => {
                let length = length().min(push.body_bytes_max());
                Purpose::Push { caller, push, length }
            }
            None => Purpose::Call { caller, name: name.to_owned() },
        })
    }

    /// The same that a message over a socket has brought about.
    #[must_use]
    pub fn message(name: &str, caller: Caller, length: impl FnOnce() -> usize) -> Self {
        Self { is_message: true, ..Self::call(name, caller, length) }
    }

    fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            state: State::Begun,
            held: 0,
            place: None,
            ticket: None,
            is_message: false,
            is_running: false,
            began_at: Millis(0),
            used: Usage::default(),
            grant: None,
        }
    }

    /// Bytes of its body that count as held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether an alarm has brought it about.
    #[must_use]
    pub fn is_alarm(&self) -> bool {
        matches!(self.purpose, Purpose::Alarm)
    }

    /// When it has begun.
    #[must_use]
    pub fn began_at(&self) -> Millis {
        self.began_at
    }

    /// What it has used; of a call without rows, of which its answer tells.
    #[must_use]
    pub fn used(&self) -> &Usage {
        &self.used
    }

    /// What it will be answered once the alarm is set.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.state {
            State::Answering(answer) => Some(answer),
            _ => None,
        }
    }

    /// Its push, once that is in the queue.
    #[must_use]
    pub fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    /// What it is answered without its body.
    pub(super) fn lacks_body(&self, why: NoBody) -> ApiError {
        match (why, &self.purpose) {
            (NoBody::BrokenOff, _) => ApiError::Malformed("the body broke off".to_owned()),
            (NoBody::TooLong, Purpose::Push { push: Call::Push | Call::Resolve, .. }) => {
                ApiError::TooLarge("A body has at most 4 MiB.")
            }
            (NoBody::TooLong, Purpose::Push { .. }) => ApiError::TooLarge("A body has at most 8 MiB."),
            (NoBody::TooLong, Purpose::Call { .. } | Purpose::Alarm | Purpose::News) => {
                ApiError::TooLarge("A call has at most 64 KiB.")
            }
        }
    }

    /// Who has called; nobody brings an alarm about, or news.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match &self.purpose {
            Purpose::Push { caller, .. } | Purpose::Call { caller, .. } => Some(caller),
            Purpose::Alarm | Purpose::News => None,
        }
    }

    pub(super) fn user(&self) -> &UserHash {
        &self.caller().expect("BUG: nobody has called").user
    }
}

impl Event {
    /// The alarm was not set, in the platform's own words.
    #[must_use]
    pub fn no_alarm(words: &str) -> Self {
        if is_used_up(words) { Self::UsedUp } else { Self::AlarmSet(false) }
    }
}

impl Effect {
    /// Whether the task is over.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Answer(_) | Self::Rest | Self::Fail)
    }
}
