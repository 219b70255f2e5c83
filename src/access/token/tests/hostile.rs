//! Tokens that somebody might try, and what the core makes of them. The platform finds none of their signatures good;
//! `hostile-tokens.test.mjs` tries them, and more that need real keys, on the runtime.

use jwt_compact::{Algorithm as _, AlgorithmSignature};

use super::*;

fn everything() -> Verifier {
    let keys = [ec("e1"), ed("d1"), rsa("r1"), rsa("r2"), oct("h1")];
    verifier_of(&[("JWT_SECRET", SECRET.to_owned()), ("JWT_KEYS", jwks(&keys))])
}

/// The code that a bearer gets, whose signature the platform finds bad.
fn code(authorization: &str) -> &'static str {
    let mut verifier = everything();
    let outcome = match verifier.decide(authorization, NOW) {
        Ok(Step::Verify(claimed)) => verifier.learn_signature(claimed, false, NOW),
        Ok(Step::Bearer(caller)) => Ok(caller),
        Ok(Step::FetchKeys) => panic!("there is no issuer to ask"),
        Err(refused) => Err(refused),
    };
    outcome.map_or_else(|refused| refused.error.code(), |_| "let in")
}

fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = Hs256.sign(&Hs256Key::new(secret), signed.as_bytes());
    format!("Bearer {signed}.{}", encode(AlgorithmSignature::as_bytes(&signature)))
}

fn hs256(header: &str, claims: &str) -> String {
    signed(header, claims, SECRET.as_bytes())
}

/// Good claims, with these in place of some of them.
fn changed(changes: &Value) -> String {
    let mut claims = claims();
    for (name, value) in changes.as_object().expect("an object") {
        claims[name.as_str()] = value.clone();
    }
    claims.to_string()
}

const HS: &str = r#"{"alg":"HS256"}"#;

/// Tokens whose claims are what is wrong, under a good signature.
fn claims_of_all_kinds() -> Vec<(&'static str, String)> {
    let now = i64::try_from(NOW.0 / 1000).expect("seconds");
    let repeated = |text: &str| claims().to_string().replacen('{', &format!("{{{text},"), 1);
    vec![
        ("another issuer", changed(&json!({ "iss": "other" }))),
        ("an issuer that only begins alike", changed(&json!({ "iss": "issuer/" }))),
        ("an issuer of the wrong type", changed(&json!({ "iss": ["issuer"] }))),
        ("no issuer", changed(&json!({ "iss": null }))),
        ("another audience", changed(&json!({ "aud": "other" }))),
        ("audiences without ours", changed(&json!({ "aud": ["a", "b"] }))),
        ("an empty list of audiences", changed(&json!({ "aud": [] }))),
        ("an audience of the wrong type", changed(&json!({ "aud": { "headwater": true } }))),
        ("an audience among numbers", changed(&json!({ "aud": ["headwater", 7] }))),
        ("an empty subject", changed(&json!({ "sub": "" }))),
        ("a subject that is a number", changed(&json!({ "sub": 7 }))),
        ("a subject that is a list", changed(&json!({ "sub": ["alice"] }))),
        ("no subject", changed(&json!({ "sub": null }))),
        ("a subject of 1,025 bytes", changed(&json!({ "sub": "a".repeat(1025) }))),
        ("a beginning ahead", changed(&json!({ "nbf": now + 61 }))),
        ("a beginning that is text", changed(&json!({ "nbf": "now" }))),
        ("no end", changed(&json!({ "exp": null }))),
        ("an end that is text", changed(&json!({ "exp": (now + 600).to_string() }))),
        ("an end that is no number of seconds", changed(&json!({ "exp": 1e300 }))),
        ("an end beyond all calendars", changed(&json!({ "exp": i64::MAX }))),
        ("two subjects", repeated(r#""sub":"bob""#)),
        ("two ends", repeated(&format!(r#""exp":{}"#, now + 600))),
        ("two issuers", repeated(r#""iss":"issuer""#)),
        ("two subjects, one of them disguised", repeated(r#""\u0073ub":"bob""#)),
        ("claims that are a list", format!("[{}]", claims())),
        ("claims that are text", r#""alice""#.to_owned()),
        ("claims that break off", claims().to_string().trim_end_matches('}').to_owned()),
        ("claims with something behind", format!("{}x", claims())),
        ("no claims", String::new()),
        ("claims nested without end", format!(r#"{{"a":{}"#, "[".repeat(2000))),
    ]
}

/// Tokens whose header is what is wrong.
fn headers_of_all_kinds() -> Vec<(&'static str, String)> {
    let good = claims().to_string();
    let rsa_text = rsa("r1").to_string();
    let with = |header: &str, length: usize| bearing(header, &good, &vec![7; length]);
    vec![
        ("the algorithm none", with(r#"{"alg":"none"}"#, 0)),
        ("the algorithm none, written otherwise", with(r#"{"alg":"nOnE"}"#, 0)),
        ("no algorithm", hs256("{}", &good)),
        ("an algorithm that is null", hs256(r#"{"alg":null}"#, &good)),
        ("an algorithm in small letters", hs256(r#"{"alg":"hs256"}"#, &good)),
        ("two algorithms", hs256(r#"{"alg":"none","alg":"HS256"}"#, &good)),
        ("HS512", hs256(r#"{"alg":"HS512"}"#, &good)),
        ("RS256 over an HMAC", hs256(r#"{"alg":"RS256","kid":"r1"}"#, &good)),
        ("HS256 with the public key as the secret", signed(HS, &good, rsa_text.as_bytes())),
        ("HS256 with the modulus as the secret", signed(HS, &good, &[0xc5; 256])),
        ("HS256 that names an RSA key", signed(r#"{"alg":"HS256","kid":"r1"}"#, &good, &[0xc5; 256])),
        ("PS256 that names an RSA key", with(r#"{"alg":"PS256","kid":"r1"}"#, 256)),
        ("RS256 that names an EC key", with(r#"{"alg":"RS256","kid":"e1"}"#, 256)),
        ("ES256 that names a secret", with(r#"{"alg":"ES256","kid":"h1"}"#, 64)),
        ("a foreign key id", with(r#"{"alg":"ES256","kid":"e2"}"#, 64)),
        ("a key id that is a path", with(r#"{"alg":"ES256","kid":"../../dev/null"}"#, 64)),
        ("a key id that is a number", with(r#"{"alg":"ES256","kid":1}"#, 64)),
        ("no key id where two keys could be meant", with(r#"{"alg":"RS256"}"#, 256)),
        ("a key of its own", with(&format!(r#"{{"alg":"RS256","kid":"mine","jwk":{rsa_text}}}"#), 256)),
        ("a URL of keys of its own", with(r#"{"alg":"ES256","kid":"x","jku":"https://evil.example"}"#, 64)),
        ("a certificate of its own", with(r#"{"alg":"RS256","kid":"x","x5u":"https://evil.example"}"#, 256)),
        ("a critical extension", hs256(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &good)),
        ("critical extensions that are null", hs256(r#"{"alg":"HS256","crit":null}"#, &good)),
        ("another content type", hs256(r#"{"alg":"HS256","cty":"CBOR"}"#, &good)),
        ("a header that is a list", hs256(r#"["HS256"]"#, &good)),
        ("a header that is no JSON", hs256("alg=HS256", &good)),
        ("an empty header", hs256("", &good)),
        ("ES256 with a signature of 63 bytes", with(r#"{"alg":"ES256","kid":"e1"}"#, 63)),
        ("ES256 with a signature in DER", with(r#"{"alg":"ES256","kid":"e1"}"#, 71)),
        ("ES256 with a signature of zeros", bearing(r#"{"alg":"ES256","kid":"e1"}"#, &good, &[0; 64])),
        ("ES256 without a signature", with(r#"{"alg":"ES256","kid":"e1"}"#, 0)),
        ("EdDSA with a signature of 65 bytes", with(r#"{"alg":"EdDSA","kid":"d1"}"#, 65)),
        ("RS256 with a signature of 128 bytes", with(r#"{"alg":"RS256","kid":"r1"}"#, 128)),
        ("HS256 with half a signature", with(HS, 16)),
        ("HS256 without a signature", with(HS, 0)),
    ]
}

/// Tokens whose text is what is wrong.
fn texts_of_all_kinds() -> Vec<(&'static str, String)> {
    let good = hs256(HS, &claims().to_string());
    let token = good.trim_start_matches("Bearer ").to_owned();
    let parts: Vec<&str> = token.split('.').collect();
    let (signed, last) = token.split_once('.').map(|(head, _)| (head, token.len() - 1)).expect("parts");
    let other = hs256(HS, &changed(&json!({ "sub": "bob" })));
    let foreign = other.rsplit('.').next().expect("a signature");
    // Of the last character only four bits count: these two decode to the same bytes where decoders are lax.
    let twin = if token.ends_with('A') { 'B' } else { char::from(token.as_bytes()[last] + 1) };
    vec![
        ("nothing", String::new()),
        ("a scheme alone", "Bearer".to_owned()),
        ("a scheme and a space", "Bearer ".to_owned()),
        ("another scheme", format!("Basic {token}")),
        ("no scheme", token.clone()),
        ("two tokens", format!("{good} {token}")),
        ("no dots", "Bearer token".to_owned()),
        ("nothing between the dots", "Bearer ..".to_owned()),
        ("one part too few", format!("Bearer {}.{}", parts[0], parts[1])),
        ("one part too many", format!("{good}.{}", parts[2])),
        ("an empty part too many", format!("{good}.")),
        ("a header alone", format!("Bearer {signed}..")),
        ("padding", format!("{good}=")),
        ("base64 with + and /", format!("Bearer {}.{}.ab+/", parts[0], parts[1])),
        ("bytes that are no base64", format!("Bearer {}.{}.%00", parts[0], parts[1])),
        ("another last character", format!("Bearer {}{twin}", &token[..last])),
        ("a cut signature", good[..good.len() - 4].to_owned()),
        ("the signature of another token", format!("Bearer {}.{}.{foreign}", parts[0], parts[1])),
        ("another secret's signature", super::token(&claims(), &"x".repeat(32))),
        ("9 KB", hs256(HS, &changed(&json!({ "groups": "g".repeat(9_000) })))),
        ("a line break inside", good.replacen('.', ".\n", 1)),
        ("letters that only look alike", good.replacen('e', "\u{435}", 1)),
        ("a JWE of five parts", format!("Bearer {}.a.b.c.d", parts[0])),
    ]
}

#[test]
fn no_hostile_token_gets_in_and_each_is_unauthenticated() {
    let mut count = 0;
    let under_good_signatures =
        claims_of_all_kinds().into_iter().map(|(what, text)| (what, hs256(HS, &text)));
    for (what, authorization) in
        under_good_signatures.chain(headers_of_all_kinds()).chain(texts_of_all_kinds())
    {
        assert_eq!(code(&authorization), "unauthenticated", "{what}: {authorization}");
        count += 1;
    }
    assert!(count >= 80, "{count}");
    // What they are all changed from is good.
    assert_eq!(code(&hs256(HS, &claims().to_string())), "let in");
    assert_eq!(code(&hs256(r#"{"alg":"HS256","kid":"h1"}"#, &claims().to_string())), "let in");
}

#[test]
fn a_signature_of_another_length_than_the_keys_is_not_looked_at() {
    for (alg, kid, length) in [("ES256", "e1", 64), ("EdDSA", "d1", 64), ("RS256", "r1", 256)] {
        for bytes in [0, 63, 64, 65, 71, 128, 255, 256, 257] {
            let header = json!({ "alg": alg, "kid": kid });
            let step = everything().decide(&bearing(header, claims(), &vec![7; bytes]), NOW);
            assert_eq!(matches!(step, Ok(Step::Verify(_))), bytes == length, "{alg} {bytes}");
        }
    }
}

#[test]
fn only_whose_token_was_good_is_told_that_it_has_expired() {
    let expired = changed(&json!({ "exp": NOW.0 / 1000 - 61 }));
    assert_eq!(code(&hs256(HS, &expired)), "token_expired");
    assert_eq!(code(&signed(HS, &expired, &[b'x'; 32])), "unauthenticated");
    let public = bearing(r#"{"alg":"ES256","kid":"e1"}"#, &expired, &[7; 64]);
    assert_eq!(code(&public), "unauthenticated", "the platform found its signature bad");
    let mut verifier = everything();
    let Ok(Step::Verify(claimed)) = verifier.decide(&public, NOW) else { panic!("a signature") };
    let refused = verifier.learn_signature(claimed, true, NOW).expect_err("it has expired");
    assert_eq!(refused.error, ApiError::TokenExpired);
    let elsewhere = changed(&json!({ "exp": NOW.0 / 1000 - 61, "iss": "other" }));
    assert_eq!(code(&hs256(HS, &elsewhere)), "unauthenticated", "it was never good here");
}

#[test]
fn when_a_token_was_issued_is_not_looked_at() {
    assert_eq!(code(&hs256(HS, &changed(&json!({ "iat": NOW.0 / 1000 + 3600 })))), "let in");
}
