//! The keys of `JWKS_URL`: when they are fetched, and what is believed meanwhile.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

const URL: &str = "https://issuer.example/jwks.json";
const MINUTE: u64 = 60_000;

fn verifier_with_issuer() -> Verifier {
    verifier_of(&[("JWKS_URL", URL.to_owned())])
}

fn es256(kid: &str, sub: &str) -> String {
    let mut claims = claims();
    claims["sub"] = sub.into();
    claims["exp"] = (NOW.0 / 1000 + 100 * 3600).into();
    bearing(json!({ "alg": "ES256", "kid": kid }), claims, &[7; 64])
}

/// What a token comes to, with a platform that finds every signature good.
#[derive(Debug, PartialEq)]
enum Outcome {
    Remembered,
    Verified,
    FetchKeys,
    BadToken(ApiError),
}

fn attempt(verifier: &mut Verifier, token: &str, now: Millis) -> Outcome {
    match verifier.decide(token, now) {
        Ok(Step::Bearer(_)) => Outcome::Remembered,
        Ok(Step::Verify(claimed)) => {
            verifier.learn_signature(claimed, true, now).expect("a caller");
            Outcome::Verified
        }
        Ok(Step::FetchKeys) => Outcome::FetchKeys,
        Err(refused) => Outcome::BadToken(refused.error),
    }
}

#[test]
fn keys_are_fetched_before_the_first_token_and_then_serve_everybody() {
    let mut verifier = verifier_with_issuer();
    assert_eq!(attempt(&mut verifier, &es256("a", "alice"), NOW), Outcome::FetchKeys);
    assert!(verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW));
    assert_eq!(attempt(&mut verifier, &es256("a", "alice"), NOW), Outcome::Verified);
    assert_eq!(attempt(&mut verifier, &es256("a", "alice"), NOW), Outcome::Remembered);
    assert_eq!(attempt(&mut verifier, &es256("a", "bob"), NOW), Outcome::Verified);
}

#[test]
fn an_unknown_key_id_is_a_reason_to_fetch_once_a_minute() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW);
    let unknown = Outcome::BadToken(ApiError::Unauthenticated);
    assert_eq!(attempt(&mut verifier, &es256("b", "x"), NOW.plus(MINUTE - 1)), unknown);
    assert_eq!(attempt(&mut verifier, &es256("b", "x"), NOW.plus(MINUTE)), Outcome::FetchKeys);
    verifier.learn_keys(Some(&jwks(&[ec("a"), ec("b")])), NOW.plus(MINUTE));
    assert_eq!(attempt(&mut verifier, &es256("b", "x"), NOW.plus(MINUTE)), Outcome::Verified);
}

#[test]
fn tokens_that_could_never_be_good_are_no_reason_to_fetch() {
    let mut verifier = verifier_with_issuer();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        bearing(json!({ "alg": "ES256", "kid": "a" }), claims, &[7; 64])
    };
    for token in [
        with("iss", "https://elsewhere.example".into()),
        with("aud", "other".into()),
        with("sub", "".into()),
        bearing(json!({ "alg": "HS256", "kid": "a" }), claims(), &[7; 32]),
        bearing(json!({ "alg": "none" }), claims(), &[]),
        bearing(json!({ "alg": "PS256", "kid": "a" }), claims(), &[7; 256]),
    ] {
        assert_eq!(
            attempt(&mut verifier, &token, NOW),
            Outcome::BadToken(ApiError::Unauthenticated),
            "{token}"
        );
    }
}

#[test]
fn while_the_issuer_is_down_the_last_good_keys_serve_and_one_request_a_minute_waits() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW);
    let later = NOW.plus(10 * MINUTE);
    assert_eq!(
        attempt(&mut verifier, &es256("a", "x"), later),
        Outcome::FetchKeys,
        "old keys are looked at again"
    );
    assert!(!verifier.learn_keys(None, later));
    assert_eq!(attempt(&mut verifier, &es256("a", "x"), later), Outcome::Verified);
    assert_eq!(attempt(&mut verifier, &es256("a", "x"), later.plus(5 * MINUTE)), Outcome::Remembered);
    assert_eq!(attempt(&mut verifier, &es256("a", "y"), later.plus(MINUTE)), Outcome::FetchKeys);
    assert_eq!(
        attempt(&mut verifier, &es256("a", "z"), later.plus(MINUTE)),
        Outcome::Verified,
        "only one waits"
    );
    for nonsense in ["<html>busy</html>", "{}", "[]"] {
        assert!(!verifier.learn_keys(Some(nonsense), later.plus(MINUTE)));
        assert_eq!(attempt(&mut verifier, &es256("a", nonsense), later.plus(MINUTE + 1)), Outcome::Verified);
    }
}

#[test]
fn an_issuer_that_was_never_reached_is_tried_again_every_few_seconds() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(None, NOW);
    assert_eq!(
        attempt(&mut verifier, &es256("a", "x"), NOW.plus(4_999)),
        Outcome::BadToken(ApiError::Upstream)
    );
    assert_eq!(attempt(&mut verifier, &es256("a", "x"), NOW.plus(5_000)), Outcome::FetchKeys);
}

#[test]
fn a_key_that_was_taken_back_lets_nobody_in_after_ten_minutes() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("old"), ec("new")])), NOW);
    // Remembered as late as can be.
    assert_eq!(attempt(&mut verifier, &es256("old", "x"), NOW.plus(10 * MINUTE - 1)), Outcome::Verified);
    assert_eq!(attempt(&mut verifier, &es256("old", "x"), NOW.plus(10 * MINUTE)), Outcome::FetchKeys);
    verifier.learn_keys(Some(&jwks(&[ec("new")])), NOW.plus(10 * MINUTE));
    let unknown = Outcome::BadToken(ApiError::Unauthenticated);
    assert_eq!(attempt(&mut verifier, &es256("old", "x"), NOW.plus(10 * MINUTE)), unknown);
    assert_eq!(attempt(&mut verifier, &es256("new", "x"), NOW.plus(10 * MINUTE)), Outcome::Verified);
}

#[test]
fn a_token_whose_key_went_while_its_signature_was_verified_is_not_remembered() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("old")])), NOW);
    let Ok(Step::Verify(claimed)) = verifier.decide(&es256("old", "x"), NOW) else { panic!("a signature") };
    verifier.learn_keys(Some(&jwks(&[ec("new")])), NOW);
    assert!(verifier.learn_signature(claimed, true, NOW).is_ok());
    assert_eq!(attempt(&mut verifier, &es256("old", "x"), NOW), Outcome::BadToken(ApiError::Unauthenticated));
}

#[test]
fn a_new_token_is_remembered_however_many_came_before() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW);
    for number in 0..=limits::TOKENS_REMEMBERED {
        assert_eq!(attempt(&mut verifier, &es256("a", &number.to_string()), NOW), Outcome::Verified);
        assert!(verifier.known.len() <= limits::TOKENS_REMEMBERED);
    }
    let last = limits::TOKENS_REMEMBERED.to_string();
    assert_eq!(attempt(&mut verifier, &es256("a", &last), NOW), Outcome::Remembered);
}

#[test]
fn a_secret_that_an_issuer_publishes_is_none() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[oct("a"), ec("b")])), NOW);
    let header = Header::empty().with_key_id("a");
    let token = Hs256.token(&header, &Claims::new(claims()), &Hs256Key::new(SECRET)).expect("a token");
    let outcome = attempt(&mut verifier, &format!("Bearer {token}"), NOW);
    assert_eq!(outcome, Outcome::BadToken(ApiError::Unauthenticated));
}

#[test]
fn keys_come_from_a_url_that_nobody_can_meddle_with_and_for_an_issuer_or_audience() {
    let good = ["https://a.example/jwks", "http://localhost:8080/jwks", "http://127.0.0.1:8080/jwks"];
    let bad = [
        "http://a.example/jwks",
        "ftp://a",
        "http://localhost.example/",
        "http://127.0.0.1.example/",
        "http://localhost:x@a.example/",
        "http://localhost:80@a.example/",
        "http://localhost@a.example/",
        "x",
    ];
    for (urls, is_good) in [(&good[..], true), (&bad[..], false)] {
        for url in urls {
            let mut verifier = verifier_of(&[("JWKS_URL", (*url).to_owned())]);
            assert_eq!(
                (verifier.has_key(), verifier.take_problems().is_empty()),
                (is_good, is_good),
                "{url}"
            );
        }
    }
    let config = Config::read(|name| (name == "JWKS_URL").then(|| URL.to_owned()));
    assert!(!Verifier::new(&config.edge.token).has_key());
}

#[test]
fn what_is_wrong_with_an_issuers_keys_is_told_once_however_often_they_are_fetched() {
    let mut verifier = verifier_of(&[("JWKS_URL", URL.to_owned()), ("JWT_KEYS", jwks(&[ec("a")]))]);
    let (mut weak, mut sealing, mut another) = (rsa("weak"), rsa("sealing"), ec("a"));
    weak["n"] = encode([0xc5; 128]).into();
    sealing["use"] = "enc".into();
    another["x"] = encode([9; 32]).into();
    let keys = [weak, sealing, another];
    verifier.learn_keys(Some(&jwks(&keys)), NOW);
    let problems = verifier.take_problems();
    assert_eq!(problems.len(), 2, "a key that is for something else is no problem: {problems:?}");
    assert_eq!(problems[0], "JWKS_URL: key 1 (kid weak) has not 2048 to 8192 bits");
    assert!(problems[1].starts_with("JWT_KEYS: key 1 (kid a) and JWKS_URL: key 3 (kid a) are different"));
    verifier.learn_keys(Some(&jwks(&[&keys[..], &[ed("new")]].concat())), NOW.plus(MINUTE));
    assert_eq!(verifier.take_problems(), [""; 0]);
    for number in 0..1000 {
        let mut weak = rsa(&format!("weak {number}"));
        weak["n"] = encode([0xc5; 128]).into();
        verifier.learn_keys(Some(&jwks(&[weak])), NOW.plus(number * MINUTE));
    }
    assert!(
        verifier.take_problems().len() <= limits::KEY_PROBLEMS_TOLD,
        "the log cannot be filled by an issuer"
    );
    verifier.learn_keys(Some(&jwks(&[rsa("weak at last")])), NOW);
    assert!(verifier.told.len() <= limits::KEY_PROBLEMS_TOLD);
}

#[test]
fn a_key_in_both_places_is_one_key() {
    let mut verifier = verifier_of(&[("JWKS_URL", URL.to_owned()), ("JWT_KEYS", jwks(&[ec("a")]))]);
    assert_eq!(attempt(&mut verifier, &es256("a", "x"), NOW), Outcome::Verified);
    verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW);
    assert_eq!(attempt(&mut verifier, &es256("a", "y"), NOW), Outcome::Verified);
}

#[test]
fn a_key_that_the_platform_does_not_know_for_one_is_told_once_by_its_name() {
    let mut verifier = verifier_with_issuer();
    verifier.learn_keys(Some(&jwks(&[ec("a")])), NOW);
    for time in 0..3 {
        let Ok(Step::Verify(claimed)) = verifier.decide(&es256("a", "x"), NOW) else { panic!("a signature") };
        verifier.learn_bad_key(&claimed);
        assert!(verifier.learn_signature(claimed, false, NOW).is_err());
        let told = verifier.take_problems();
        assert_eq!(told.len(), usize::from(time == 0), "{told:?}");
        assert!(told.iter().all(|problem| problem.starts_with("JWKS_URL: key 1 (kid a) ")), "{told:?}");
    }
}

/// What may happen to a verifier.
#[derive(Debug, Clone)]
enum Event {
    /// A token that is signed with key `.0`, by subject `.1`.
    Decide(u8, u8),
    /// The verification that was begun first ends.
    Verified(bool),
    Keys(Option<Vec<u8>>),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0..4_u8, 0..2_u8).prop_map(|(key, subject)| Event::Decide(key, subject)),
        4 => any::<bool>().prop_map(Event::Verified),
        2 => proptest::option::of(proptest::collection::vec(0..4_u8, 0..3)).prop_map(Event::Keys),
        2 => prop_oneof![0..10_u64, 50_000..70_000_u64, 500_000..700_000_u64].prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whoever is let in without a look at the signature was verified less than ten minutes ago, with a key that the issuer
    /// had when it was last asked; and keys that were just fetched are not fetched again within a minute.
    #[test]
    fn nothing_is_remembered_before_its_signature_was_verified(
        events in proptest::collection::vec(event(), 1..60),
    ) {
        let mut verifier = verifier_with_issuer();
        let (mut now, mut keys, mut fetched_at) = (NOW, Vec::new(), None);
        let mut waiting: Vec<(u8, u8, Claimed)> = Vec::new();
        let mut verified: BTreeMap<(u8, u8), Millis> = BTreeMap::new();
        for event in events {
            match event {
                Event::Decide(key, subject) => {
                    let token = es256(&format!("k{key}"), &format!("s{subject}"));
                    match verifier.decide(&token, now) {
                        Ok(Step::Bearer(caller)) => {
                            prop_assert_eq!(caller.private_space, SpaceHash::private("issuer", &format!("s{subject}")));
                            let at = verified.get(&(key, subject)).copied();
                            prop_assert!(at.is_some_and(|at| now.since(at) < 10 * MINUTE), "{:?}", at);
                            prop_assert!(keys.contains(&key), "the key is gone");
                        }
                        Ok(Step::Verify(claimed)) => {
                            prop_assert!(keys.contains(&key), "there is no such key");
                            waiting.push((key, subject, claimed));
                        }
                        Ok(Step::FetchKeys) => {
                            prop_assert!(fetched_at.is_none_or(|at| now.since(at) >= MINUTE));
                        }
                        Err(refused) => prop_assert!(!keys.contains(&key), "{:?}", refused),
                    }
                }
                Event::Verified(is_good) => {
                    if !waiting.is_empty() {
                        let (key, subject, claimed) = waiting.remove(0);
                        let outcome = verifier.learn_signature(claimed, is_good, now);
                        prop_assert_eq!(outcome.is_ok(), is_good);
                        if is_good {
                            verified.insert((key, subject), now);
                        }
                    }
                }
                Event::Keys(answer) => {
                    let set = |ids: &Vec<u8>| ids.iter().map(|id| ec(&format!("k{id}"))).collect::<Vec<_>>();
                    let mut distinct = answer.clone();
                    if let Some(ids) = &mut distinct {
                        ids.sort_unstable();
                        ids.dedup();
                    }
                    verifier.learn_keys(distinct.as_ref().map(|ids| jwks(&set(ids))).as_deref(), now);
                    if let Some(ids) = distinct {
                        (keys, fetched_at) = (ids, Some(now));
                    }
                }
                Event::Pass(ms) => now = now.plus(ms),
            }
        }
    }
}
