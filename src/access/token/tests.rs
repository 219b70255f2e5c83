//! Tokens of HS256, which are decided on at once. `keys` and `hostile` have the others.

mod hostile;
mod issuer;
mod keys;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::{Claims, Header};
use serde_json::{Value, json};

use super::*;
use crate::{config::Config, ids::SpaceHash};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: Millis = Millis(1_795_341_182_000);

fn token(claims: &Value, secret: &str) -> String {
    let key = Hs256Key::new(secret.as_bytes());
    let token = Hs256.token(&Header::empty(), &Claims::new(claims.clone()), &key).expect("a token");
    format!("Bearer {token}")
}

/// A verifier for tokens of "issuer" for "headwater", configured with some keys.
fn verifier_of(variables: &[(&str, String)]) -> Verifier {
    let config = Config::read(|name| match name {
        "JWT_ISSUER" => Some("issuer".to_owned()),
        "JWT_AUDIENCE" => Some("headwater".to_owned()),
        _ => variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone()),
    });
    Verifier::new(&config.edge.token)
}

fn verifier() -> Verifier {
    verifier_of(&[("JWT_SECRET", SECRET.to_owned())])
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// A header with a token of any parts.
fn bearing(header: impl ToString, claims: impl ToString, signature: &[u8]) -> String {
    format!("Bearer {}.{}.{}", encode(header.to_string()), encode(claims.to_string()), encode(signature))
}

/// Public keys that have the right form; what they sign is for the platform to say.
fn ec(id: &str) -> Value {
    json!({ "kty": "EC", "kid": id, "crv": "P-256", "x": encode([1; 32]), "y": encode([2; 32]), "alg": "ES256", "use": "sig" })
}

fn ed(id: &str) -> Value {
    json!({ "kty": "OKP", "kid": id, "crv": "Ed25519", "x": encode([3; 32]) })
}

fn rsa(id: &str) -> Value {
    json!({ "kty": "RSA", "kid": id, "n": encode([0xc5; 256]), "e": "AQAB", "alg": "RS256", "x5c": ["MII"] })
}

fn oct(id: &str) -> Value {
    json!({ "kty": "oct", "kid": id, "k": encode(SECRET) })
}

fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn claims() -> Value {
    json!({ "iss": "issuer", "sub": "alice", "aud": ["other", "headwater"], "exp": NOW.0 / 1000 + 600 })
}

/// What a token comes to that needs nothing of the platform.
fn verify(verifier: &mut Verifier, authorization: &str, now: Millis) -> Result<Bearer, ApiError> {
    match verifier.decide(authorization, now) {
        Ok(Step::Bearer(caller)) => Ok(caller),
        Ok(step) => panic!("{step:?}"),
        Err(refused) => Err(refused.error),
    }
}

fn verify_with(change: impl Fn(&mut Value)) -> Result<Bearer, ApiError> {
    let mut claims = claims();
    change(&mut claims);
    verify(&mut verifier(), &token(&claims, SECRET), NOW)
}

#[test]
fn a_good_token_names_its_caller() {
    let caller = verify_with(|_| ()).expect("a caller");
    assert_eq!(caller.private_space, SpaceHash::private("issuer", "alice"));
}

#[test]
fn issuer_audience_and_times_are_enforced() {
    let unauthenticated = Err(ApiError::Unauthenticated);
    assert_eq!(verify_with(|c| c["iss"] = "other".into()), unauthenticated);
    assert_eq!(verify_with(|c| c["aud"] = "other".into()), unauthenticated);
    assert_eq!(verify_with(|c| c["sub"] = "".into()), unauthenticated);
    assert_eq!(verify_with(|c| drop(c.as_object_mut().map(|c| c.remove("sub")))), unauthenticated);
    assert_eq!(verify_with(|c| drop(c.as_object_mut().map(|c| c.remove("exp")))), unauthenticated);
    assert_eq!(verify_with(|c| c["nbf"] = (NOW.0 / 1000 + 61).into()), unauthenticated);
    assert!(verify_with(|c| c["nbf"] = (NOW.0 / 1000 + 59).into()).is_ok());
    assert_eq!(verify_with(|c| c["exp"] = (NOW.0 / 1000 - 61).into()), Err(ApiError::TokenExpired));
    assert!(verify_with(|c| c["exp"] = (NOW.0 / 1000 - 59).into()).is_ok());
    assert_eq!(verify(&mut verifier(), &token(&claims(), &"x".repeat(32)), NOW), unauthenticated);
}

#[test]
fn a_token_may_be_of_one_of_several_issuers_and_for_one_of_several_audiences() {
    let issuers = "https://a.example/, https://b.example";
    let mut verifier = Verifier::new(
        &Config::read(|name| {
            let value = match name {
                "JWT_SECRET" => SECRET,
                "JWT_ISSUER" => issuers,
                "JWT_AUDIENCE" => "web,phone",
                _ => return None,
            };
            Some(value.to_owned())
        })
        .edge
        .token,
    );
    let mut as_whom = |iss: &str, aud: Value| {
        let mut claims = claims();
        (claims["iss"], claims["aud"]) = (iss.into(), aud);
        verify(&mut verifier, &token(&claims, SECRET), NOW)
    };
    let (a, b) = ("https://a.example/", "https://b.example");
    let alice = as_whom(a, "web".into()).expect("a caller");
    let same = as_whom(a, json!(["account", "phone"])).expect("a caller");
    assert_eq!((&alice.user, &alice.private_space), (&same.user, &same.private_space));
    let other = as_whom(b, json!(["phone", "web"])).expect("a caller");
    assert_ne!(alice.user, other.user, "the same subject of another issuer is another person");
    assert_ne!(alice.private_space, other.private_space);
    assert_eq!(other.private_space, SpaceHash::private(b, "alice"), "whoever else is in the list");
    for (iss, aud) in [
        (a, json!("tv")),
        (a, json!([])),
        (a, json!("web,phone")),
        (issuers, json!("web")),
        ("https://a.example", json!("web")),
        ("", json!("web")),
    ] {
        assert_eq!(as_whom(iss, aud), Err(ApiError::Unauthenticated), "{iss}");
    }
}

#[test]
fn a_list_of_issuers_without_an_entry_lets_nobody_in() {
    for name in ["JWT_ISSUER", "JWT_AUDIENCE"] {
        let config = Config::read(|asked| match asked {
            "JWT_SECRET" => Some(SECRET.to_owned()),
            asked => (asked == name).then(|| " , ".to_owned()),
        });
        let outcome = verify(&mut Verifier::new(&config.edge.token), &token(&claims(), SECRET), NOW);
        assert_eq!(outcome, Err(ApiError::Unauthenticated), "{name}");
    }
}

#[test]
fn refusals_are_counted_by_reason_and_told_at_once_and_then_once_a_minute() {
    let mut verifier = verifier();
    let refuse = |verifier: &mut Verifier, name: &str, value: Value, now| {
        let mut claims = claims();
        claims[name] = value;
        assert!(verify(verifier, &token(&claims, SECRET), now).is_err());
    };
    let told = |verifier: &mut Verifier, now| {
        let told = verifier.take_refusals(now).map(|told| told.into_iter().collect::<Vec<_>>());
        told.unwrap_or_default()
    };
    // Nothing of these is the deployment's.
    refuse(&mut verifier, "exp", (NOW.0 / 1000 - 100).into(), NOW);
    for header in ["", "Bearer", "Basic y"] {
        assert!(verify(&mut verifier, header, NOW).is_err());
    }
    assert_eq!(told(&mut verifier, NOW), []);
    refuse(&mut verifier, "aud", "other".into(), NOW);
    assert_eq!(told(&mut verifier, NOW), [("aud is none of JWT_AUDIENCE", 1)]);
    for second in 1..60 {
        let now = NOW.plus(second * 1000);
        refuse(&mut verifier, "aud", "other".into(), now);
        assert_eq!(told(&mut verifier, now), [], "within the minute");
    }
    assert!(verify(&mut verifier, "Bearer opaque", NOW).is_err());
    refuse(&mut verifier, "iss", "other".into(), NOW);
    let unknown = |alg: &str, kid: &str| bearing(json!({ "alg": alg, "kid": kid }), claims(), &[7; 64]);
    for (alg, kid) in [("PS256", "a"), ("ES256", "a"), ("ES256", "b")] {
        assert!(verify(&mut verifier, &unknown(alg, kid), NOW).is_err());
    }
    assert_eq!(
        told(&mut verifier, NOW.plus(60_000)),
        [
            ("alg is not supported", 1),
            ("aud is none of JWT_AUDIENCE", 59),
            ("iss is none of JWT_ISSUER", 1),
            ("no key has the token's alg and kid, or several have", 2),
            ("the token is not a JWT: is the issuer asked for one, with an audience?", 1),
        ]
    );
    assert_eq!(told(&mut verifier, NOW.plus(600_000)), [], "nothing new");
}

#[test]
fn times_at_the_ends_of_the_calendar_are_times() {
    let (first, last) = (-8_334_601_228_800_i64, 8_210_266_876_799_i64);
    assert!(verify_with(|c| c["nbf"] = first.into()).is_ok());
    assert!(verify_with(|c| c["exp"] = last.into()).is_ok());
    assert_eq!(verify_with(|c| c["nbf"] = last.into()), Err(ApiError::Unauthenticated));
    assert_eq!(verify_with(|c| c["exp"] = first.into()), Err(ApiError::TokenExpired));
}

#[test]
fn hostile_headers_are_unauthenticated() {
    let good = token(&claims(), SECRET);
    let none = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.";
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic x",
        none,
        &good[..good.len() - 2],
        &format!("{good}.x"),
        "Bearer a.b.c",
    ] {
        assert_eq!(verify(&mut verifier(), header, NOW), Err(ApiError::Unauthenticated), "{header}");
    }
}

#[test]
fn a_remembered_token_is_forgotten_when_it_expires() {
    let mut verifier = verifier();
    let token = token(&claims(), SECRET);
    assert!(verify(&mut verifier, &token, NOW).is_ok());
    assert!(verify(&mut verifier, &token, NOW.plus(1)).is_ok());
    assert_eq!(verify(&mut verifier, &token, NOW.plus(661_000)), Err(ApiError::TokenExpired));
}

#[test]
fn without_a_key_nobody_has_access() {
    let mut verifier = Verifier::new(&TokenConfig::default());
    assert_eq!(verify(&mut verifier, &token(&claims(), SECRET), NOW), Err(ApiError::Internal));
}
