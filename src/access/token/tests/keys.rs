//! Which key a token is verified with, and which keys are none.

use super::*;

fn with_keys(keys: &[Value]) -> Verifier {
    verifier_of(&[("JWT_KEYS", jwks(keys))])
}

/// The JWK that a token with this algorithm and key id is to be verified with.
fn chosen(verifier: &mut Verifier, alg: &str, kid: Option<&str>) -> Option<Value> {
    let header = kid.map_or_else(|| json!({ "alg": alg }), |kid| json!({ "alg": alg, "kid": kid }));
    let signature = vec![7; if alg == "RS256" { 256 } else { 64 }];
    match verifier.decide(&bearing(header, claims(), &signature), NOW) {
        Ok(Step::Verify(claimed)) => Some(serde_json::from_str(&claimed.key.jwk).expect("a JWK")),
        Ok(step) => panic!("{step:?}"),
        Err(refused) => {
            assert_eq!(refused.error, ApiError::Unauthenticated);
            None
        }
    }
}

#[test]
fn a_token_is_verified_with_the_key_it_names_if_that_has_its_algorithm() {
    let mut verifier = with_keys(&[ec("a"), rsa("b"), ed("c"), oct("d")]);
    for (alg, kid, kty) in [("ES256", "a", "EC"), ("RS256", "b", "RSA"), ("EdDSA", "c", "OKP")] {
        assert_eq!(chosen(&mut verifier, alg, Some(kid)).expect("a key")["kty"], kty);
    }
    for (alg, kid) in [("ES256", "b"), ("RS256", "a"), ("EdDSA", "a"), ("RS256", "d"), ("ES256", "e")] {
        assert_eq!(chosen(&mut verifier, alg, Some(kid)), None, "{alg} {kid}");
    }
}

#[test]
fn a_token_without_a_key_id_means_the_only_key_of_its_algorithm() {
    let mut verifier =
        with_keys(&[ec("a"), ed("c"), rsa("b"), changed(rsa("b2"), "n", encode([0xc7; 256]).into())]);
    assert!(chosen(&mut verifier, "ES256", None).is_some());
    assert!(chosen(&mut verifier, "EdDSA", None).is_some());
    assert_eq!(chosen(&mut verifier, "RS256", None), None, "two could be meant");
}

fn changed(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn a_key_id_that_two_different_keys_have_means_neither_and_the_log_says_so() {
    let another = changed(rsa("b"), "n", encode([0xc7; 256]).into());
    let mut verifier = with_keys(&[rsa("b"), another, ec("b")]);
    assert_eq!(chosen(&mut verifier, "RS256", Some("b")), None);
    assert!(chosen(&mut verifier, "ES256", Some("b")).is_some(), "of this algorithm only one has it");
    let [problem] = &verifier.take_problems()[..] else { panic!("one problem") };
    assert!(
        problem.starts_with("JWT_KEYS: key 1 (kid b) and JWT_KEYS: key 2 (kid b) are different"),
        "{problem}"
    );
}

#[test]
fn a_key_that_stands_there_twice_is_one_key_and_the_log_says_so() {
    let with_more = changed(changed(rsa("b"), "x5c", json!([])), "alg", Value::Null);
    for (keys, alg, kid) in [
        (vec![rsa("b"), rsa("b")], "RS256", Some("b")),
        (vec![rsa("b"), with_more], "RS256", Some("b")),
        (vec![ec("a"), ec("a"), ec("a")], "ES256", Some("a")),
        (vec![ed("c"), ed("c")], "EdDSA", None),
    ] {
        let mut verifier = with_keys(&keys);
        assert!(chosen(&mut verifier, alg, kid).is_some(), "{keys:?}");
        let problems = verifier.take_problems();
        assert_eq!(problems.len(), keys.len() - 1, "{problems:?}");
        assert!(problems[0].contains("are the same key"), "{problems:?}");
        assert_eq!(verifier.take_problems(), [""; 0], "each is told once");
    }
    // Under two names it is no mistake.
    let mut verifier = with_keys(&[ec("a"), ec("a2")]);
    assert!(chosen(&mut verifier, "ES256", None).is_some());
    assert_eq!(verifier.take_problems(), [""; 0]);
    let secrets = [("JWT_SECRET", SECRET.to_owned()), ("JWT_KEYS", jwks(&[oct("d")]))];
    let mut verifier = verifier_of(&secrets);
    assert!(verify(&mut verifier, &token(&claims(), SECRET), NOW).is_ok());
}

#[test]
fn a_key_id_that_a_key_of_another_algorithm_has_means_no_other_key() {
    let hs256 = |verifier: &mut Verifier, kid: &str| {
        let token =
            Hs256.token(&Header::empty().with_key_id(kid), &Claims::new(claims()), &Hs256Key::new(SECRET));
        verify(verifier, &format!("Bearer {}", token.expect("a token")), NOW)
    };
    let mut verifier =
        verifier_of(&[("JWT_SECRET", SECRET.to_owned()), ("JWT_KEYS", jwks(&[rsa("r"), ec("e")]))]);
    assert!(hs256(&mut verifier, "nobody's").is_ok(), "the secret has no name, and this is no other key's");
    for kid in ["r", "e"] {
        assert_eq!(hs256(&mut verifier, kid), Err(ApiError::Unauthenticated), "{kid}");
    }
    let mut nameless = ec("");
    nameless.as_object_mut().expect("an object").remove("kid");
    let mut verifier = with_keys(&[nameless, rsa("r"), oct("h")]);
    assert!(chosen(&mut verifier, "ES256", Some("nobody's")).is_some());
    for kid in ["r", "h"] {
        assert_eq!(chosen(&mut verifier, "ES256", Some(kid)), None, "{kid}");
    }
}

#[test]
fn numbers_of_keys_may_have_zeros_before_them_or_lack_them_and_texts_may_be_padded() {
    let zero = |bytes: &[u8]| encode([&[0_u8][..], bytes].concat());
    let plain = chosen(&mut with_keys(&[rsa("k")]), "RS256", Some("k")).expect("a key");
    for key in [
        changed(rsa("k"), "n", zero(&[0xc5; 256]).into()),
        changed(rsa("k"), "n", zero(&[&[0_u8][..], &[0xc5; 256]].concat()).into()),
        changed(rsa("k"), "n", format!("{}==", encode([0xc5; 256])).into()),
        changed(rsa("k"), "e", zero(&[1, 0, 1]).into()),
    ] {
        assert_eq!(chosen(&mut with_keys(&[key]), "RS256", Some("k")), Some(plain.clone()));
    }
    let small = [&[0_u8][..], &[7; 31]].concat();
    let plain = chosen(&mut with_keys(&[changed(ec("k"), "x", encode(&small).into())]), "ES256", Some("k"));
    assert!(plain.is_some());
    for x in [encode([7; 31]), zero(&small), format!("{}=", encode(&small))] {
        assert_eq!(chosen(&mut with_keys(&[changed(ec("k"), "x", x.into())]), "ES256", Some("k")), plain);
    }
}

#[test]
fn ed25519_is_a_name_of_eddsa() {
    for alg in ["EdDSA", "Ed25519"] {
        let mut verifier = with_keys(&[changed(ed("c"), "alg", alg.into())]);
        for of_token in ["EdDSA", "Ed25519"] {
            assert!(chosen(&mut verifier, of_token, Some("c")).is_some(), "{alg} {of_token}");
        }
    }
}

#[test]
fn a_key_without_an_id_serves_tokens_that_name_no_other() {
    let mut nameless = ec("");
    nameless.as_object_mut().expect("an object").remove("kid");
    let mut named = ec("a");
    named["x"] = encode([9; 32]).into();
    let mut verifier = with_keys(&[nameless, named]);
    let x = |key: Option<Value>| key.map(|key| key["x"].clone());
    assert_eq!(x(chosen(&mut verifier, "ES256", Some("a"))), Some(encode([9; 32]).into()));
    assert_eq!(x(chosen(&mut verifier, "ES256", None)), Some(encode([1; 32]).into()));
    assert_eq!(x(chosen(&mut verifier, "ES256", Some("other"))), Some(encode([1; 32]).into()));
}

#[test]
fn two_secrets_overlap_while_one_takes_the_others_place() {
    let next = "f".repeat(32);
    let jwk = json!({ "kty": "oct", "kid": "next", "k": encode(&next), "alg": "HS256" });
    let mut both =
        verifier_of(&[("JWT_SECRET", SECRET.to_owned()), ("JWT_KEYS", jwks(std::slice::from_ref(&jwk)))]);
    let sign = |secret: &str, header: &Header| {
        let claims = Claims::new(claims());
        format!("Bearer {}", Hs256.token(header, &claims, &Hs256Key::new(secret)).expect("a token"))
    };
    let old = sign(SECRET, &Header::empty());
    let new = sign(&next, &Header::empty().with_key_id("next"));
    assert!(verify(&mut both, &old, NOW).is_ok() && verify(&mut both, &new, NOW).is_ok());
    let mut after = verifier_of(&[("JWT_KEYS", jwks(&[jwk]))]);
    assert!(verify(&mut after, &new, NOW).is_ok());
    assert_eq!(verify(&mut after, &old, NOW), Err(ApiError::Unauthenticated));
}

#[test]
fn what_the_platform_is_given_has_nothing_in_it_but_the_key() {
    let mut key = ec("a");
    key["d"] = encode([4; 32]).into();
    key["key_ops"] = json!(["sign"]);
    let given = chosen(&mut with_keys(&[key]), "ES256", Some("a")).expect("a key");
    assert_eq!(given, json!({ "kty": "EC", "crv": "P-256", "x": encode([1; 32]), "y": encode([2; 32]) }));
}

#[test]
fn a_key_that_is_weak_or_for_something_else_is_none_and_the_log_says_why() {
    let of = changed;
    for (key, why) in [
        (of(rsa("k"), "n", encode([0xc5; 128]).into()), "has not 2048 to 8192 bits"),
        (of(rsa("k"), "n", encode([0x7f; 256]).into()), "has not 2048 to 8192 bits"),
        (of(rsa("k"), "n", encode([&[0_u8][..], &[0x7f; 256]].concat()).into()), "has not 2048 to 8192 bits"),
        (of(rsa("k"), "n", encode([0xc5; 1025]).into()), "has not 2048 to 8192 bits"),
        (of(rsa("k"), "n", "".into()), "has not 2048 to 8192 bits"),
        (of(rsa("k"), "e", "AQ".into()), "has another exponent than 65537"),
        (of(rsa("k"), "alg", "PS256".into()), "is for an algorithm that is not supported"),
        (of(rsa("k"), "use", "enc".into()), "is not for signatures"),
        (of(ec("k"), "crv", "P-384".into()), "is not on P-256"),
        (of(ec("k"), "x", encode([1; 48]).into()), "is not on P-256"),
        (of(ec("k"), "alg", "RS256".into()), "is for an algorithm that is not supported"),
        (of(ec("k"), "y", Value::Null), "lacks a member"),
        (of(ed("k"), "crv", "X25519".into()), "is not on Ed25519"),
        (of(ed("k"), "x", encode([3; 31]).into()), "is not on Ed25519"),
        (of(ed("k"), "x", "a+b/".into()), "has a member that is not base64url"),
        (of(ec("k"), "x", encode([1; 33]).into()), "is not on P-256"),
        (of(oct("k"), "k", encode([5; 31]).into()), "is shorter than 32 bytes"),
        (of(oct("k"), "kty", "AKP".into()), "has a kty that is not supported"),
        (json!("no object"), "has a kty that is not supported"),
    ] {
        let mut verifier = with_keys(std::slice::from_ref(&key));
        let kid = if key.is_object() { "kid k" } else { "no kid" };
        let none = "JWT_KEYS has no key that tokens can be verified with";
        assert_eq!(
            verifier.take_problems(),
            [format!("JWT_KEYS: key 1 ({kid}) {why}").as_str(), none],
            "{key}"
        );
        assert!(!verifier.has_key(), "{key}");
        // And it does no harm to the others.
        assert!(chosen(&mut with_keys(&[key, ec("good")]), "ES256", Some("good")).is_some());
    }
}

#[test]
fn a_document_that_is_none_is_no_key_and_lets_nobody_in() {
    for document in ["", "{", "[]", "null", "{}", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "<html>", r#"["keys"]"#]
    {
        let mut verifier = verifier_of(&[("JWT_KEYS", document.to_owned())]);
        let refused = verifier.decide(&token(&claims(), SECRET), NOW).expect_err("no access");
        assert_eq!(refused.error, ApiError::Internal, "{document}");
    }
}
