use base64ct::{Base64, Encoding};
use jwt_compact::{
    AlgorithmExt, Claims, Header,
    alg::{Hs256, Hs256Key},
};
use serde_json::{Value, json};

use super::*;
use crate::{
    access::token::bearer,
    config::Config,
    edge::visit::{Event, tests::request},
    fronts::headwater::reply::Body,
    sim::START,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const PEM: &str = include_str!("../../../access/session/client-key.pem");
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

fn isolate(settings: &[(&str, &str)]) -> Isolate {
    let all = [("GRANT_SECRET", SECRET), ("JWT_SECRET", SECRET), ("LOG_LEVEL", "debug")];
    let all = || settings.iter().chain(&all);
    let config = Config::read(|name| all().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned()));
    assert_eq!(config.problems, [""; 0]);
    Isolate::new(config.edge, &[], &[], false)
}

fn subject_token(sub: &str) -> String {
    let claims = json!({
        "iss": "https://issuer.example", "sub": sub, "exp": START.0 / 1000 + 600,
        "email": "alice@example.com", "email_verified": true, "name": "Alice",
    });
    Hs256.token(&Header::empty(), &Claims::new(claims), &Hs256Key::new(SECRET.as_bytes())).expect("a token")
}

fn exchange() -> Value {
    json!({ "grant_type": EXCHANGE, "subject_token": subject_token("alice"), "public_key": PEM })
}

fn begin(isolate: &mut Isolate, path: &str, body: &Value, now: Millis) -> (Visit, Effect) {
    let request = super::super::Request { authorization: String::new(), ..request("POST", path, now) };
    let (mut visit, effect) = isolate.begin(request, &|_| String::new());
    assert!(matches!(effect, Effect::ReadBody { limit: limits::ORDER_BYTES_MAX, .. }), "{effect:?}");
    let effect = isolate.step(&mut visit, Event::Body(Ok(body.to_string().into_bytes())), now);
    (visit, effect)
}

fn answered(visit: &Visit, effect: Effect) -> (u16, Value) {
    let Effect::Answer(answer) = effect else { panic!("{effect:?} is no answer") };
    let reply = visit.reply(*answer);
    let Body::Text(body) = reply.body else { panic!("an answer without a body") };
    (reply.status, serde_json::from_str(&body).expect("JSON"))
}

fn ask(isolate: &mut Isolate, body: &Value) -> (u16, Value) {
    let (visit, effect) = begin(isolate, "/dexie/token", body, START);
    answered(&visit, effect)
}

fn refresh(token: &Value, at: Millis) -> Value {
    json!({
        "grant_type": "refresh_token", "refresh_token": token, "scopes": ["ACCESS_DB"],
        "signature": Base64::encode_string(&[7; 256]), "signing_algorithm": "RSASSA-PKCS1-v1_5",
        "time_stamp": at.0,
    })
}

/// The answer to a refresh, if the platform finds out this of its signature.
fn refreshed(isolate: &mut Isolate, token: &Value, now: Millis, is_good: Option<bool>) -> (u16, Value) {
    let (mut visit, effect) = begin(isolate, "/dexie/token", &refresh(token, now), now);
    let effect = match effect {
        Effect::Token(TokenEffect::Verify { algorithm, jwk, signed, signature }) => {
            assert_eq!((algorithm, signature), (Algorithm::Rs256, vec![7; 256]));
            assert_eq!(jwk, ClientKey::of_pem(PEM).expect("a key").jwk());
            assert_eq!(signed, format!("{}{}", token.as_str().expect("a text"), now.0));
            isolate.step(&mut visit, Event::Token(TokenEvent::Verified(is_good)), now)
        }
        effect => effect,
    };
    answered(&visit, effect)
}

/// Who is calling with the session of an answer.
fn caller(isolate: &mut Isolate, answer: &Value, now: Millis) -> Result<Bearer, ApiError> {
    let session = answer["accessToken"].as_str().expect("a session");
    let session = bearer(&format!("Bearer {session}")).expect("a header can have it").to_owned();
    isolate.identify_session(&session, now)
}

#[test]
fn the_issuers_token_is_exchanged_for_a_session_of_the_same_user() {
    let mut isolate = isolate(&[]);
    for path in ["/dexie/token", "/dexie/team/token", "/dexie//token/"] {
        let (visit, effect) = begin(&mut isolate, path, &exchange(), START);
        let (status, answer) = answered(&visit, effect);
        let ends = START.plus(SESSION_MS);
        let expected = json!({
            "type": "tokens",
            "claims": { "sub": "alice", "email": "alice@example.com", "name": "Alice", "license": "ok" },
            "accessToken": answer["accessToken"], "accessTokenExpiration": ends.0,
            "refreshToken": answer["refreshToken"],
            "refreshTokenExpiration": START.plus(30 * DAY_MS).0, "userType": "prod",
        });
        assert_eq!((status, &answer), (200, &expected), "{path}");
        let caller = caller(&mut isolate, &answer, START).expect("a session");
        let Ok(Identity::Known(native)) =
            isolate.identify_token(&format!("Bearer {}", subject_token("alice")), START)
        else {
            panic!("a token of HS256 is known at once")
        };
        assert_eq!(
            (caller.user, caller.private_space, caller.person),
            (native.user, native.private_space, native.person)
        );
    }
}

#[test]
fn a_refresh_gives_a_new_session_and_the_same_refresh_token_until_that_ends() {
    let mut isolate = isolate(&[("DEXIE_REFRESH_DAYS", "1")]);
    let (_, first) = ask(&mut isolate, &exchange());
    let (token, ends) = (&first["refreshToken"], START.plus(DAY_MS));
    for (now, until) in [
        (START.plus(1), START.plus(1 + SESSION_MS)),
        (Millis(ends.0 - 1_000), ends),
        (Millis(ends.0 - 1), ends),
    ] {
        let (status, answer) = refreshed(&mut isolate, token, now, Some(true));
        assert_eq!((status, &answer["refreshToken"]), (200, token));
        assert_eq!(answer["accessTokenExpiration"], until.0, "no session outlives its refresh token");
        assert_eq!((&answer["claims"], &answer["userType"]), (&first["claims"], &first["userType"]));
        assert!(caller(&mut isolate, &answer, now).is_ok());
    }
    let (status, answer) = refreshed(&mut isolate, token, ends, Some(true));
    assert_eq!((status, answer["code"].as_str()), (401, Some("token_expired")));
}

#[test]
fn a_refresh_token_without_days_lives_as_long_as_its_session() {
    let mut isolate = isolate(&[("DEXIE_REFRESH_DAYS", "0")]);
    let (_, answer) = ask(&mut isolate, &exchange());
    assert_eq!(answer["refreshTokenExpiration"], answer["accessTokenExpiration"]);
    let (status, _) =
        refreshed(&mut isolate, &answer["refreshToken"], START.plus(SESSION_MS - 1), Some(true));
    assert_eq!(status, 200);
    let (status, _) = refreshed(&mut isolate, &answer["refreshToken"], START.plus(SESSION_MS), Some(true));
    assert_eq!(status, 401);
}

#[test]
fn a_refresh_needs_the_keys_signature_of_a_moment_ago() {
    use crate::access::session::CLOCK_MS;

    let mut isolate = isolate(&[]);
    let (_, answer) = ask(&mut isolate, &exchange());
    let token = &answer["refreshToken"];
    for is_good in [Some(false), None] {
        let (status, answer) = refreshed(&mut isolate, token, START, is_good);
        assert_eq!((status, answer["code"].as_str()), (403, Some("forbidden")), "{is_good:?}");
    }
    let now = START.plus(3 * CLOCK_MS);
    for (at, is_of_now) in [
        (now.plus(CLOCK_MS), true),
        (now.plus(CLOCK_MS + 1), false),
        (Millis(now.0 - CLOCK_MS), true),
        (Millis(now.0 - CLOCK_MS - 1), false),
    ] {
        let (visit, effect) = begin(&mut isolate, "/dexie/token", &refresh(token, at), now);
        if is_of_now {
            assert!(matches!(effect, Effect::Token(TokenEffect::Verify { .. })), "{effect:?}");
        } else {
            let (status, answer) = answered(&visit, effect);
            let message = answer["message"].as_str().expect("a message");
            assert!(status == 403 && message.contains("clock"), "{answer}");
        }
    }
    let session = &answer["accessToken"];
    assert_eq!(refreshed(&mut isolate, session, START, Some(true)).0, 401, "a session is no refresh token");
}

#[test]
fn demo_users_are_those_of_the_setting_and_of_nobodys_issuer() {
    let demo = |address: &str| json!({ "grant_type": "demo", "demo_user": address, "public_key": PEM });
    for (users, address, status) in [
        (None, "alice@demo.local", 404),
        (Some("bob@demo.local"), "alice@demo.local", 404),
        (Some("bob@demo.local, alice@demo.local"), "alice@demo.local", 200),
        (Some("*"), "alice@demo.local", 200),
        (Some("*"), "", 400),
    ] {
        let settings: Vec<_> = users.map(|users| ("DEXIE_DEMO_USERS", users)).into_iter().collect();
        let mut with_users = isolate(&settings);
        let (answered, answer) = ask(&mut with_users, &demo(address));
        assert_eq!(answered, status, "{users:?}: {answer}");
        if status != 200 {
            continue;
        }
        assert_eq!((&answer["userType"], &answer["claims"]["sub"]), (&json!("demo"), &json!(address)));
        let caller = caller(&mut with_users, &answer, START).expect("a session");
        assert_eq!(caller.user, UserHash::new("headwater-demo", address));
        let mut without = isolate(&[]);
        assert_eq!(
            refreshed(&mut without, &answer["refreshToken"], START, Some(true)).0,
            404,
            "taken off the list"
        );
    }
    let mut forging = isolate(&[]);
    let claims = json!({ "iss": "headwater-demo", "sub": "alice@demo.local", "exp": START.0 / 1000 + 600 });
    let token = Hs256.token(&Header::empty(), &Claims::new(claims), &Hs256Key::new(SECRET.as_bytes()));
    let forged = format!("Bearer {}", token.expect("a token"));
    assert!(matches!(forging.identify_token(&forged, START), Err(ApiError::Unauthenticated)));
}

#[test]
fn other_ways_to_sign_in_are_refused_with_the_one_that_there_is() {
    let mut isolate = isolate(&[]);
    for grant in ["otp", "authorization_code", "client_credentials", "password"] {
        let (status, answer) = ask(&mut isolate, &json!({ "grant_type": grant, "email": "a@b.example" }));
        assert_eq!((status, answer["type"].as_str()), (404, Some("error")), "{grant}");
        assert!(answer["message"].as_str().expect("a message").contains("fetchTokens"));
    }
    for missing in ["grant_type", "subject_token", "public_key"] {
        let mut body = exchange();
        body.as_object_mut().expect("an object").remove(missing);
        let (status, answer) = ask(&mut isolate, &body);
        let message = answer["message"].as_str().expect("a message");
        assert_eq!((status, message), (400, format!("{missing} is missing").as_str()));
    }
    for body in [json!([]), json!("x"), json!({ "grant_type": 1 })] {
        assert_eq!(ask(&mut isolate, &body).0, 400, "{body}");
    }
}

#[test]
fn a_bad_token_of_the_issuer_is_refused_as_the_addon_shows_it() {
    let mut isolate = isolate(&[]);
    let mut body = exchange();
    body["subject_token"] = format!("{}x", subject_token("alice")).into();
    let (status, answer) = ask(&mut isolate, &body);
    assert_eq!((status, answer["type"].as_str()), (401, Some("error")));
    assert_eq!(
        (&answer["messageCode"], &answer["code"]),
        (&json!("GENERIC_ERROR"), &json!("unauthenticated"))
    );
    assert_eq!(answer["title"], "Not authenticated");
}

#[test]
fn a_session_is_refused_on_every_native_route() {
    let mut isolate = isolate(&[]);
    let (_, answer) = ask(&mut isolate, &exchange());
    for ours in ["accessToken", "refreshToken"] {
        let authorization = format!("Bearer {}", answer[ours].as_str().expect("a text"));
        for (method, path) in
            [("POST", "/sync/push"), ("GET", "/sync/pull"), ("GET", "/sync/live"), ("PUT", "/spaces/team")]
        {
            let authorization = authorization.clone();
            let request = super::super::Request { authorization, ..request(method, path, START) };
            let header = |name: &str| if name == "upgrade" { "websocket".to_owned() } else { String::new() };
            let (visit, effect) = isolate.begin(request, &header);
            assert_eq!(answered(&visit, effect).0, 401, "{ours} {path}");
        }
    }
}

#[test]
fn no_line_of_the_log_has_a_token() {
    let mut isolate = isolate(&[("DEXIE_DEMO_USERS", "*")]);
    let (_, answer) = ask(&mut isolate, &exchange());
    let token = &answer["refreshToken"];
    refreshed(&mut isolate, token, START, Some(true));
    refreshed(&mut isolate, token, START, Some(false));
    ask(&mut isolate, &json!({ "grant_type": "otp", "subject_token": "x.y.z" }));
    let log = isolate.take_log();
    let lines: Vec<_> = log.iter().filter(|(_, event, _)| *event == "request").collect();
    assert_eq!(lines.len(), 4);
    for (_, _, fields) in &lines {
        assert_eq!(fields["route"], "dexie-token");
    }
    let text = format!("{log:?}");
    for secret in [&answer["accessToken"], token, &json!(subject_token("alice")), &json!("alice")] {
        assert!(!text.contains(secret.as_str().expect("a text")), "{text}");
    }
}

#[test]
fn without_a_secret_of_grants_the_log_says_what_to_set() {
    let mut isolate = isolate(&[("GRANT_SECRET", "")]);
    assert_eq!(ask(&mut isolate, &exchange()).0, 500);
    let log = isolate.take_log();
    assert!(log.iter().any(|(_, event, _)| *event == "no grant can be signed or verified"), "{log:?}");
}
