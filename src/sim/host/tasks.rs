//! Carries out what the tasks of calls ask for.

use std::collections::BTreeMap;

use super::{Host, SectionFault, ToldPush};
use crate::{
    access::grant::Granter,
    call::{Call, Caller, Destination, Usage},
    coordinator::{
        cache::Common,
        object::{Answer, Effect, Event, Moment, Object, Said, Task},
        rate::BURST_S,
    },
    edge::pull::HEAD_TTL_S,
    error::ApiError,
    ids::UserHash,
    sim::{kv::Kv, ledger::MemoryLedger},
    snapshot::{head::HeadMetadata, keys::Scope},
    time::Millis,
};

/// The instance died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Died {
    /// Whether what it had just written remains.
    pub(super) has_kept: bool,
}

/// What a call may need.
#[derive(Debug)]
pub(super) struct Means<'a> {
    /// The body, if it is there.
    pub(super) body: Option<Vec<u8>>,
    pub(super) length: usize,
    pub(super) kv: Option<&'a mut Kv>,
    pub(super) granter: Option<&'a Granter>,
}

impl Means<'_> {
    /// If it is a push, its body of so many bytes is on its way.
    pub(super) fn announced(length: usize) -> Self {
        Self { length, body: None, kv: None, granter: None }
    }
}

/// What has become of a call.
#[derive(Debug)]
pub(super) enum Called {
    Answered(Answer),
    /// It has happened, and whoever called is told that it has not: the alarm could not be set.
    Unarmed(Answer, ApiError),
    /// Its body is waited for.
    Receives(Box<Task>),
    /// It waits for a slice.
    Waits,
    /// The instance died. What it would have answered, if what it wrote remains.
    Died {
        would_be: Option<Answer>,
    },
}

impl Called {
    /// What whoever called is told.
    pub(super) fn told(self) -> Result<Said, ApiError> {
        match self {
            Self::Answered(answer) => answer.result,
            Self::Unarmed(_, error) => Err(error),
            Self::Receives(_) | Self::Waits | Self::Died { .. } => Err(ApiError::Upstream),
        }
    }

    /// Why it was refused.
    pub(super) fn refusal(self) -> ApiError {
        self.told().expect_err("a push that waits for nothing was refused")
    }
}

type Look<'a> = &'a mut dyn FnMut(&Object<MemoryLedger>);

impl Host {
    /// A call, from its first byte to its answer, or to its place in the queue.
    pub(super) fn call(
        &mut self,
        call: &Call,
        user: &UserHash,
        scope: Option<&Scope>,
        means: Means<'_>,
        now: Millis,
    ) -> Called {
        self.call_as(call, &self.caller(user, scope), means, now)
    }

    /// Whom an edge would name, where there is none.
    pub(in crate::sim) fn caller(&self, user: &UserHash, scope: Option<&Scope>) -> Caller {
        let scope = scope.or(self.scope.as_ref()).cloned();
        let destination = match (self.id.clone(), scope) {
            (Some(id), scope) => Destination::Shared { id, scope },
            (None, Some(scope)) => Destination::Private(scope),
            (None, None) => Destination::Directory,
        };
        Caller {
            user: user.clone(),
            destination,
            request: String::new(),
            origin: String::new(),
            sub: String::new(),
            iss: String::new(),
            spent: Usage::default(),
        }
    }

    /// The same by a caller as an edge names one, as the wire between the two carries it.
    pub(super) fn call_as(&mut self, call: &Call, caller: &Caller, means: Means<'_>, now: Millis) -> Called {
        let caller = Caller::parse(&caller.to_text()).expect("a caller of ours");
        self.bill(&Usage { object: 1, ..Usage::default() });
        let (length, user) = (means.length, &caller.user.clone());
        let mut task = Task::call(call.name(), caller, || length);
        let body = Call::push(call.name()).is_none().then(|| call.body().into_bytes());
        let means = Means { body, ..means };
        let called = self.go_on(&mut task, Event::Begun, means, now);
        self.count_admitted(user, &called, now);
        if matches!(called, Called::Waits) { Called::Receives(Box::new(task)) } else { called }
    }

    /// I8: nobody takes more of an object than the rate allows. Each call that is admitted costs a unit at least.
    fn count_admitted(&mut self, user: &UserHash, called: &Called, now: Millis) {
        let per_s = u64::from(self.config.rate.user_per_s);
        let is_refused = |answer: &Answer| matches!(answer.result, Err(ApiError::RateLimited { .. }));
        if per_s == 0 || matches!(called, Called::Answered(answer) if is_refused(answer)) {
            return;
        }
        let (began, admitted) = &mut self.admitted;
        let calls = admitted.entry(user.clone()).or_default();
        *calls += 1;
        let allowed = per_s * (BURST_S * 1_000 + now.since(*began)) / 1_000;
        assert!(*calls <= allowed, "I8: {calls} calls of one user were admitted, where {allowed} may be");
    }

    /// Carries out what a task asks for, from an event to its end, or to what it has to wait for.
    pub(super) fn go_on(
        &mut self,
        task: &mut Task,
        event: Event,
        mut means: Means<'_>,
        mut now: Millis,
    ) -> Called {
        let (mut event, mut would_be) = (event, None);
        loop {
            let (effect, lived) = self.step_or_die(task, event, &mut |_| {}, now);
            if let Some(answer) = task.answer() {
                would_be = Some(answer.clone());
            }
            event = match (effect, lived) {
                (effect, Err(Died { has_kept })) => {
                    if let Effect::Answer(answer) = effect {
                        would_be = Some(answer);
                    }
                    return Called::Died { would_be: would_be.filter(|_| has_kept) };
                }
                (Effect::Answer(answer), Ok(())) => {
                    return match (would_be, answer.result) {
                        (Some(happened), Err(error)) if happened.result.is_ok() => {
                            Called::Unarmed(happened, error)
                        }
                        (_, result) => Called::Answered(Answer { result, ..answer }),
                    };
                }
                (Effect::AwaitSlice { .. }, Ok(())) => return Called::Waits,
                (Effect::ReadBody { .. }, Ok(())) => match means.body.take() {
                    Some(body) => Event::Body(Ok(body)),
                    None => return Called::Waits,
                },
                (Effect::ReadHead { key }, Ok(())) => {
                    self.bill(&Usage { kv: 1, ..Usage::default() });
                    let kv = means.kv.as_mut().expect("what begins an epoch is given KV");
                    Event::Head(head_in(kv, &key, now))
                }
                (Effect::Sign { user, scope, role }, Ok(())) => {
                    let granter = means.granter.expect("a grant is given the key");
                    Event::Signed(granter.sign(&user, &scope, role, now))
                }
                // Time passes for it, or whoever looks for a place would look for ever.
                (Effect::Pause(ms), Ok(())) => {
                    now = now.plus(ms);
                    Event::Resumed
                }
                (effect, Ok(())) => self.at_once(effect),
            };
        }
    }

    /// What needs nothing but the platform, and no time.
    pub(super) fn at_once(&mut self, effect: Effect) -> Event {
        match effect {
            Effect::ReadAlarm => Event::Alarm(self.alarm),
            Effect::SetAlarm(at) => Event::AlarmSet(self.set_alarm(at)),
            Effect::LetOthers | Effect::Committed => Event::Resumed,
            Effect::Confirm => Event::Confirmed(true),
            other => panic!("BUG: nothing asks for {other:?} here"),
        }
    }

    /// Whoever waits for the next slice wakes, in the order in which they came, and one of them settles it; `look` is shown the object
    /// then. Tells those whose pushes are done.
    pub(super) fn wake(&mut self, look: Look<'_>, now: Millis) -> Result<Vec<ToldPush>, Died> {
        let (mut told, mut waiting) = (Vec::new(), Vec::new());
        for mut task in std::mem::take(&mut self.waiting) {
            let ticket = task.ticket().expect("it waits for a slice");
            let mut event = Event::Resumed;
            let answer = loop {
                match self.step_task(&mut task, event, look, now)? {
                    Effect::Answer(answer) => break Some(answer),
                    Effect::AwaitSlice { .. } => break None,
                    effect => event = self.at_once(effect),
                }
            };
            let Some(Answer { result, at, .. }) = answer else {
                waiting.push(task);
                continue;
            };
            let answer = result.map(|said| match said {
                Said::Pushed(answer) => answer,
                said => panic!("BUG: a push was answered with {said:?}"),
            });
            told.push(ToldPush { ticket, answer, at });
        }
        self.waiting = waiting;
        Ok(told)
    }

    /// One step of a task: everything between two awaits, hence one section of storage, with the alarm that is set next.
    pub(super) fn step_task(
        &mut self,
        task: &mut Task,
        event: Event,
        look: Look<'_>,
        now: Millis,
    ) -> Result<Effect, Died> {
        let (effect, lived) = self.step_or_die(task, event, look, now);
        lived.map(|()| effect)
    }

    /// An instance runs from now on, if none did.
    pub(super) fn begin_instance(&mut self, now: Millis) {
        if self.object.is_none() {
            let rows = std::mem::take(&mut self.rows);
            self.admitted = (now, BTreeMap::new());
            self.object = Some(Object::new(rows, self.config, Common::default(), now));
            self.wake_sockets(now);
        }
    }

    /// The same, with what it asks for even if it is not carried out.
    fn step_or_die(
        &mut self,
        task: &mut Task,
        event: Event,
        look: Look<'_>,
        now: Millis,
    ) -> (Effect, Result<(), Died>) {
        let at = Moment { now, random: self.rng.any() };
        self.begin_instance(now);
        let (effect, lived) = self.section(|host| {
            let object = host.object.as_mut().expect("it runs");
            let slices = object.slices();
            let effect = object.step(task, event, at);
            if object.slices() > slices {
                look(object);
            }
            let alarm = if let Effect::SetAlarm(alarm) = &effect { *alarm } else { None };
            (effect, alarm)
        });
        // Whoever died has told nobody.
        self.carry_out_live(now);
        (effect, lived)
    }

    /// Carries out what shares one section of storage with the alarm that it asks for, and ends as the fault says.
    pub(super) fn section<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> (T, Option<Millis>),
    ) -> (T, Result<(), Died>) {
        let fault = self.section_fault;
        let before = (fault == Some(SectionFault::Lost)).then(|| self.rows().clone());
        // Storage counts down to the write that fails, so a count that is never reached tells how many there were.
        let countdown = match fault {
            Some(SectionFault::Refused(write)) => write,
            _ => u64::MAX,
        };
        self.rows().fail_writes_after = Some(countdown);
        let (result, alarm) = work(self);
        let left = self.rows().fail_writes_after.take().unwrap_or(0);
        let writes = countdown - left;
        self.writes += writes;
        if writes == 0 {
            return (result, Ok(()));
        }
        self.section_fault = None;
        match (fault, before) {
            (Some(SectionFault::Refused(_)), _) if left > 0 => {
                self.section_fault = Some(SectionFault::Refused(left));
            }
            (Some(SectionFault::Lost), Some(before)) => {
                self.restore(before);
                return (result, Err(Died { has_kept: false }));
            }
            (Some(SectionFault::Kept), _) => {
                self.alarm = alarm.or(self.alarm);
                self.bill(&Usage { alarms_set: alarm.is_some().into(), ..Usage::default() });
                self.kill();
                return (result, Err(Died { has_kept: true }));
            }
            _ => {}
        }
        (result, Ok(()))
    }
}

/// What the object sees of a head in KV, from a place of its own.
pub(super) fn head_in(kv: &mut Kv, key: &str, now: Millis) -> Result<Option<HeadMetadata>, ()> {
    let here = kv.locations() - 1;
    let entry = kv.read(here, key, u64::from(HEAD_TTL_S) * 1_000, now).map_err(|_| ())?;
    Ok(entry.and_then(|entry| HeadMetadata::parse(&entry.metadata)))
}
