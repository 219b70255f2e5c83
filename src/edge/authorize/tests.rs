//! Tokens of HS256, which are decided on at once. `keys` and `hostile` have the others.

mod hostile;
mod issuer;
mod keys;

use base64ct::{Base64UrlUnpadded, Encoding};
use jwt_compact::{Claims, Header};
use serde_json::{Value, json};

use super::*;
use crate::ids::SpaceHash;

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
    Verifier::new(&config)
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
fn verify(verifier: &mut Verifier, authorization: &str, now: Millis) -> Result<Caller, ApiError> {
    match verifier.decide(authorization, now) {
        Ok(Step::Caller(caller)) => Ok(caller),
        Ok(step) => panic!("{step:?}"),
        Err(refused) => Err(refused.error),
    }
}

fn verify_with(change: impl Fn(&mut Value)) -> Result<Caller, ApiError> {
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
    let mut verifier = Verifier::new(&Config::read(|_| None));
    assert_eq!(verify(&mut verifier, &token(&claims(), SECRET), NOW), Err(ApiError::Internal));
}
