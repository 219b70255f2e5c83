//! Files of the client of Dexie Cloud: who is asked before one is put or got, and under which key it stands.

use super::*;
use crate::{
    access::session::Account,
    call::Caller,
    config::Config,
    edge::{
        known::{Known, KnownHead},
        visit::{
            Event, Outgoing, Request,
            tests::{answered, epoch, head_with_part, refused, request},
        },
    },
    ids::{SpaceHash, SpaceId, UserHash},
    role::Role,
    sim::START,
    snapshot::{head::HeadMetadata, keys::Scope},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const ISSUER: &str = "https://issuer.example";
const ID: &str = "0PTRl3kXXXXXXXXX|XXXXXXz";

fn isolate() -> Isolate {
    let config = Config::read(|name| (name == "GRANT_SECRET").then(|| SECRET.to_owned()));
    Isolate::new(config.edge, &[], &[], false).with_blobs(true)
}

fn session(isolate: &Isolate) -> String {
    let account = Account { iss: ISSUER.to_owned(), sub: "alice".to_owned(), email: None, name: None };
    isolate.sessions.sign(&account, START.plus(3_600_000)).expect("a key")
}

fn asked(isolate: &Isolate, method: &str, path: &str) -> Request {
    let authorization = format!("Bearer {}", session(isolate));
    Request { authorization, ..request(method, path, START) }
}

fn begin_with(isolate: &mut Isolate, request: Request, length: &str) -> (Visit, Effect) {
    let length = |name: &str| if name == "content-length" { length.to_owned() } else { String::new() };
    isolate.begin(request, &length)
}

fn begin(isolate: &mut Isolate, method: &str, path: &str, length: &str) -> (Visit, Effect) {
    let request = asked(isolate, method, path);
    begin_with(isolate, request, length)
}

fn called(effect: Effect) -> (Call, Caller) {
    let Effect::Call(call) = effect else { panic!("{effect:?} is no call") };
    let Outgoing { call, caller, .. } = *call;
    (call, caller)
}

fn upload(bytes: u64) -> Call {
    Call::Administer(Administration::Upload { bytes })
}

fn team() -> SpaceHash {
    SpaceHash::shared(&SpaceId::parse("team").expect("an id"))
}

/// What the object of `team` says to whoever may.
fn granted(isolate: &mut Isolate) -> Event {
    let (user, scope) = (UserHash::new(ISSUER, "alice"), Scope::shared(&team(), &epoch()));
    let (grant, _) = isolate.sign_grant(&user, &scope, Role::Writer, START).expect("a key");
    said(Ok(format!(r#"{{"grant":"{grant}"}}"#)))
}

fn said(result: Result<String, ApiError>) -> Event {
    Event::Called(Called { result, position: None, aside: None, timing: String::new() })
}

fn key_of(effect: &Effect) -> &str {
    match effect {
        Effect::Blob(BlobEffect::Put { key, .. } | BlobEffect::Open { key }) => key,
        effect => panic!("{effect:?} is about no file"),
    }
}

#[test]
fn a_pull_that_kv_answers_is_refused_where_the_head_says_that_the_addon_is_shut_out() {
    for is_shut in [false, true] {
        let mut isolate = isolate();
        let request = asked(&isolate, "POST", "/dexie/sync");
        let (mut visit, mut effect) = begin_with(&mut isolate, request, "2");
        let reply = loop {
            let event = match effect {
                Effect::ReadBody { .. } => Event::Body(Ok(br#"{"clientIdentity":"c1"}"#.to_vec())),
                Effect::LookIntoCache { .. } => Event::Cached(Known::default(), None),
                Effect::ReadHead { .. } => {
                    let head = head_with_part(visit.target().scope(), &"cd".repeat(32));
                    let metadata = HeadMetadata { d: is_shut, ..head.metadata };
                    Event::Head(Ok(Some(KnownHead { metadata, ..head })))
                }
                Effect::OpenObject { .. } => Event::Opened(Ok(true)),
                Effect::Call(_) => said(Err(ApiError::Upstream)),
                effect => break effect,
            };
            effect = isolate.step(&mut visit, event, START);
        };
        if is_shut {
            assert_eq!(answered(&visit, reply), refused(403, "forbidden"));
        } else {
            assert!(matches!(reply, Effect::StreamObjects { .. }), "{reply:?}");
        }
    }
}

#[test]
fn what_the_addon_asks_of_an_object_says_that_it_comes_from_there() {
    let mut isolate = isolate();
    let (_, effect) = begin(&mut isolate, "GET", &format!("/dexie/team/blob/{ID}"), "");
    let (_, caller) = called(effect);
    assert!(caller.is_foreign(), "an object that shuts it out would let it in");
}

#[test]
fn without_a_bucket_there_is_nothing_before_anybody_is_asked_who_they_are() {
    for method in ["PUT", "GET"] {
        let mut isolate = isolate().with_blobs(false);
        let nobody =
            Request { authorization: String::new(), ..request(method, &format!("/dexie/blob/{ID}"), START) };
        let (visit, effect) = begin_with(&mut isolate, nobody, "5");
        assert_eq!(answered(&visit, effect), refused(404, "not_found"));
    }
}

#[test]
fn whoever_brings_no_session_is_refused_before_an_object_or_the_bucket_is_asked() {
    for method in ["PUT", "GET"] {
        for authorization in ["", "Bearer x"] {
            let mut isolate = isolate();
            let authorization = authorization.to_owned();
            let stranger = Request { authorization, ..request(method, &format!("/dexie/blob/{ID}"), START) };
            let (visit, effect) = begin_with(&mut isolate, stranger, "5");
            assert_eq!(answered(&visit, effect), refused(401, "unauthenticated"));
        }
    }
}

#[test]
fn a_file_is_put_once_the_object_has_counted_it_and_under_the_callers_own_scope() {
    let mut isolate = isolate();
    let own = Scope::private(&SpaceHash::private(ISSUER, "alice")).blob_key(ID);
    for path in [format!("/dexie/blob/{ID}?ct=image%2Fpng"), format!("/dexie/~/blob/{ID}?ct=image%2Fpng")] {
        let (mut visit, effect) = begin(&mut isolate, "PUT", &path, "5");
        assert_eq!(called(effect).0, upload(5));
        let effect = isolate.step(&mut visit, said(Ok(String::new())), START);
        assert_eq!(key_of(&effect), own);
        assert!(
            matches!(&effect, Effect::Blob(BlobEffect::Put { media_type, .. }) if media_type == "image/png")
        );
        let effect = isolate.step(&mut visit, Event::Blob(BlobEvent::Put(Ok(()))), START);
        let Effect::Answer(answer) = effect else { panic!("{effect:?} is no answer") };
        let Body::Text(body) = visit.reply(*answer).body else { panic!("no body") };
        assert_eq!(body, format!(r#"{{"ref":"{ID}"}}"#));
    }
}

#[test]
fn a_file_of_a_shared_space_stands_under_the_scope_that_its_object_names() {
    let mut isolate = isolate();
    let (mut visit, effect) = begin(&mut isolate, "PUT", &format!("/dexie/team/blob/{ID}"), "5");
    assert_eq!(called(effect).0, upload(5));
    let event = granted(&mut isolate);
    let effect = isolate.step(&mut visit, event, START);
    assert_eq!(key_of(&effect), Scope::shared(&team(), &epoch()).blob_key(ID));
    // Whoever has put one reads without asking again.
    let (_, effect) = begin(&mut isolate, "GET", &format!("/dexie/team/blob/{ID}"), "");
    assert_eq!(key_of(&effect), Scope::shared(&team(), &epoch()).blob_key(ID));
}

#[test]
fn what_the_object_refuses_is_read_to_its_end_and_not_put() {
    for space in ["", "team/"] {
        for (error, code) in [
            (ApiError::Forbidden("no"), refused(403, "forbidden")),
            (ApiError::StorageFull, refused(507, "storage_full")),
            (ApiError::Gone, refused(410, "gone")),
        ] {
            let mut isolate = isolate();
            let (mut visit, _) = begin(&mut isolate, "PUT", &format!("/dexie/{space}blob/{ID}"), "5");
            let effect = isolate.step(&mut visit, said(Err(error)), START);
            assert!(matches!(effect, Effect::Drain), "{effect:?}");
            let effect = isolate.step(&mut visit, Event::Resumed, START);
            assert_eq!(answered(&visit, effect), code);
        }
    }
}

#[test]
fn a_file_that_is_too_long_or_does_not_say_how_long_it_is_or_is_packed_is_refused_without_the_object() {
    let max = limits::BLOB_BYTES_MAX;
    for (length, coding, outcome) in [
        ((max + 1).to_string(), "", refused(413, "too_large")),
        ("18446744073709551615".to_owned(), "", refused(413, "too_large")),
        ("18446744073709551616".to_owned(), "", refused(400, "malformed")),
        (String::new(), "", refused(400, "malformed")),
        ("5, 5".to_owned(), "", refused(400, "malformed")),
        ("5".to_owned(), "gzip", refused(400, "malformed")),
    ] {
        let mut isolate = isolate();
        let content_encoding = coding.to_owned();
        let request = Request { content_encoding, ..asked(&isolate, "PUT", &format!("/dexie/blob/{ID}")) };
        let (mut visit, effect) = begin_with(&mut isolate, request, &length);
        assert!(matches!(effect, Effect::Drain), "{length}: {effect:?}");
        let effect = isolate.step(&mut visit, Event::Resumed, START);
        assert_eq!(answered(&visit, effect), outcome, "{length}");
    }
    let mut isolate = isolate();
    for bytes in [0, max] {
        let (_, effect) = begin(&mut isolate, "PUT", &format!("/dexie/blob/{ID}"), &bytes.to_string());
        assert_eq!(called(effect).0, upload(bytes));
    }
}

#[test]
fn an_own_file_is_read_without_an_object_and_one_of_a_shared_space_with_one_request_in_ten_minutes() {
    let mut isolate = isolate();
    let (_, effect) = begin(&mut isolate, "GET", &format!("/dexie/blob/{ID}"), "");
    assert_eq!(key_of(&effect), Scope::private(&SpaceHash::private(ISSUER, "alice")).blob_key(ID));
    let (mut visit, effect) = begin(&mut isolate, "GET", &format!("/dexie/team/blob/{ID}"), "");
    assert_eq!(called(effect).0, Call::Administer(Administration::Grant { claim: None }));
    let event = granted(&mut isolate);
    let effect = isolate.step(&mut visit, event, START);
    assert_eq!(key_of(&effect), Scope::shared(&team(), &epoch()).blob_key(ID));
    let (_, effect) = begin(&mut isolate, "GET", &format!("/dexie/team/blob/{ID}"), "");
    assert!(matches!(effect, Effect::Blob(_)), "{effect:?}");
    let (mut visit, _) = begin(&mut isolate, "GET", &format!("/dexie/other/blob/{ID}"), "");
    let effect = isolate.step(&mut visit, said(Err(ApiError::Forbidden("no"))), START);
    assert_eq!(answered(&visit, effect), refused(403, "forbidden"));
}

#[test]
fn a_file_is_sent_as_something_that_no_browser_shows_and_what_is_not_there_is_404() {
    for (opened, outcome) in [
        (Ok(Some("text/html".to_owned())), (200, String::new())),
        (Ok(None), refused(404, "not_found")),
        (Err(()), refused(503, "upstream")),
    ] {
        let mut isolate = isolate();
        let (mut visit, _) = begin(&mut isolate, "GET", &format!("/dexie/blob/{ID}"), "");
        let effect = isolate.step(&mut visit, Event::Blob(BlobEvent::Opened(opened)), START);
        assert_eq!(answered(&visit, effect), outcome);
    }
    let (mut isolate, path) = (isolate(), format!("/dexie/blob/{ID}"));
    let (mut visit, _) = begin(&mut isolate, "PUT", &path, "5");
    isolate.step(&mut visit, said(Ok(String::new())), START);
    let effect = isolate.step(&mut visit, Event::Blob(BlobEvent::Put(Err(()))), START);
    assert_eq!(answered(&visit, effect), refused(503, "upstream"));
}

/// The errand that a file with this id leaves behind, begun.
fn errand_of(id: &str) -> Option<(Isolate, Visit, Effect)> {
    let mut isolate = isolate();
    let (mut visit, _) = begin(&mut isolate, "PUT", &format!("/dexie/blob/{id}"), "5");
    isolate.step(&mut visit, said(Ok(String::new())), START);
    isolate.step(&mut visit, Event::Blob(BlobEvent::Put(Ok(()))), START);
    let mut errand = isolate.take_errands().pop()?;
    let effect = isolate.step(&mut errand, Event::Begun, START);
    Some((isolate, errand, effect))
}

fn collect(ids: &str, after: &str) -> Call {
    let after = crate::version::Version::parse(after).expect("a version");
    Call::Administer(Administration::Collect { ids: ids.to_owned(), after, behind: "b".to_owned() })
}

#[test]
fn of_64_files_one_has_files_collected_that_the_object_says_no_record_names() {
    assert!(errand_of(ID).is_none());
    let (mut isolate, mut errand, effect) = errand_of("0PTRl3kXXXXXXXXX|XXXXXX0").expect("it ends in 0");
    assert_eq!(called(effect).0, Call::Administer(Administration::Collection));
    let mut step = |event| isolate.step(&mut errand, event, START);
    let effect = step(said(Ok(r#"{"behind":"a"}"#.to_owned())));
    let own = Scope::private(&SpaceHash::private(ISSUER, "alice"));
    let Effect::Blob(BlobEffect::List { prefix, behind }) = effect else { panic!("{effect:?}") };
    assert_eq!((prefix, behind.as_str()), (own.blob_key(""), "a"));
    let effect = step(Event::Blob(BlobEvent::Listed(Ok(("x y z".to_owned(), "b".to_owned())))));
    assert_eq!(called(effect).0, collect("x y z", "0"));
    let effect = step(said(Ok(r#"{"ids":"x z","after":"7"}"#.to_owned())));
    assert_eq!(called(effect).0, collect("x z", "7"));
    let effect = step(said(Ok(r#"{"deleted":"x z"}"#.to_owned())));
    let Effect::Blob(BlobEffect::DeleteEach { keys }) = effect else { panic!("{effect:?}") };
    assert_eq!(keys, [own.blob_key("x"), own.blob_key("z")]);
    assert!(matches!(step(Event::Blob(BlobEvent::Deleted(None))), Effect::Rest));
}

#[test]
fn a_look_that_breaks_off_anywhere_deletes_nothing() {
    let events = || {
        [
            said(Ok(r#"{"behind":""}"#.to_owned())),
            Event::Blob(BlobEvent::Listed(Ok(("x".to_owned(), String::new())))),
            said(Ok(r#"{"ids":"x","after":"7"}"#.to_owned())),
        ]
    };
    for broken in 0..=events().len() {
        let ends = match broken {
            1 => vec![Event::Blob(BlobEvent::Listed(Err(())))],
            _ => vec![said(Err(ApiError::Upstream)), said(Ok("{}".to_owned()))],
        };
        for end in ends {
            let (mut isolate, mut errand, _) = errand_of("0PTRl3kXXXXXXXXX|XXXXXX0").expect("it ends in 0");
            for event in events().into_iter().take(broken) {
                isolate.step(&mut errand, event, START);
            }
            assert!(matches!(isolate.step(&mut errand, end, START), Effect::Rest), "{broken}");
        }
    }
    let (mut isolate, mut errand, _) = errand_of("0PTRl3kXXXXXXXXX|XXXXXX0").expect("it ends in 0");
    for event in events() {
        isolate.step(&mut errand, event, START);
    }
    let goes_on = || said(Ok(r#"{"ids":"x","after":"7"}"#.to_owned()));
    let calls = (1..100).find(|_| matches!(isolate.step(&mut errand, goes_on(), START), Effect::Rest));
    assert_eq!(calls, Some(limits::BLOB_SCANS_MAX - 1), "with the first one, which says where it goes on");
}
