//! Tasks of an object by hand, where simulated worlds see no difference.

use super::{
    caches::asked,
    spaces::{create, team},
    *,
};
use crate::{
    call::{Call, Caller, Destination, DirectoryCall, Usage},
    coordinator::{
        budget::BudgetMax,
        cache::Common,
        ledger::LedgerError,
        object::{Answer, Effect, Event, Moment, Object, ObjectConfig, Said, Task},
    },
    fronts::read_push,
    log::LogLevel,
    sim::{directory::SMALL, host::UNBOUNDED},
};

pub(super) const AT: Moment = Moment { now: START, random: 7 };
pub(super) const CONFIG: ObjectConfig =
    ObjectConfig { publication: BY_DEMAND, rate: UNBOUNDED, directory: SMALL, budget: NO_BUDGET, read_push };
const NO_BUDGET: BudgetMax = BudgetMax { kv_writes: None, object_requests: None };
const USED_UP: &str = "Exceeded allowed rows written in Durable Objects free tier.";

/// An instance of a space that alice has just made, and whose first publication no alarm is set for.
fn instance() -> (Object<MemoryLedger>, Scope) {
    instance_with(&Common::default())
}

pub(super) fn instance_with(common: &Common) -> (Object<MemoryLedger>, Scope) {
    let mut space = create(MemoryLedger::default());
    let (rows, scope) = (space.ledger().clone(), space.scope().clone());
    (Object::new(rows, CONFIG, common.clone(), START), scope)
}

pub(super) fn task(user_name: &str, scope: Scope, call: &Call) -> Task {
    let destination = Destination::Shared { id: team(), scope: Some(scope) };
    let caller = Caller {
        user: user(user_name),
        destination,
        request: String::new(),
        origin: String::new(),
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    Task::call(call.name(), caller, || 2)
}

/// Calls of a member and of a stranger.
fn calls() -> Vec<(&'static str, Call)> {
    let calls = [Call::Push, Call::Pull(Box::default()), Call::Conflicts { after: Version::ZERO }];
    let of = |name| calls.clone().map(|call| (name, call));
    of("alice").into_iter().chain(of("bob")).collect()
}

/// Goes on from an event until the task sets an alarm, has something confirmed, or answers.
pub(super) fn go_on(
    object: &mut Object<MemoryLedger>,
    task: &mut Task,
    mut event: Event,
    body: &str,
) -> Effect {
    loop {
        event = match object.step(task, event, AT) {
            Effect::ReadAlarm => Event::Alarm(None),
            Effect::ReadBody { .. } => Event::Body(Ok(body.as_bytes().to_vec())),
            Effect::Pause(_) | Effect::LetOthers | Effect::AwaitSlice { .. } | Effect::Committed => {
                Event::Resumed
            }
            effect => return effect,
        };
    }
}

fn until_armed(object: &mut Object<MemoryLedger>, task: &mut Task, call: &Call) -> Effect {
    go_on(object, task, Event::Begun, &call.body())
}

pub(super) fn answer(effect: Effect) -> Answer {
    match effect {
        Effect::Answer(answer) => answer,
        other => panic!("{other:?}"),
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

#[test]
fn a_settled_push_is_answered_when_its_alarm_is_set_at_the_second_try_and_not_without() {
    for is_set in [true, false] {
        let (mut object, scope) = instance();
        let mut task = task("alice", scope, &Call::Push);
        let push = body("client-0", &[put(1, "a", "{}")]);
        let effect = go_on(&mut object, &mut task, Event::Begun, &push);
        assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{effect:?}");
        let effect = go_on(&mut object, &mut task, Event::AlarmSet(false), "");
        assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{effect:?}");
        let answer = answer(go_on(&mut object, &mut task, Event::AlarmSet(is_set), ""));
        assert_eq!(matches!(answer.result, Ok(Said::Pushed(_))), is_set, "{:?}", answer.result);
    }
}

/// How a push of alice's by HTTP, with this envelope, is answered: with a grant if one is signed for it.
fn pushed_by_http(envelope: &str, scope: Option<&Scope>) -> (Answer, bool) {
    let (mut object, of_space) = instance();
    let mut task = task("alice", of_space, &Call::Push);
    let destination = Destination::Shared { id: team(), scope: scope.cloned() };
    let caller = {
        let (request, origin, spent) = (String::new(), String::new(), Usage::default());
        Caller {
            user: user("alice"),
            destination,
            request,
            origin,
            sub: String::new(),
            iss: String::new(),
            spent,
        }
    };
    if scope.is_none() {
        task = Task::call(Call::Push.name(), caller, || 2);
    }
    let push = body("client-0", &[put(1, "a", "{}")]);
    let push = push.replacen('{', &format!("{{{envelope}"), 1);
    let (mut event, mut signs) = (Event::Begun, false);
    loop {
        event = match go_on(&mut object, &mut task, event, &push) {
            Effect::SetAlarm(_) => Event::AlarmSet(true),
            Effect::Sign { role, .. } => {
                assert_eq!(role, Role::Owner);
                signs = true;
                Event::Signed(Ok(("a.b.c".to_owned(), START.plus(600_000))))
            }
            effect => return (answer(effect), signs),
        };
    }
}

#[test]
fn a_push_by_http_brings_a_grant_if_its_client_wants_one_and_one_over_a_socket_does_not_bring_two() {
    let (_, scope) = instance();
    for (envelope, scope, brings) in [
        (r#""wantsGrant":true,"#, None, true),
        (r#""wantsGrant":false,"#, None, false),
        (r#""wantsGrant":null,"#, None, false),
        ("", None, false),
        (r#""wantsGrant":true,"#, Some(&scope), false),
    ] {
        let (answer, signs) = pushed_by_http(envelope, scope);
        let Ok(Said::Pushed(pushed)) = &answer.result else { panic!("{answer:?}") };
        let grant = brings.then(|| ("a.b.c".to_owned(), 600_000));
        assert_eq!((&pushed.grant, signs), (&grant, brings), "{envelope}");
        let text = pushed.to_json();
        assert_eq!(text.ends_with(r#","grant":"a.b.c","grantExpiresIn":600000}"#), brings, "{text}");
    }
    let (answer, signs) = pushed_by_http(r#""wantsGrant":1,"#, None);
    assert!(matches!(answer.result, Err(ApiError::Malformed(_))) && !signs, "{answer:?}");
}

#[test]
fn a_claim_begins_an_epoch_only_once_this_instance_is_known_to_be_the_last_one() {
    for is_confirmed in [true, false] {
        let (mut object, scope) = instance();
        let mut task = task("alice", scope, &Call::Push);
        let here = create(MemoryLedger::default()).position();
        let epoch = here.epoch.as_str();
        let push = format!(r#"{{"client":"client-0","epoch":"{epoch}","since":9,"mutations":[]}}"#);
        let effect = go_on(&mut object, &mut task, Event::Begun, &push);
        assert!(matches!(effect, Effect::Confirm), "{effect:?}");
        let effect = go_on(&mut object, &mut task, Event::Confirmed(is_confirmed), "");
        let begun = object.core().expect("it is open").position().epoch;
        assert_eq!(begun > here.epoch, is_confirmed);
        if !is_confirmed {
            let effect = match effect {
                Effect::SetAlarm(_) => go_on(&mut object, &mut task, Event::AlarmSet(true), ""),
                effect => effect,
            };
            assert_eq!(answer(effect).result.err(), Some(ApiError::Upstream));
        }
    }
}

#[test]
fn what_was_written_but_cannot_be_made_durable_is_not_answered_as_done() {
    let (mut object, scope) = instance();
    let mut task = task("alice", scope, &Call::Push);
    let push = body("client-0", &[put(1, "a", "{}")]);
    go_on(&mut object, &mut task, Event::Begun, &push);
    let mut effect = object.step(&mut task, Event::AlarmSet(true), AT);
    assert!(matches!(effect, Effect::Committed), "{effect:?}");
    effect = go_on(&mut object, &mut task, Event::BrokenOff, "");
    assert_eq!(answer(effect).result.err(), Some(ApiError::Upstream));
}

#[test]
fn why_the_storage_of_a_directory_fails_is_for_the_log_and_not_for_its_user() {
    let mut object = Object::new(MemoryLedger::default(), CONFIG, Common::default(), START);
    object.rows().fail_writes_after = Some(1);
    let call = Call::Directory(DirectoryCall::Reserve { space: team() });
    let (request, origin) = (String::new(), String::new());
    let caller = Caller {
        user: user("alice"),
        destination: Destination::Directory,
        request,
        origin,
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    let mut task = Task::call(call.name(), caller, || 2);
    let refused = answer(until_armed(&mut object, &mut task, &call)).result.err();
    assert_eq!(refused, Some(ApiError::Internal));
    assert!(matches!(&object.take_log()[..], [(LogLevel::Error, "storage failed", _)]));
}

#[test]
fn when_the_rows_of_a_day_are_used_up_whoever_asks_is_told_until_when_and_the_log_once_an_hour() {
    let (mut object, scope) = instance();
    let mut said = 0;
    for (minute, lines) in [(0, 1), (1, 1), (61, 2)] {
        let now = AT.now.plus(minute * 60_000);
        for (user, call) in calls() {
            let mut task = task(user, scope.clone(), &call);
            until_armed(&mut object, &mut task, &call);
            let effect = object.step(&mut task, Event::no_alarm(USED_UP), Moment { now, ..AT });
            let refused = answer(effect).result.expect_err("nothing is done without its alarm");
            // Whoever was refused anyway hears why.
            let would_be_done = user == "alice" && call != Call::Push;
            assert_eq!(refused == ApiError::used_up(now), would_be_done, "{user} {call:?}: {refused:?}");
            said += object.take_log().iter().filter(|(_, event, _)| *event == "used up for today").count();
        }
        assert_eq!(said, lines, "after {minute} minutes");
    }
}

#[test]
fn on_a_day_that_is_used_up_all_objects_of_an_isolate_say_so_in_one_line_an_hour_alarms_included() {
    let common = Common::default();
    for (minute, lines) in [(0, 1), (1, 0), (61, 1)] {
        let mut said = Vec::new();
        for _ in 0..3 {
            let (mut object, _) = instance_with(&common);
            let mut alarm = Task::alarm();
            let effect = go_on(&mut object, &mut alarm, Event::Begun, "");
            assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{effect:?}");
            let at = Moment { now: AT.now.plus(minute * 60_000), ..AT };
            object.step(&mut alarm, Event::no_alarm(USED_UP), at);
            let log = object.take_log().into_iter().filter(|(level, ..)| *level < LogLevel::Debug);
            said.extend(log.map(|(_, event, _)| event));
        }
        assert_eq!(said, vec!["used up for today"; lines], "after {minute} minutes");
    }
}

#[test]
fn a_turn_whose_reads_meet_a_used_up_day_says_so_though_its_alarms_can_be_set() {
    let (mut object, _) = instance();
    let mut alarm = Task::alarm();
    go_on(&mut object, &mut alarm, Event::Begun, "");
    object.core_mut().expect("it is open").turn_failed(LedgerError::UsedUp, AT.now);
    object.step(&mut alarm, Event::AlarmSet(true), AT);
    let said: Vec<_> = object.take_log().into_iter().map(|(_, event, _)| event).collect();
    assert_eq!(said, ["used up for today"]);
}

#[test]
fn a_push_that_took_the_last_rows_of_a_day_is_not_told_that_nothing_was_done() {
    let (mut object, scope) = instance();
    let mut task = task("alice", scope.clone(), &Call::Push);
    let push = body("client-0", &[put(1, "a", "{}")]);
    let mut effect = go_on(&mut object, &mut task, Event::Begun, &push);
    while let Effect::SetAlarm(_) = effect {
        effect = go_on(&mut object, &mut task, Event::no_alarm(USED_UP), "");
    }
    let refused = answer(effect).result.expect_err("its alarm was not set");
    assert_eq!(refused, ApiError::used_up(AT.now));
    assert!(!refused.body("r1").contains("Nothing was done"), "{}", refused.body("r1"));
    let again = asked(&mut object, &scope, &Call::Push, &push).expect("it says how it ended");
    assert!(again.contains(r#""duplicate":true"#), "{again}");
}

#[test]
fn an_alarm_that_meets_a_used_up_day_is_left_to_the_platform_and_to_the_next_call() {
    let (mut object, _) = instance();
    let mut alarm = Task::alarm();
    let effect = go_on(&mut object, &mut alarm, Event::Begun, "");
    assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{effect:?}");
    assert!(matches!(object.step(&mut alarm, Event::no_alarm(USED_UP), AT), Effect::Fail));
}

/// A push of alice's to an object of its own, with what it asks for first.
fn pushing(common: &Common, length: usize, now: Millis) -> (Object<MemoryLedger>, Task, Effect) {
    let (mut object, scope) = instance_with(common);
    let destination = Destination::Shared { id: team(), scope: Some(scope) };
    let (request, origin) = (String::new(), String::new());
    let caller = Caller {
        user: user("alice"),
        destination,
        request,
        origin,
        sub: String::new(),
        iss: String::new(),
        spent: Usage::default(),
    };
    let mut task = Task::call(Call::Push.name(), caller, || length);
    let at = Moment { now, ..AT };
    assert!(matches!(object.step(&mut task, Event::Begun, at), Effect::ReadAlarm));
    let effect = object.step(&mut task, Event::Alarm(None), at);
    (object, task, effect)
}

#[test]
fn a_push_waits_for_one_to_another_object_of_the_isolate_to_end_and_looks_until_then() {
    let common = Common::default();
    let (mut one, mut first, effect) = pushing(&common, limits::BODY_BYTES_MAX, START);
    assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
    let (mut other, mut second, effect) = pushing(&common, limits::BODY_BYTES_MAX, START);
    assert!(matches!(effect, Effect::Pause(limits::PLACE_LOOKS_MS)), "{effect:?}");
    let effect = other.step(&mut second, Event::Resumed, AT);
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    one.forget(&mut first);
    let effect = other.step(&mut second, Event::Resumed, AT);
    assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
}

#[test]
fn a_push_of_which_is_known_that_it_is_small_once_it_is_read_lets_another_one_of_its_user_in() {
    let common = Common::default();
    let (mut one, mut first, _) = pushing(&common, limits::BODY_BYTES_MAX, START);
    let (mut other, mut second, effect) = pushing(&common, limits::BODY_BYTES_MAX / 2, START);
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    let read = Event::Body(Ok(body("client-0", &[put(1, "a", "{}")]).into_bytes()));
    assert!(matches!(one.step(&mut first, read, AT), Effect::AwaitSlice { .. }));
    let effect = other.step(&mut second, Event::Resumed, AT);
    assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
}

#[test]
fn a_push_keeps_its_place_as_long_as_anything_happens_to_it() {
    let common = Common::default();
    let (mut one, mut first, _) = pushing(&common, limits::BODY_BYTES_MAX, START);
    let long = Event::Body(Ok(vec![b' '; limits::READ_BYTES_MAX + 1]));
    let at = |ms| Moment { now: START.plus(ms), ..AT };
    let effect = one.step(&mut first, long, at(limits::PLACE_INSIDE_MS));
    assert!(matches!(effect, Effect::LetOthers), "{effect:?}");
    let (.., effect) = pushing(&common, limits::BODY_BYTES_MAX, at(2 * limits::PLACE_INSIDE_MS).now);
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    let (.., effect) = pushing(&common, limits::BODY_BYTES_MAX, at(2 * limits::PLACE_INSIDE_MS + 10_000).now);
    assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
}

#[test]
fn a_push_that_waits_in_vain_is_told_to_come_back_and_holds_nothing() {
    let common = Common::default();
    let _inside = pushing(&common, limits::BODY_BYTES_MAX, START);
    let (mut object, mut task, effect) = pushing(&common, limits::BODY_BYTES_MAX, START);
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    assert_eq!(object.held(), limits::BODY_BYTES_MAX);
    let late = Moment { now: START.plus(limits::PLACE_WAITS_MS), ..AT };
    let effect = object.step(&mut task, Event::Resumed, late);
    assert!(matches!(effect, Effect::SetAlarm(_)), "{effect:?}");
    let answer = answer(object.step(&mut task, Event::AlarmSet(true), late));
    assert_eq!((answer.result.err(), object.held()), (Some(ApiError::Overloaded), 0));
}

#[test]
fn a_call_that_is_no_push_does_not_wait_for_room() {
    let common = Common::default();
    let _inside = [pushing(&common, limits::BODY_BYTES_MAX, START), pushing(&common, 0, START)];
    for (user, call) in calls().into_iter().filter(|(_, call)| *call != Call::Push) {
        let (mut object, scope) = instance_with(&common);
        let effect = object.step(&mut task(user, scope, &call), Event::Begun, AT);
        assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
    }
}

/// A turn of publication of an object of its own, with what it asks for once its watchdog is set.
fn publishing(common: &Common) -> (Object<MemoryLedger>, Task, Effect) {
    let (mut object, _) = instance_with(common);
    let mut alarm = Task::alarm();
    let effect = go_on(&mut object, &mut alarm, Event::Begun, "");
    assert!(matches!(effect, Effect::SetAlarm(Some(_))), "{effect:?}");
    let effect = object.step(&mut alarm, Event::AlarmSet(true), AT);
    (object, alarm, effect)
}

#[test]
fn only_so_many_turns_of_publication_are_under_way_in_an_isolate_and_the_next_goes_on_when_one_has_ended() {
    let common = Common::default();
    let mut turns: Vec<_> = (0..limits::TURNS_MAX).map(|_| publishing(&common)).collect();
    for (.., effect) in &turns {
        assert!(matches!(effect, Effect::ReadHead { .. }), "{effect:?}");
    }
    let (mut object, mut waiting, effect) = publishing(&common);
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    let late = Moment { now: START.plus(limits::PLACE_WAITS_MS), ..AT };
    let effect = object.step(&mut waiting, Event::Resumed, late);
    assert!(matches!(effect, Effect::Pause(_)), "it waits on: {effect:?}");
    let (one, ended, _) = &mut turns[0];
    assert!(matches!(one.step(ended, Event::Head(Err(())), late), Effect::Fail));
    let effect = object.step(&mut waiting, Event::Resumed, late);
    assert!(matches!(effect, Effect::ReadHead { .. }), "{effect:?}");
}

#[test]
fn an_object_whose_alarm_cannot_be_read_because_a_day_is_used_up_says_when_that_is_over() {
    for (user, call) in calls() {
        let (mut object, scope) = instance();
        let mut task = task(user, scope, &call);
        let mut effect = object.step(&mut task, Event::Begun, AT);
        if let Effect::ReadBody { .. } = effect {
            effect = object.step(&mut task, Event::Body(Ok(call.body().into_bytes())), AT);
        }
        assert!(matches!(effect, Effect::ReadAlarm), "{effect:?}");
        let answer = answer(object.step(&mut task, Event::no_alarm(USED_UP), AT));
        assert_eq!(answer.result.err(), Some(ApiError::used_up(AT.now)), "{user} {call:?}");
    }
}
