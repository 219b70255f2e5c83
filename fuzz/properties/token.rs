//! Tokens: headers as they come, and claims under a good signature.

use headwater::{
    access::token::{Step, Verifier},
    config::Config,
    error::ApiError,
    ids::SpaceHash,
    time::Millis,
};
use jwt_compact::{
    AlgorithmExt, Claims, Header, UntrustedToken,
    alg::{Hs256, Hs256Key, Hs512, Hs512Key},
};
use serde_json::{Map, Value, value::RawValue};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: Millis = Millis(1_795_341_182_000);
const LEEWAY_S: i64 = 60;

/// A header is refused with 401 unless it carries a token of ours. Claims that are signed are good exactly if issuer,
/// audience, subject and times are; under another algorithm never.
pub(crate) fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for header in [text.to_owned(), format!("Bearer {text}")] {
        match verified(&header) {
            Err(ApiError::Unauthenticated | ApiError::TokenExpired) => {}
            Ok(space) => {
                let token = header.split_once(' ').expect("a scheme").1.trim();
                let token = UntrustedToken::new(token).expect("a token");
                assert_eq!(token.algorithm(), "HS256");
                let claims = token.deserialize_claims_unchecked::<Map<String, Value>>().expect("claims");
                assert_eq!(Some(space), caller(&claims.custom), "{text}");
            }
            Err(other) => panic!("a token is refused with {other:?}"),
        }
    }
    let Ok(Value::Object(claims)) = serde_json::from_str(text) else { return };
    let signed = Claims::new(claims.clone());
    let Ok(token) = Hs256.token(&Header::empty(), &signed, &Hs256Key::new(SECRET)) else { return };
    let outcome = verified(&format!("bearer {token}"));
    let number = |name| claims.get(name).map(Value::as_i64);
    let now = i64::try_from(NOW.0 / 1000).expect("seconds");
    let expected = match (number("exp"), number("nbf"), number("iat")) {
        // A time that is no whole number makes the claims unreadable; another reader need not agree what else does.
        (Some(Some(exp)), nbf, iat) if nbf != Some(None) && iat != Some(None) => {
            let times = [Some(exp), nbf.flatten(), iat.flatten()];
            if times.into_iter().flatten().any(|time| time.abs() > 1 << 40) {
                None
            } else if now > exp.saturating_add(LEEWAY_S) {
                Some(Err(ApiError::TokenExpired))
            } else if nbf.flatten().is_some_and(|nbf| now < nbf - LEEWAY_S) {
                Some(Err(ApiError::Unauthenticated))
            } else {
                Some(caller(&claims).ok_or(ApiError::Unauthenticated))
            }
        }
        _ => None,
    };
    match expected {
        Some(Ok(space)) => assert_eq!(outcome, Ok(space)),
        Some(Err(error)) => {
            assert!(outcome == Err(error.clone()) || outcome == Err(ApiError::Unauthenticated))
        }
        None => assert!(outcome.is_err() || outcome.ok() == caller(&claims)),
    }
    if let Ok(token) = Hs512.token(&Header::empty(), &signed, &Hs512Key::new(SECRET)) {
        assert_eq!(verified(&format!("Bearer {token}")), Err(ApiError::Unauthenticated));
    }
}

fn verified(header: &str) -> Result<SpaceHash, ApiError> {
    let config = Config::read(|name| match name {
        "JWT_SECRET" => Some(SECRET.to_owned()),
        "JWT_ISSUER" => Some("issuer".to_owned()),
        "JWT_AUDIENCE" => Some("headwater".to_owned()),
        _ => None,
    });
    let mut verifier = Verifier::new(&config.edge.token);
    let mut decide = || match verifier.decide(header, NOW) {
        Ok(Step::Bearer(caller)) => Ok(caller),
        Ok(step) => panic!("a secret is all that is configured: {step:?}"),
        Err(refused) => Err(refused.error),
    };
    let first = decide();
    assert_eq!(decide(), first, "what is remembered is what was verified");
    first.map(|caller| caller.private_space)
}

/// The private space of whom the claims name, if issuer, audience and subject are good.
fn caller(claims: &Map<String, Value>) -> Option<SpaceHash> {
    let issuer = claims.get("iss")?.as_str().filter(|issuer| *issuer == "issuer")?;
    let audiences = match claims.get("aud")? {
        Value::Array(audiences) => audiences.clone(),
        one => vec![one.clone()],
    };
    let all_text = audiences.iter().all(Value::is_string);
    if !all_text || !audiences.contains(&"headwater".into()) {
        return None;
    }
    let subject = claims.get("sub")?.as_str().filter(|subject| (1..=1024).contains(&subject.len()))?;
    Some(SpaceHash::private(issuer, subject))
}

/// A document with an array `keys` is a set of keys, whatever stands in it, and nothing else is. Signatures are only ever to
/// be verified with keys of the right size.
pub(crate) fn jwks(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = Config::read(|name| match name {
        "JWKS_URL" => Some("https://issuer.example".to_owned()),
        "JWT_KEYS" => Some(text.to_owned()),
        "JWT_ISSUER" => Some("issuer".to_owned()),
        _ => None,
    });
    let mut verifier = Verifier::new(&config.edge.token);
    let is_set = verifier.learn_keys(Some(text), NOW);
    match serde_json::from_str::<Value>(text) {
        Ok(set) => assert_eq!(is_set, set.get("keys").is_some_and(Value::is_array), "{text}"),
        // Half a surrogate pair in a name, or nesting, that the other reader does not take; else it is no JSON.
        Err(_) => assert!(!is_set || serde_json::from_str::<&RawValue>(text).is_ok(), "{text}"),
    }
    let claims =
        Claims::new(serde_json::json!({ "iss": "issuer", "sub": "alice", "exp": NOW.0 / 1000 + 60 }));
    let good = Hs256.token(&Header::empty(), &claims, &Hs256Key::new(SECRET)).expect("a token");
    let (_, claims) = good.split_once('.').expect("a header");
    let (claims, _) = claims.split_once('.').expect("a signature");
    // The headers of ES256, EdDSA and RS256, and a signature of each length that a key may ask for.
    for (header, bytes) in
        [("eyJhbGciOiJFUzI1NiJ9", 64), ("eyJhbGciOiJFZERTQSJ9", 64), ("eyJhbGciOiJSUzI1NiJ9", 256)]
    {
        let signature = "A".repeat((bytes * 4_usize).div_ceil(3));
        match verifier.decide(&format!("Bearer {header}.{claims}.{signature}"), NOW) {
            Ok(Step::Verify(claimed)) => {
                let key: Value = serde_json::from_str(&claimed.key.jwk).expect("a JWK");
                // Settings are taken without the white space around them, of whatever kind.
                assert!(is_set || text.trim() != text, "{key}");
                assert_eq!(claimed.signature.len(), bytes);
            }
            Ok(Step::FetchKeys) => assert!(!is_set, "the keys were just fetched"),
            Ok(Step::Bearer(_)) => panic!("nobody has verified the signature"),
            Err(refused) => assert!(
                [ApiError::Unauthenticated, ApiError::Upstream].contains(&refused.error),
                "{refused:?}"
            ),
        }
    }
}
