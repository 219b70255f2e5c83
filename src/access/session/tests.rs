use base64ct::Base64;
use serde_json::json;

use super::*;
use crate::access::{
    grant::Granter,
    token::{TokenConfig, Verifier},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
const NOW: Millis = Millis(1_795_341_182_500);

/// The public half of a key that `openssl genrsa 2048` has made.
const PEM: &str = include_str!("client-key.pem");

fn sessions() -> Sessions {
    Sessions::new(Some(SECRET), None)
}

fn account() -> Account {
    Account {
        iss: "https://issuer.example/".to_owned(),
        sub: "auth0|älice\"\u{2028}".to_owned(),
        email: Some("alice@example.com".to_owned()),
        name: Some("Alice".to_owned()),
    }
}

fn refresh() -> Refresh {
    Refresh { account: account(), key: ClientKey::of_pem(PEM).expect("a key"), ends: NOW.plus(1_000_000) }
}

fn session() -> String {
    sessions().sign(&account(), NOW.plus(SESSION_MS)).expect("a session")
}

/// What a token of the issuer says, unsigned: that is not looked at here.
fn told(claims: &serde_json::Value) -> (Option<String>, Option<String>) {
    let token = format!("e30.{}.x", Base64UrlUnpadded::encode_string(claims.to_string().as_bytes()));
    let person = Subject { iss: "issuer".to_owned(), sub: "alice".to_owned() };
    let account = Account::of_token(&person, &token);
    assert_eq!((account.iss.as_str(), account.sub.as_str()), ("issuer", "alice"));
    (account.email, account.name)
}

#[test]
fn a_session_is_whom_the_issuer_named_until_it_ends_and_ten_minutes_more() {
    let ends = NOW.plus(SESSION_MS);
    let bearer = sessions().bearer(&session(), NOW).expect("a bearer");
    let of_token = Bearer::of(&account().iss, &account().sub, ends.plus(CLOCK_MS));
    assert_eq!(bearer, Bearer { email: bearer.email.clone(), ..of_token });
    assert_eq!(bearer.email.as_deref(), account().email.as_deref());
    assert!(sessions().bearer(&session(), Millis(ends.plus(CLOCK_MS).0 - 1)).is_ok());
    assert_eq!(sessions().bearer(&session(), ends.plus(CLOCK_MS)), Err(ApiError::TokenExpired));
}

#[test]
fn a_refresh_token_says_what_it_was_made_of_until_it_ends() {
    let token = sessions().sign_refresh(&refresh()).expect("a token");
    assert_eq!(sessions().refresh(&token, NOW), Ok(refresh()));
    assert_eq!(sessions().refresh(&token, refresh().ends), Err(ApiError::TokenExpired));
    let bare = Refresh { account: Account { email: None, name: None, ..account() }, ..refresh() };
    let token = sessions().sign_refresh(&bare).expect("a token");
    assert_eq!(sessions().refresh(&token, NOW), Ok(bare));
}

#[test]
fn a_session_and_a_refresh_token_are_pinned_because_clients_keep_them_for_weeks() {
    let text = |signed: &str| {
        let text = signed.split('.').next().expect("a text");
        String::from_utf8(Base64UrlUnpadded::decode_vec(text).expect("base64")).expect("UTF-8")
    };
    let said = concat!(
        r#"{"ends":"1795344782500","iss":"https://issuer.example/","sub":"auth0|älice\"\u2028","#,
        r#""email":"alice@example.com","name":"Alice"}"#
    );
    assert_eq!(text(&session()), said, "everybody would have to sign in again");
    let token = sessions().sign_refresh(&refresh()).expect("a token");
    assert!(text(&token).ends_with(&format!(r#","name":"Alice","key":"{}"}}"#, refresh().key.modulus)));
}

#[test]
fn sessions_refresh_tokens_grants_and_tokens_are_not_taken_for_each_other_even_with_one_secret() {
    let (session, token) = (session(), sessions().sign_refresh(&refresh()).expect("a token"));
    assert_eq!(sessions().bearer(&token, NOW), Err(ApiError::Unauthenticated));
    assert_eq!(sessions().refresh(&session, NOW), Err(ApiError::Unauthenticated));
    let config = TokenConfig { secret: Some(SECRET.to_owned()), ..TokenConfig::default() };
    for ours in [&session, &token] {
        let refused = Verifier::new(&config).decide(&format!("Bearer {ours}"), NOW);
        assert!(matches!(refused, Err(refused) if refused.error == ApiError::Unauthenticated));
        let (user, space) = (crate::ids::UserHash::new("i", "s"), crate::ids::SpaceHash::budget());
        let opened = Granter::new(Some(SECRET), None).open(ours, &user, &space, NOW);
        assert_eq!(opened, Err(ApiError::GrantRequired));
    }
}

#[test]
fn nothing_is_a_session_that_was_not_written_and_signed_here_word_for_word() {
    let good = account().written(NOW.plus(SESSION_MS)).end();
    let signer = Signer::new(SESSION_DOMAIN, Some(SECRET), None);
    let ours = |text: &str| signed(&signer, text).expect("a signature");
    assert!(sessions().bearer(&ours(&good), NOW).is_ok());
    let whole = session();
    let (text, signature) = whole.split_once('.').expect("two parts");
    for bad in [
        String::new(),
        ".".to_owned(),
        text.to_owned(),
        format!("{text}."),
        format!("{text}.{signature}="),
        format!("{text}.{}", &signature[1..]),
        format!("{text}x.{signature}"),
        format!("x.{whole}"),
        "x".repeat(SESSION_BYTES_MAX + 1),
        Sessions::new(Some(OTHER), None).sign(&account(), NOW.plus(SESSION_MS)).expect("a session"),
        signed(&Signer::new("", Some(SECRET), None), &good).expect("a signature"),
        ours("{}"),
        ours(&good.replacen('{', "{ ", 1)),
        ours(&good.replacen('{', "{\"sub\":\"mallory\",", 1)),
        ours(&good.replacen("\"1795344782500\"", "\"01795344782500\"", 1)),
        ours(&good.replacen("\"1795344782500\"", "1795344782500", 1)),
        ours(&good.replacen("Alice", "Al\\u0069ce", 1)),
        ours(&good.replacen('}', ",\"more\":\"\"}", 1)),
        ours(&account().written(NOW.plus(SESSION_MS + CLOCK_MS + 1)).end()),
    ] {
        assert_eq!(sessions().bearer(&bad, NOW), Err(ApiError::Unauthenticated), "{bad}");
    }
}

#[test]
fn while_the_secret_changes_both_are_good_and_afterwards_the_old_one_is_not() {
    let token = sessions().sign_refresh(&refresh()).expect("a token");
    let changing = Sessions::new(Some(OTHER), Some(SECRET));
    assert!(changing.bearer(&session(), NOW).is_ok() && changing.refresh(&token, NOW).is_ok());
    let after = Sessions::new(Some(OTHER), None);
    assert_eq!(after.bearer(&session(), NOW), Err(ApiError::Unauthenticated));
    assert_eq!(after.refresh(&token, NOW), Err(ApiError::Unauthenticated));
    let none = Sessions::new(None, None);
    assert_eq!(none.bearer(&session(), NOW), Err(ApiError::Internal));
    assert_eq!(none.sign(&account(), NOW), Err(ApiError::Internal));
}

#[test]
fn names_that_would_make_a_session_too_long_are_refused_and_profiles_left_out() {
    let long = Account { sub: "\u{1}".repeat(1_024), ..account() };
    assert!(matches!(sessions().sign(&long, NOW), Err(ApiError::Malformed(_))));
    let most = Account { iss: "i".repeat(1_024), sub: "s".repeat(1_024), ..account() };
    assert!(sessions().sign_refresh(&Refresh { account: most, ..refresh() }).is_ok());
    let (email, name) = ("a".repeat(PROFILE_BYTES_MAX + 1), "a\nb");
    assert_eq!(told(&json!({ "email": email, "email_verified": true, "name": name })), (None, None));
}

#[test]
fn an_address_counts_if_the_issuer_has_verified_it() {
    let address = || Some("a@b.example".to_owned());
    for (verified, shown) in [
        (json!(true), address()),
        (json!("true"), address()),
        (json!(false), None),
        (json!(null), None),
        (json!(1), None),
    ] {
        let claims = json!({ "email": "a@b.example", "email_verified": verified, "name": "A" });
        assert_eq!(told(&claims), (shown, Some("A".to_owned())), "{verified}");
    }
    assert_eq!(told(&json!({ "email": "a@b.example" })), (None, None));
    assert_eq!(told(&json!([1])), (None, None));
}

#[test]
fn the_key_is_an_rsa_key_of_2048_bits_and_no_other() {
    let key = ClientKey::of_pem(PEM).expect("a key");
    assert!(key.jwk().starts_with(r#"{"kty":"RSA","n":""#) && key.jwk().ends_with(r#"","e":"AQAB"}"#));
    assert_eq!(key.modulus.len(), 342);
    assert_eq!(ClientKey::of_pem(&PEM.replace('\n', "\r\n")), Some(key.clone()));
    let pem = |spki: &[u8]| {
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", Base64::encode_string(spki))
    };
    let modulus = Base64UrlUnpadded::decode_vec(&key.modulus).expect("base64");
    let spki = |modulus: &[u8]| [&SPKI_START[..], modulus, &SPKI_END].concat();
    assert_eq!(ClientKey::of_pem(&pem(&spki(&modulus))), Some(key));
    let mut small = modulus.clone();
    small[0] &= 0x7f;
    for bad in [
        String::new(),
        "-----BEGIN PUBLIC KEY----------END PUBLIC KEY-----".to_owned(),
        "-----BEGIN PUBLIC KEY-----".to_owned(),
        PEM.replace("PUBLIC", "PRIVATE"),
        PEM.replacen('A', "*", 1),
        pem(&[0; 294]),
        pem(&spki(&modulus[1..])),
        pem(&spki(&small)),
        pem(&[&spki(&modulus)[..], &[0]].concat()),
        pem(&[&SPKI_START[..], &modulus, &[0x02, 0x03, 0x01, 0x00, 0x03]].concat()),
        PEM.to_owned() + &" ".repeat(PUBLIC_KEY_BYTES_MAX) + "-----END PUBLIC KEY-----",
    ] {
        assert_eq!(ClientKey::of_pem(&bad), None, "{bad}");
    }
}

#[test]
fn a_signature_has_as_many_bytes_as_the_key() {
    assert_eq!(ClientKey::signature(&Base64::encode_string(&[7; RSA_BYTES])), Some(vec![7; RSA_BYTES]));
    for bad in ["", "*", &Base64::encode_string(&[7; RSA_BYTES - 1])] {
        assert_eq!(ClientKey::signature(bad), None);
    }
}
