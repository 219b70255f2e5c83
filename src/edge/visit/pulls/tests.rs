//! Several pulls of one request, driven by hand.

use serde_json::{Value, json};

use super::super::{
    tests::{answered, begin, begin_with, epoch, head_with_part, isolate, refused, request},
    *,
};
use super::{Part, PartDone};
use crate::{
    call::{PullReply, encode_reply},
    fronts::headwater::{pulls::PULLS_MAX, reply::Body},
    ids::SpaceId,
    limits,
    role::Role,
    sim::START,
    version::Version,
};

const PATH: &str = "/sync/pulls";

/// A request with these pulls, up to where they have begun.
fn begin_several(isolate: &mut Isolate, pulls: &[Value]) -> (Visit, Vec<Part>) {
    let (mut visit, effect) = begin(isolate, "POST", PATH);
    assert!(matches!(effect, Effect::ReadBody { limit: limits::ORDER_BYTES_MAX, .. }), "{effect:?}");
    let body = json!({ "pulls": pulls }).to_string().into_bytes();
    match isolate.step(&mut visit, Event::Body(Ok(body)), START) {
        Effect::Several(parts) => (visit, parts),
        effect => panic!("{effect:?}"),
    }
}

/// A grant for a space of this name, for the user whom `begin` makes requests for.
fn grant(isolate: &mut Isolate, name: &str) -> String {
    let (visit, _) = begin(isolate, "POST", "/sync/push");
    let space = SpaceHash::shared(&SpaceId::parse(name).expect("an id"));
    let user = visit.target().caller.user.clone();
    isolate.sign_grant(&user, &Scope::shared(&space, &epoch()), Role::Reader, START).expect("a grant").0
}

#[test]
fn each_of_several_pulls_has_the_rights_that_it_would_have_alone() {
    let mut isolate = isolate(false);
    let team = grant(&mut isolate, "team");
    let other = grant(&mut isolate, "other");
    let (_, parts) = begin_several(
        &mut isolate,
        &[
            json!({}),
            json!({ "space": "team", "grant": team }),
            json!({ "space": "team", "grant": other }),
            json!({ "space": "team" }),
            json!({ "space": "~", "grant": "no grant is needed" }),
        ],
    );
    let looks = |part: &Part| match &part.effect {
        Effect::LookIntoCache { scope, .. } => Some(scope.clone()),
        _ => None,
    };
    let own = Scope::private(&parts[0].visit.target().caller.private_space);
    let shared = Scope::shared(&SpaceHash::shared(&SpaceId::parse("team").expect("an id")), &epoch());
    let asked: Vec<_> = parts.iter().map(looks).collect();
    assert_eq!(asked, [Some(own.clone()), Some(shared), None, None, Some(own)]);
    for part in parts.into_iter().filter(|part| looks(part).is_none()) {
        assert_eq!(answered(&part.visit, part.effect), refused(403, "grant_required"));
    }
}

#[test]
fn what_is_wrong_with_one_of_several_pulls_is_its_own_answer_and_the_others_go_on() {
    let mut isolate = isolate(false);
    let wrong = [
        (json!({ "sinse": 1 }), 400, "malformed"),
        (json!({ "space": "a/b" }), 400, "malformed"),
        (json!({ "space": "team" }), 403, "grant_required"),
        (json!({ "cursor": "0123456789abcdef.o.0mwrnsa6yk3v9q2.0.41.3" }), 410, "cursor_expired"),
    ];
    let pulls: Vec<_> = wrong.iter().map(|(pull, ..)| pull.clone()).chain([json!({})]).collect();
    let (mut visit, parts) = begin_several(&mut isolate, &pulls);
    let mut done = Vec::new();
    for Part { visit: mut part, mut effect } in parts {
        while !effect.is_end() {
            let event = match effect {
                Effect::LookIntoCache { .. } => Event::Cached(Known::default(), None),
                Effect::Call(_) => Event::Called(Called::failed(ApiError::Overloaded)),
                Effect::ReadHead { .. } => Event::Head(Ok(None)),
                other => panic!("{other:?}"),
            };
            effect = isolate.step(&mut part, event, START);
        }
        let Effect::Answer(answer) = effect else { panic!("{effect:?}") };
        done.push(PartDone { visit: part, answer: *answer });
    }
    let effect = isolate.step(&mut visit, Event::Several(done), START);
    assert_eq!(visit.usage(), Usage { worker: 1, cache: 3, kv: 1, object: 1, ..Usage::default() });
    let Effect::Answer(answer) = effect else { panic!("{effect:?}") };
    let Ok(Reply { status: 200, body: Body::Text(text), .. }) = *answer else { panic!("{answer:?}") };
    let told: Value = serde_json::from_str(&text).expect("JSON");
    let told: Vec<_> = told["pulls"].as_array().expect("a list").iter().map(brief).collect();
    let expected = wrong.iter().map(|(_, status, code)| (*status, (*code).to_owned()));
    let expected: Vec<_> = expected.chain([(503, "overloaded".to_owned())]).collect();
    assert_eq!(told, expected);
}

fn brief(answer: &Value) -> (u64, String) {
    (
        answer["status"].as_u64().expect("a status"),
        answer["body"]["code"].as_str().expect("a code").to_owned(),
    )
}

#[test]
fn a_body_that_is_no_list_of_pulls_is_refused_as_a_whole() {
    let (empty, six) = (json!({}), vec![json!({}); PULLS_MAX + 1]);
    for (body, status, code) in [
        (json!([]).to_string(), 400, "malformed"),
        (empty.to_string(), 400, "malformed"),
        (json!({ "pulls": six }).to_string(), 413, "too_large"),
    ] {
        let mut isolate = isolate(false);
        let (mut visit, _) = begin(&mut isolate, "POST", PATH);
        let effect = isolate.step(&mut visit, Event::Body(Ok(body.into_bytes())), START);
        assert_eq!(answered(&visit, effect), refused(status, code));
    }
    let mut isolate = isolate(false);
    let text = Request { content_type: "text/plain".to_owned(), ..request("POST", PATH, START) };
    let (visit, effect) = begin_with(&mut isolate, text, "");
    assert_eq!(answered(&visit, effect), refused(415, "unsupported_media_type"));
}

/// Operations that the platform counts of one effect.
fn operations(effect: &Effect) -> usize {
    match effect {
        Effect::LookIntoCache { .. } => 3,
        // Without its body it is looked for first.
        Effect::CacheHead { head, .. } => {
            if head.body.is_none() {
                2
            } else {
                1
            }
        }
        Effect::ReadHead { .. } | Effect::Call(_) | Effect::CacheOverlay { .. } => 1,
        other => panic!("{other:?}"),
    }
}

/// An answer of the coordinator, by how often it was asked: what does not continue what is known, then a page.
fn coordinator(asked: usize) -> Called {
    let version = |number| Version::new(number).expect("a version");
    let reply = match asked {
        1 => PullReply::Overlay {
            epoch: epoch(),
            from: version(7),
            version: version(9),
            horizon: version(0),
            asked_at: START,
        },
        _ => PullReply::Page { epoch: epoch(), version: version(9), reset: false, next: None },
    };
    Called::read(200, encode_reply(&reply, ""), String::new(), "", "")
}

#[test]
fn as_many_pulls_as_a_request_may_hold_stay_within_what_the_free_plan_gives_a_request() {
    let mut isolate = isolate(false);
    let pulls: Vec<_> = (0..PULLS_MAX)
        .map(|at| {
            let name = format!("team{at}");
            json!({ "space": name, "grant": grant(&mut isolate, &name) })
        })
        .collect();
    let (_, parts) = begin_several(&mut isolate, &pulls);
    assert_eq!(parts.len(), PULLS_MAX);
    // The key of a token may have to be fetched.
    let mut counted = 1;
    for Part { mut visit, mut effect } in parts {
        let mut asked = 0;
        while !effect.is_end() {
            counted += operations(&effect);
            let scope = visit.target().scope().clone();
            let event = match effect {
                Effect::LookIntoCache { .. } => Event::Cached(Known::default(), None),
                Effect::ReadHead { .. } => {
                    let head = head_with_part(&scope, &"cd".repeat(32));
                    Event::Head(Ok(Some(KnownHead { body: None, ..head })))
                }
                Effect::Call(_) => {
                    asked += 1;
                    Event::Called(coordinator(asked))
                }
                other => panic!("{other:?}"),
            };
            effect = isolate.step(&mut visit, event, START.plus(11 * 60_000));
        }
        for mut errand in isolate.take_errands() {
            let mut effect = isolate.step(&mut errand, Event::Begun, START);
            while !effect.is_end() {
                counted += operations(&effect);
                effect = isolate.step(&mut errand, Event::Resumed, START);
            }
        }
        assert_eq!(asked, 2, "the worst that can happen");
    }
    assert!((40..=50).contains(&counted), "{counted}");
}

#[test]
fn one_object_that_says_nothing_does_not_keep_the_other_pulls_of_a_request_for_long() {
    let mut isolate = isolate(false);
    let (_, parts) = begin_several(&mut isolate, &[json!({ "consistency": "strong" })]);
    let Effect::Call(call) = &parts[0].effect else { panic!("{:?}", parts[0].effect) };
    assert_eq!(call.timeout_ms, limits::PULL_TIMEOUT_MS);
}
