//! Tasks of an object by hand, where simulated worlds see no difference.

use super::{
    spaces::{create, team},
    *,
};
use crate::{
    call::{Call, Caller, Destination},
    coordinator::object::{Effect, Event, Moment, Object, ObjectConfig, Task},
    sim::{directory::SMALL, host::UNBOUNDED},
};

const AT: Moment = Moment { now: START, random: 7 };

/// An instance of a space that alice has just made, and whose first publication no alarm is set for.
fn instance() -> (Object<MemoryLedger>, Scope) {
    let mut space = create(MemoryLedger::default());
    let (rows, scope) = (space.ledger().clone(), space.scope().clone());
    let object =
        Object::new(rows, ObjectConfig { publication: BY_DEMAND, rate: UNBOUNDED, directory: SMALL }, START);
    (object, scope)
}

fn task(user_name: &str, scope: Scope, call: &Call) -> Task {
    let destination = Destination::Shared { id: team(), scope: Some(scope) };
    let caller = Caller { user: user(user_name), destination, request: String::new(), origin: String::new() };
    Task::call(call.name(), caller, || 2)
}

/// Calls of a member and of a stranger.
fn calls() -> Vec<(&'static str, Call)> {
    let calls = [Call::Push, Call::Pull(Box::default()), Call::Conflicts { after: Version::ZERO }];
    let of = |name| calls.clone().map(|call| (name, call));
    of("alice").into_iter().chain(of("bob")).collect()
}

/// Goes on until the task sets an alarm or answers.
fn until_armed(object: &mut Object<MemoryLedger>, task: &mut Task, call: &Call) -> Effect {
    let mut event = Event::Begun;
    loop {
        event = match object.step(task, event, AT) {
            Effect::ReadAlarm => Event::Alarm(Ok(None)),
            Effect::ReadBody { .. } => Event::Body(Ok(call.body().into_bytes())),
            Effect::Pause(_) | Effect::LetOthers => Event::Resumed,
            effect => return effect,
        };
    }
}

#[test]
fn i8_whatever_the_first_call_of_an_instance_is_answered_the_alarm_that_is_due_is_set_before() {
    for (user, call) in calls() {
        let (mut object, scope) = instance();
        let mut task = task(user, scope, &call);
        let effect = until_armed(&mut object, &mut task, &call);
        assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{user} {call:?}: {effect:?}");
        let effect = object.step(&mut task, Event::AlarmSet(true), AT);
        assert!(matches!(effect, Effect::Answer(_)), "{user} {call:?}: {effect:?}");
    }
}

#[test]
fn an_alarm_that_cannot_be_set_is_tried_once_and_left_to_the_next_call() {
    for (user, call) in calls() {
        let (mut object, scope) = instance();
        for _ in 0..2 {
            let mut task = task(user, scope.clone(), &call);
            until_armed(&mut object, &mut task, &call);
            let effect = object.step(&mut task, Event::AlarmSet(false), AT);
            let Effect::Answer(answer) = effect else { panic!("{user} {call:?}: {effect:?}") };
            // Whoever was refused anyway hears why.
            let would_be_done = user == "alice" && call != Call::Push;
            let refused = answer.result.expect_err("nothing is done without its alarm");
            assert_eq!(refused == ApiError::Internal, would_be_done, "{user} {call:?}: {refused:?}");
        }
    }
}
