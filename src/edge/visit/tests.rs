//! Visits driven by hand: what an isolate asks for, and what it makes of each way in which that can end. Pulls, spaces and
//! errands run through whole simulated worlds.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::*;
use crate::{
    call::{Aside, OrderedCursor, PullReply, encode_reply},
    config::Config,
    fronts::headwater::reply::Body,
    ids::{ContentHash, SpaceId},
    limits,
    log::LogLevel,
    role::Role,
    sim::START,
    snapshot::head::{ContentHashText, FORMAT, Head, PartName, Run, Tail},
    version::{Epoch, Version},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER_KEYS: &str = "https://issuer.example/keys";

fn isolate_of(settings: &[(&str, String)], has_limiter: bool) -> Isolate {
    let config =
        Config::read(|name| settings.iter().find(|(of, _)| *of == name).map(|(_, value)| value.clone()));
    assert!(config.problems.is_empty(), "{:?}", config.problems);
    Isolate::new(config.edge, &[], &[], has_limiter)
}

/// An isolate with the key "here".
pub(super) fn isolate(has_limiter: bool) -> Isolate {
    let keys = json!({ "keys": [ec("here")] }).to_string();
    isolate_of(&[("GRANT_SECRET", SECRET.to_owned()), ("JWT_KEYS", keys)], has_limiter)
}

/// An isolate that has to ask an issuer for keys.
fn isolate_with_issuer() -> Isolate {
    isolate_of(&[("JWT_ISSUER", "issuer".to_owned()), ("JWKS_URL", ISSUER_KEYS.to_owned())], false)
}

/// A public key that has the right form; what it signs is for the platform to say.
fn ec(id: &str) -> Value {
    json!({ "kty": "EC", "kid": id, "crv": "P-256", "x": encode([1; 32]), "y": encode([2; 32]), "alg": "ES256" })
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// A token of a key, good for ten minutes.
pub(super) fn token(key: &str) -> String {
    let header = json!({ "alg": "ES256", "kid": key });
    let claims = json!({ "iss": "issuer", "sub": "alice", "exp": START.0 / 1000 + 600 });
    format!("Bearer {}.{}.{}", encode(header.to_string()), encode(claims.to_string()), encode([7; 64]))
}

pub(super) fn request(method: &str, path: &str, now: Millis) -> Request {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    Request {
        method: method.to_owned(),
        host: "https://edge.example".to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        authorization: token("here"),
        content_type: "application/json".to_owned(),
        now,
        id: "r".to_owned(),
        ..Request::default()
    }
}

/// Begins a request whose token the platform finds good, if it is asked.
pub(super) fn begin_with(isolate: &mut Isolate, request: Request, grant: &str) -> (Visit, Effect) {
    let now = request.now;
    let (mut visit, effect) = isolate.begin(request, &|_| grant.to_owned());
    let Effect::Token(TokenEffect::Verify { .. }) = effect else { return (visit, effect) };
    let effect = isolate.step(&mut visit, Event::Token(TokenEvent::Verified(Some(true))), now);
    (visit, effect)
}

pub(super) fn begin(isolate: &mut Isolate, method: &str, path: &str) -> (Visit, Effect) {
    begin_with(isolate, request(method, path, START), "")
}

/// The status and, of a refusal, its code.
pub(super) fn answered(visit: &Visit, effect: Effect) -> (u16, String) {
    let Effect::Answer(answer) = effect else { panic!("{effect:?} is no answer") };
    let answer = *answer;
    let code = answer.as_ref().map_or_else(|error| error.code().to_owned(), |_| String::new());
    (visit.reply(answer).status, code)
}

pub(super) fn epoch() -> Epoch {
    Epoch::parse("0mwrnsa6yk3v9q3").expect("an epoch")
}

/// A head as KV has it, of a space whose records are all in one object.
pub(super) fn head_with_part(scope: &Scope, sha256: &str) -> KnownHead {
    let version = |version| Version::new(version).expect("a version");
    let part = PartName { sha256: ContentHashText(ContentHash::parse(sha256).expect("a hash")), bytes: 1 };
    let head = Head {
        format: FORMAT,
        scope: scope.clone(),
        epoch: epoch(),
        version: version(1),
        published_at: START,
        expires: START.plus(1_000_000),
        horizon: version(0),
        shuts_dexie: false,
        tail: Tail::of(version(1), ""),
        delta: None,
        base: Some(Run { from: version(0), to: version(1), parts: vec![part] }),
    };
    let (value, metadata) = head.encode("").expect("a head");
    let head = KnownHead::of_kv(Some(&metadata), Some(value), scope, START);
    head.expect("this format").expect("a head")
}

pub(super) fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_signature_is_verified_once_and_then_remembered() {
    let mut isolate = isolate(false);
    let (mut visit, effect) = isolate.begin(request("POST", "/sync/push", START), &|_| String::new());
    let Effect::Token(TokenEffect::Verify { signature, jwk, .. }) = effect else { panic!("{effect:?}") };
    assert_eq!(signature, [7; 64]);
    assert!(jwk.contains("P-256"), "{jwk}");
    assert!(matches!(
        isolate.step(&mut visit, Event::Token(TokenEvent::Verified(Some(true))), START),
        Effect::Pass(..)
    ));
    let (_, effect) = isolate.begin(request("POST", "/sync/push", START), &|_| String::new());
    assert!(matches!(effect, Effect::Pass(..)), "{effect:?}");
}

#[test]
fn a_bad_signature_and_a_key_that_the_platform_does_not_know_let_nobody_in() {
    for is_good in [Some(false), None] {
        let mut isolate = isolate(false);
        let (mut visit, effect) = isolate.begin(request("POST", "/sync/push", START), &|_| String::new());
        assert!(matches!(effect, Effect::Token(TokenEffect::Verify { .. })), "{effect:?}");
        let effect = isolate.step(&mut visit, Event::Token(TokenEvent::Verified(is_good)), START);
        assert_eq!(answered(&visit, effect), refused(401, "unauthenticated"), "{is_good:?}");
    }
}

#[test]
fn a_request_fetches_the_keys_of_the_issuer_once_and_never_twice() {
    let asked = |isolate: &mut Isolate| {
        let request = Request { authorization: token("there"), ..request("POST", "/sync/push", START) };
        isolate.begin(request, &|_| String::new())
    };
    let keys = |id| Some(json!({ "keys": [ec(id)] }).to_string());

    let mut with_key = isolate_with_issuer();
    let (mut visit, effect) = asked(&mut with_key);
    assert!(
        matches!(&effect, Effect::Token(TokenEffect::FetchKeys { url }) if url == ISSUER_KEYS),
        "{effect:?}"
    );
    let effect = with_key.step(
        &mut visit,
        Event::Token(TokenEvent::Keys(keys("there"), "200 application/json".to_owned())),
        START,
    );
    assert!(matches!(effect, Effect::Token(TokenEffect::Verify { .. })), "{effect:?}");

    for (document, refusal) in
        [(keys("elsewhere"), refused(401, "unauthenticated")), (None, refused(503, "upstream"))]
    {
        let mut without_key = isolate_with_issuer();
        let (mut visit, effect) = asked(&mut without_key);
        assert!(matches!(effect, Effect::Token(TokenEffect::FetchKeys { .. })), "{effect:?}");
        let effect =
            without_key.step(&mut visit, Event::Token(TokenEvent::Keys(document, String::new())), START);
        assert_eq!(answered(&visit, effect), refusal);
        let (visit, effect) = asked(&mut without_key);
        assert_eq!(answered(&visit, effect), refusal, "at once, it is not asked again");
    }
}

#[test]
fn the_log_says_what_an_issuer_answers_instead_of_keys() {
    for (document, came, why) in [
        (None, "404 text/html", "the answer is not a JWKS document"),
        (Some("<html>".to_owned()), "200 text/html", "the answer is not a JWKS document"),
        (None, "", "no answer"),
    ] {
        let mut isolate = isolate_with_issuer();
        let request = Request { authorization: token("there"), ..request("POST", "/sync/push", START) };
        let (mut visit, _) = isolate.begin(request, &|_| String::new());
        isolate.take_log();
        isolate.step(&mut visit, Event::Token(TokenEvent::Keys(document, came.to_owned())), START);
        let fields = json!({ "why": why, "came": came });
        let line = (LogLevel::Error, "the issuer's keys could not be fetched", fields);
        assert!(isolate.take_log().contains(&line), "{came}");
    }
}

#[test]
fn whom_the_rate_limiter_refuses_sends_the_whole_body_first_and_a_limiter_that_fails_lets_everybody_pass() {
    for (may_pass, passes) in [(Some(true), true), (None, true), (Some(false), false)] {
        let mut isolate = isolate(true);
        let (mut visit, effect) = begin(&mut isolate, "POST", "/sync/push");
        assert!(matches!(effect, Effect::AskLimiter(_)), "{effect:?}");
        let effect = isolate.step(&mut visit, Event::MayPass(may_pass), START);
        if passes {
            assert!(matches!(effect, Effect::Pass(..)), "{may_pass:?}: {effect:?}");
            continue;
        }
        assert!(matches!(effect, Effect::Drain), "{effect:?}");
        let effect = isolate.step(&mut visit, Event::Resumed, START);
        assert_eq!(answered(&visit, effect), refused(429, "rate_limited"));
    }
}

#[test]
fn a_body_that_comes_after_the_end_of_the_token_is_not_read() {
    for (method, path, body) in [
        ("POST", "/sync/pull", "{}"),
        ("POST", "/sync/pulls", r#"{"pulls":[{}]}"#),
        ("PUT", "/spaces/~/policies/c", r#"{"onConflict":"merge"}"#),
    ] {
        for is_good in [true, false] {
            let mut isolate = isolate(false);
            let (mut visit, effect) = begin(&mut isolate, method, path);
            assert!(matches!(effect, Effect::ReadBody { .. }), "{method} {path}: {effect:?}");
            let end = visit.target().caller.expires;
            let now = if is_good { Millis(end.0 - 1) } else { end };
            let effect = isolate.step(&mut visit, Event::Body(Ok(body.into())), now);
            if is_good {
                assert!(!effect.is_end(), "{method} {path}: {effect:?}");
            } else {
                assert_eq!(answered(&visit, effect), refused(401, "token_expired"), "{method} {path}");
            }
        }
    }
}

#[test]
fn a_body_that_comes_after_the_end_of_the_grant_is_not_read() {
    let mut isolate = isolate(false);
    let (visit, _) = begin(&mut isolate, "POST", "/sync/push");
    let user = visit.target().caller.user.clone();
    let space = SpaceId::parse("team").expect("an id");
    let scope = Scope::shared(&SpaceHash::shared(&space), &epoch());
    let (grant, until) = isolate.sign_grant(&user, &scope, Role::Reader, START).expect("a grant");
    for (now, is_good) in [(Millis(until.0 - 1), true), (until, false)] {
        let authorization = token("here");
        let request = Request { authorization, ..request("POST", "/sync/pull?space=team", START) };
        let (mut visit, effect) = begin_with(&mut isolate, request, &grant);
        assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
        let effect = isolate.step(&mut visit, Event::Body(Ok(b"{}".to_vec())), now);
        assert_eq!(!effect.is_end(), is_good, "{effect:?}");
    }
}

/// A pull as NDJSON of what only the object knows, to its answer.
fn pull_as_stream(isolate: &mut Isolate) -> (Visit, Effect) {
    let request =
        Request { accept: "application/x-ndjson".to_owned(), ..request("GET", "/sync/pull", START) };
    let (mut visit, mut effect) = begin_with(isolate, request, "");
    while !effect.is_end() {
        let event = match effect {
            Effect::LookIntoCache { .. } => Event::Cached(Known::default(), None),
            Effect::ReadHead { .. } => Event::Head(Ok(None)),
            Effect::Call(_) => Event::Called(page()),
            other => panic!("{other:?}"),
        };
        effect = isolate.step(&mut visit, event, START);
    }
    (visit, effect)
}

/// The errand that writes such an answer: its first page is being written.
fn streaming(isolate: &mut Isolate) -> Visit {
    let (mut visit, answer) = pull_as_stream(isolate);
    let Some(mut errand) = visit.take_writer() else { panic!("{answer:?}") };
    let effect = isolate.step(&mut errand, Event::Begun, START);
    assert!(matches!(effect, Effect::Write(_)), "{effect:?}");
    errand
}

/// A page behind which there is another.
fn page() -> Called {
    let version = |number| Version::new(number).expect("a version");
    let (start, reached, horizon) = (version(0), version(1), version(0));
    let next = Some(OrderedCursor { epoch: epoch(), start, reached, horizon });
    let reply = PullReply::Page { epoch: epoch(), version: version(2), reset: false, next };
    let lines = "{\"version\":1,\"collection\":\"c\",\"id\":\"a\",\"value\":{}}\n";
    Called::read(200, encode_reply(&reply, lines), String::new(), "", "")
}

#[test]
fn a_stream_of_pages_ends_with_its_token_also_while_a_page_is_on_its_way() {
    let end = Millis(START.0 + 600_000 + 60_000);
    for asks_in_time in [true, false] {
        let mut isolate = isolate(false);
        let mut errand = streaming(&mut isolate);
        let now = if asks_in_time { Millis(end.0 - 1) } else { end };
        let mut effect = isolate.step(&mut errand, Event::Sent(true), now);
        assert_eq!(matches!(effect, Effect::Call(_)), asks_in_time, "{effect:?}");
        if asks_in_time {
            effect = isolate.step(&mut errand, Event::Called(page()), end);
        }
        assert!(matches!(effect, Effect::Close), "{effect:?}");
        assert!(matches!(isolate.step(&mut errand, Event::Resumed, end), Effect::Rest));
        assert_eq!(isolate.streamed(), 0);
    }
}

#[test]
fn streams_that_nobody_reads_are_bounded_and_what_one_account_holds_leaves_room_for_others() {
    let mut isolate = isolate(false);
    let mut open = Vec::new();
    let page = limits::STREAM_COPIES * limits::STREAM_PAGE_BYTES;
    while isolate.streamed() + page <= limits::STREAMS_HELD_MAX / 2 {
        open.push(streaming(&mut isolate));
    }
    let (visit, effect) = pull_as_stream(&mut isolate);
    assert_eq!(answered(&visit, effect), refused(503, "overloaded"));
    for errand in &mut open {
        assert!(matches!(isolate.step(errand, Event::Sent(false), START), Effect::Rest));
    }
    assert_eq!(isolate.streamed(), 0);
}

#[test]
fn every_call_of_an_object_has_an_end_and_comes_to_it_sooner_where_kv_can_answer() {
    for (method, path, is_published, timeout_ms) in [
        ("GET", "/sync/pull", false, limits::CALL_TIMEOUT_MS),
        ("GET", "/sync/pull?consistency=eventual", true, limits::PULL_TIMEOUT_MS),
        ("GET", "/sync/pull?consistency=strong", true, limits::CALL_TIMEOUT_MS),
        ("GET", "/sync/conflict", true, limits::CALL_TIMEOUT_MS),
        ("POST", "/sync/push", true, limits::CALL_TIMEOUT_MS),
        ("POST", "/spaces/~/reset-epoch", true, limits::CALL_TIMEOUT_MS),
    ] {
        let mut isolate = isolate(false);
        let (mut visit, mut effect) = begin(&mut isolate, method, path);
        let head = head_with_part(visit.target().scope(), &"cd".repeat(32));
        let call = loop {
            let event = match effect {
                Effect::LookIntoCache { .. } => Event::Cached(Known::default(), None),
                Effect::ReadHead { .. } => Event::Head(Ok(is_published.then(|| head.clone()))),
                Effect::Call(call) | Effect::Pass(call, _) => break call,
                other => panic!("{path}: {other:?}"),
            };
            effect = isolate.step(&mut visit, event, START);
        };
        assert_eq!(call.timeout_ms, timeout_ms, "{method} {path}");
    }
}

#[test]
fn whom_an_object_has_turned_away_waits_and_is_refused_without_it() {
    let mut isolate = isolate(false);
    let (mut visit, _) = begin(&mut isolate, "POST", "/sync/push");
    let told =
        Passed { status: 429, retry_after_s: Some(30), position: None, aside: None, timing: String::new() };
    let effect = isolate.step(&mut visit, Event::Passed(Ok(told)), START);
    assert_eq!(answered(&visit, effect), refused(429, ""));

    let (mut visit, effect) = begin(&mut isolate, "POST", "/sync/push");
    assert!(matches!(effect, Effect::Pause(1_000..2_000)), "{effect:?}");
    let effect = isolate.step(&mut visit, Event::Resumed, START.plus(1_000));
    assert!(matches!(effect, Effect::Drain), "{effect:?}");
    let effect = isolate.step(&mut visit, Event::Resumed, START.plus(1_000));
    assert_eq!(answered(&visit, effect), refused(429, "rate_limited"));

    let (mut visit, effect) = begin(&mut isolate, "POST", "/sync/push");
    assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
    let effect = isolate.step(&mut visit, Event::Resumed, START.plus(30_000));
    assert!(matches!(effect, Effect::Pass(..)), "the time is over: {effect:?}");
}

#[test]
fn what_only_owners_may_do_reaches_an_object_that_refuses_the_space_and_not_one_that_refuses_the_user() {
    for aside in [Some(Aside::OfSpace), None] {
        let is_of_space = aside.is_some();
        let mut isolate = isolate(false);
        let (mut visit, _) = begin(&mut isolate, "POST", "/sync/push");
        let refused =
            Passed { status: 429, retry_after_s: Some(30), position: None, aside, timing: String::new() };
        isolate.step(&mut visit, Event::Passed(Ok(refused)), START);

        let (mut visit, effect) = begin(&mut isolate, "POST", "/spaces/~/reset-epoch");
        assert_eq!(matches!(effect, Effect::Pass(..)), is_of_space, "{effect:?}");
        if !is_of_space {
            assert!(matches!(effect, Effect::Pause(_)), "{effect:?}");
            let effect = isolate.step(&mut visit, Event::Resumed, START.plus(1_000));
            assert_eq!(answered(&visit, effect), (429, "rate_limited".to_owned()));
        }
        let (_, effect) = begin(&mut isolate, "GET", "/spaces/~");
        assert!(!matches!(effect, Effect::Pass(..) | Effect::Call(_)), "{effect:?}");
    }
}

#[test]
fn the_line_of_a_push_says_how_much_of_it_was_rejected_and_why() {
    let settings =
        [("JWT_KEYS", json!({ "keys": [ec("here")] }).to_string()), ("LOG_LEVEL", "debug".to_owned())];
    let mut isolate = isolate_of(&settings, false);
    let (mut visit, _) = begin(&mut isolate, "POST", "/sync/push");
    isolate.take_log();
    let (aside, timing) = (Some(Aside::Rejected(RejectCode::TooLarge)), "rejected;desc=\"2\"".to_owned());
    let passed = Passed { status: 200, retry_after_s: None, position: None, aside, timing };
    isolate.step(&mut visit, Event::Passed(Ok(passed)), START);
    let [(LogLevel::Debug, "request", fields)] = &isolate.take_log()[..] else { panic!("a line") };
    let said = ["status", "rejectedMutations", "code"].map(|name| &fields[name]);
    assert_eq!(said, [&json!(200), &json!(2), &json!("too_large")]);
}

#[test]
fn an_errand_is_dropped_while_its_object_turns_the_user_away() {
    let mut isolate = isolate(false);
    let mut invite = || {
        let (mut visit, effect) = begin(&mut isolate, "PUT", "/spaces/team/members/bob");
        assert!(matches!(effect, Effect::ReadBody { .. }), "{effect:?}");
        let effect = isolate.step(&mut visit, Event::Body(Ok(br#"{"role":"reader"}"#.to_vec())), START);
        assert!(matches!(effect, Effect::Pass(..)), "{effect:?}");
        let aside = Some(Aside::Invited);
        let told = Passed { status: 204, retry_after_s: None, position: None, aside, timing: String::new() };
        isolate.step(&mut visit, Event::Passed(Ok(told)), START);
        let mut errand = isolate.take_errands().pop().expect("a hint");
        let effect = isolate.step(&mut errand, Event::Begun, START);
        if let Effect::Call(_) = effect {
            let refused = Called::failed(ApiError::RateLimited { retry_after_s: 5, of_space: false });
            isolate.step(&mut errand, Event::Called(refused), START);
        }
        effect
    };
    assert!(matches!(invite(), Effect::Call(_)));
    assert!(matches!(invite(), Effect::Rest));
}

#[test]
fn an_object_that_was_not_reached_asks_to_come_back_and_counts_as_asked_only_if_it_was() {
    for (why, error) in [
        ("overloaded", ApiError::Overloaded),
        ("Network connection lost.", ApiError::Upstream),
        ("Exceeded allowed duration in Durable Objects free tier.", ApiError::used_up(START)),
    ] {
        assert_eq!(unreached(why, START), error);
    }
    for was_asked in [true, false] {
        let mut isolate = isolate(false);
        let (mut visit, _) = begin(&mut isolate, "POST", "/sync/push");
        let effect = isolate.step(&mut visit, Event::Passed(Err((ApiError::Upstream, was_asked))), START);
        assert_eq!(answered(&visit, effect), refused(503, "upstream"));
        assert_eq!(visit.usage().object, u64::from(was_asked));
    }
}

#[test]
fn an_object_of_kv_is_opened_only_if_the_head_names_it() {
    let sha256 = "cd".repeat(32);
    for (opened, status) in [(Ok(true), 200), (Ok(false), 404), (Err(()), 503)] {
        for method in ["GET", "HEAD"] {
            let mut isolate = isolate(false);
            let (mut visit, effect) = begin(&mut isolate, method, &format!("/sync/objects/{sha256}"));
            assert!(matches!(effect, Effect::ReadHead { .. }), "{effect:?}");
            let head = head_with_part(visit.target().scope(), &sha256);
            let effect = isolate.step(&mut visit, Event::Head(Ok(Some(head))), START);
            assert!(matches!(effect, Effect::OpenObject { .. }), "{effect:?}");
            let effect = isolate.step(&mut visit, Event::Opened(opened), START);
            let Effect::Answer(answer) = effect else { panic!("{effect:?}") };
            let reply = visit.reply(*answer);
            assert_eq!(reply.status, status, "{method} {opened:?}");
            if status == 200 {
                assert_eq!(matches!(reply.body, Body::Empty), method == "HEAD");
                assert_eq!(matches!(reply.body, Body::Stream), method == "GET");
            }
            assert_eq!(visit.usage().kv, 2);
        }
    }
    for head in [Ok(None), Err(())] {
        let mut isolate = isolate(false);
        let (mut visit, _) = begin(&mut isolate, "GET", &format!("/sync/objects/{sha256}"));
        let status = if head.is_ok() { 404 } else { 503 };
        let effect = isolate.step(&mut visit, Event::Head(head), START);
        assert_eq!(answered(&visit, effect).0, status);
        assert_eq!(visit.usage().kv, 1, "nothing is looked for that no head names");
    }
}

#[test]
fn a_day_that_is_used_up_is_said_to_each_request_and_to_the_log_once_an_hour() {
    let mut isolate = isolate(false);
    let mut said = 0;
    for (minute, path) in [(0, "/sync/push"), (1, "/sync/push"), (2, "/sync/conflict"), (60, "/sync/push")] {
        let now = START.plus(minute * 60_000);
        let method = if path == "/sync/push" { "POST" } else { "GET" };
        let exp = json!({ "iss": "issuer", "sub": "alice", "exp": now.0 / 1000 + 600 }).to_string();
        let header = json!({ "alg": "ES256", "kid": "here" }).to_string();
        let authorization = format!("Bearer {}.{}.{}", encode(header), encode(exp), encode([7; 64]));
        let request = Request { authorization, ..request(method, path, now) };
        let (mut visit, _) = begin_with(&mut isolate, request, "");
        let error = ApiError::used_up(now);
        let event = match path {
            "/sync/push" => Event::Passed(Err((error.clone(), true))),
            _ => Event::Called(Called::failed(error.clone())),
        };
        let effect = isolate.step(&mut visit, event, now);
        let Effect::Answer(answer) = effect else { panic!("{effect:?}") };
        assert_eq!(answer.as_ref().as_ref().err(), Some(&error));
        said += isolate.take_log().iter().filter(|(_, event, _)| *event == "used up for today").count();
        assert_eq!(said, if minute < 60 { 1 } else { 2 }, "after {minute} minutes");
    }
}
