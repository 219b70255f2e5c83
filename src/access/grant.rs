//! Grants: a member's leave to read a shared space at the edge, which asks nobody (I9).
//!
//! The space's coordinator signs one for whoever is a member at that moment, for ten minutes at most. It is a JWT of HS256 under
//! a key of its own, names the user, the space and its incarnation, and is worth nothing in anybody else's hand. It says
//! nothing about writing: what reaches the coordinator is checked against the members as they are.

use std::collections::BTreeMap;

use crate::{
    access::signer::Signer,
    error::ApiError,
    ids::{SpaceHash, UserHash},
    json::text_field,
    limits,
    role::Role,
    snapshot::keys::Scope,
    time::Millis,
    version::Epoch,
};
use base64ct::{Base64UrlUnpadded, Encoding};

/// Stands before the secret in the key, so that a grant is no token and a token no grant, even if both have one secret.
const DOMAIN: &str = "headwater grant\n";
/// `{"alg":"HS256","typ":"JWT"}`: the header of every grant, and no other is one.
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// A verified grant.
#[derive(Debug, Clone)]
struct Verified {
    user: UserHash,
    space: SpaceHash,
    scope: Scope,
    ends: Millis,
}

/// Signs grants, and verifies each once: an isolate sees the same one with every pull of a client.
#[derive(Debug)]
pub struct Granter {
    signer: Signer,
    known: BTreeMap<String, Verified>,
}

impl Granter {
    /// A granter that signs with this secret, if there is one, and verifies with another one too, if there is that.
    #[must_use]
    pub fn new(secret: Option<&str>, other: Option<&str>) -> Self {
        Self { signer: Signer::new(DOMAIN, secret, other), known: BTreeMap::new() }
    }

    /// A grant for `user` to read the space under `scope`, and when it ends.
    ///
    /// # Errors
    /// [`ApiError::Internal`] when there is no key.
    pub fn sign(
        &self,
        user: &UserHash,
        scope: &Scope,
        role: Role,
        now: Millis,
    ) -> Result<(String, Millis), ApiError> {
        // Tokens count in seconds.
        let ends = Millis(now.plus(limits::GRANT_MS).0 / 1000 * 1000);
        let claims = claims(user, scope, role, ends).ok_or(ApiError::Internal)?;
        let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
        Ok((self.signer.sign(&format!("{HEADER}.{claims}"))?, ends))
    }

    /// Under what the keys of `space` stand, if `grant` lets `user` read it.
    ///
    /// # Errors
    /// [`ApiError::GrantRequired`], whatever is wrong with it; [`ApiError::Internal`] when there is no key.
    #[inline(never)]
    pub fn open(
        &mut self,
        grant: &str,
        user: &UserHash,
        space: &SpaceHash,
        now: Millis,
    ) -> Result<Scope, ApiError> {
        self.signer.check()?;
        let known = self.known.get(grant).cloned();
        let verified = known.or_else(|| self.verify(grant)).ok_or(ApiError::GrantRequired)?;
        // Of a grant that ends later than any of ours, somebody else has the secret.
        let is_of_now =
            now < verified.ends && verified.ends.since(now) <= limits::GRANT_MS + limits::GRANT_SKEW_MS;
        let is_of_now = is_of_now || planted!(GrantNeverEnds);
        let is_theirs = verified.user == *user || planted!(GrantOfAnybody);
        let is_for_it = verified.space == *space || planted!(GrantForAnySpace);
        if !is_of_now || !is_theirs || !is_for_it {
            self.known.remove(grant);
            return Err(ApiError::GrantRequired);
        }
        let scope = verified.scope.clone();
        self.remember(grant, verified, now);
        Ok(scope)
    }

    fn verify(&self, grant: &str) -> Option<Verified> {
        if grant.len() > limits::GRANT_BYTES_MAX {
            return None;
        }
        let (header, text) = self.signer.read(grant)?.split_once('.')?;
        if header != HEADER {
            return None;
        }
        let text = Base64UrlUnpadded::decode_vec(text).ok()?;
        let text = String::from_utf8(text).ok()?;
        let said = |name: &str| text_field(&text, name);
        let user = UserHash::parse(&said("user")?).ok()?;
        let space = SpaceHash::parse(&said("space")?).ok()?;
        let scope = Scope::shared(&space, &Epoch::parse(&said("incarnation")?)?);
        let role = Role::parse(&said("role")?)?;
        let ends: u64 = text.strip_prefix("{\"exp\":")?.split_once(',')?.0.parse().ok()?;
        let ends = Millis(ends.checked_mul(1000)?);
        // Not a word more or less or otherwise than we write it ourselves, so that nothing in it can be read in two ways.
        (claims(&user, &scope, role, ends)? == text).then_some(Verified { user, space, scope, ends })
    }

    fn remember(&mut self, grant: &str, verified: Verified, now: Millis) {
        if self.known.contains_key(grant) {
            return;
        }
        if self.known.len() >= limits::GRANTS_REMEMBERED {
            self.known.retain(|_, known| now < known.ends);
        }
        // All are verified once more, rather than every later one with each request.
        if self.known.len() >= limits::GRANTS_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(grant.to_owned(), verified);
    }
}

/// What a grant says. The role is for whoever looks into it; every role reads.
fn claims(user: &UserHash, scope: &Scope, role: Role, ends: Millis) -> Option<String> {
    let (space, incarnation) = scope.parts()?;
    Some(format!(
        r#"{{"exp":{},"user":"{}","space":"{}","incarnation":"{incarnation}","role":"{}"}}"#,
        ends.0 / 1000,
        user.as_str(),
        space.as_str(),
        role.as_str(),
    ))
}

#[cfg(test)]
mod tests {
    use jwt_compact::{
        Algorithm, AlgorithmSignature,
        alg::{Hs256, Hs256Key},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        access::token::{TokenConfig, Verifier},
        ids::SpaceId,
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Millis = Millis(1_795_341_182_500);

    fn config(secret: &str) -> crate::config::Config {
        crate::config::Config::read(|name| (name == "GRANT_SECRET").then(|| secret.to_owned()))
    }

    fn granter() -> Granter {
        Granter::new(Some(SECRET), None)
    }

    fn user(name: &str) -> UserHash {
        UserHash::new("issuer", name)
    }

    fn space(id: &str) -> SpaceHash {
        SpaceHash::shared(&SpaceId::parse(id).expect("an id"))
    }

    fn scope() -> Scope {
        Scope::shared(&space("team"), &Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch"))
    }

    fn grant() -> String {
        granter().sign(&user("alice"), &scope(), Role::Reader, NOW).expect("a grant").0
    }

    /// What alice gets with a grant for `team`.
    fn opened(grant: &str, now: Millis) -> Result<Scope, ApiError> {
        granter().open(grant, &user("alice"), &space("team"), now)
    }

    #[test]
    fn a_grant_opens_its_space_for_its_user_until_it_ends() {
        let mut granter = granter();
        let (grant, ends) = granter.sign(&user("alice"), &scope(), Role::Reader, NOW).expect("a grant");
        assert!(ends <= NOW.plus(limits::GRANT_MS) && ends.0 + 1_000 > NOW.plus(limits::GRANT_MS).0);
        for _ in 0..2 {
            let mut open = |name: &str, id: &str, now| granter.open(&grant, &user(name), &space(id), now);
            assert_eq!(open("alice", "team", NOW), Ok(scope()));
            assert_eq!(open("alice", "team", Millis(ends.0 - 1)), Ok(scope()));
            assert_eq!(open("alice", "team", ends), Err(ApiError::GrantRequired), "not a millisecond longer");
            assert_eq!(open("mallory", "team", NOW), Err(ApiError::GrantRequired));
            assert_eq!(open("alice", "other", NOW), Err(ApiError::GrantRequired));
            assert_eq!(open("alice", "team", NOW), Ok(scope()), "who tries it in vain spoils it for nobody");
        }
    }

    #[test]
    fn a_secret_changes_in_three_steps_at_each_of_which_old_and_new_versions_open_each_others_grants() {
        let (old, new) = (Some(SECRET), Some("fedcba9876543210fedcba9876543210"));
        let steps = [(old, None), (old, new), (new, old), (new, None)];
        let granters = steps.map(|(secret, other)| Granter::new(secret, other));
        for (signs, signer) in granters.iter().enumerate() {
            let (grant, _) = signer.sign(&user("alice"), &scope(), Role::Reader, NOW).expect("a grant");
            for (opens, (secret, other)) in steps.into_iter().enumerate() {
                let opened = Granter::new(secret, other).open(&grant, &user("alice"), &space("team"), NOW);
                assert!(opened.is_ok() || signs.abs_diff(opens) > 1, "signed at {signs}, opened at {opens}");
            }
        }
        let (grant, _) = granters[0].sign(&user("alice"), &scope(), Role::Reader, NOW).expect("a grant");
        let mut last = Granter::new(new, None);
        let opened = last.open(&grant, &user("alice"), &space("team"), NOW);
        assert_eq!(opened, Err(ApiError::GrantRequired), "the old secret opens nothing in the end");
    }

    #[test]
    fn a_grant_is_pinned_because_object_and_edge_are_deployed_apart() {
        let grant = grant();
        let claims = Base64UrlUnpadded::decode_vec(grant.split('.').nth(1).expect("claims")).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        let expected = json!({
            "exp": 1_795_341_782, "user": user("alice").as_str(), "space": space("team").as_str(),
            "incarnation": "0mwrnsa6yk3v9q2", "role": "reader",
        });
        assert_eq!(claims, expected, "pulls of shared spaces would fail while a deployment is under way");
    }

    #[test]
    fn a_token_is_no_grant_and_a_grant_no_token_even_with_one_secret() {
        let mut verifier =
            Verifier::new(&TokenConfig { secret: Some(SECRET.to_owned()), ..TokenConfig::default() });
        let refused = verifier.decide(&format!("Bearer {}", grant()), NOW);
        assert!(matches!(refused, Err(refused) if refused.error == ApiError::Unauthenticated));
        let claims = String::from_utf8(
            Base64UrlUnpadded::decode_vec(grant().split('.').nth(1).expect("claims")).expect("b64"),
        )
        .expect("text");
        assert_eq!(opened(&signed(HS, &claims, SECRET), NOW), Err(ApiError::GrantRequired));
    }

    #[test]
    fn without_a_good_secret_nothing_is_signed_or_opened() {
        for secret in ["", "short", &SECRET[1..]] {
            let mut granter = Granter::new(config(secret).edge.grant_secret.as_deref(), None);
            assert_eq!(granter.sign(&user("alice"), &scope(), Role::Reader, NOW), Err(ApiError::Internal));
            let opened = granter.open(&grant(), &user("alice"), &space("team"), NOW);
            assert_eq!(opened, Err(ApiError::Internal));
        }
    }

    #[test]
    fn only_so_many_are_remembered_and_all_of_them_work() {
        let mut granter = granter();
        for number in 0..limits::GRANTS_REMEMBERED + 10 {
            let user = user(&number.to_string());
            let (grant, _) = granter.sign(&user, &scope(), Role::Reader, NOW).expect("a grant");
            assert_eq!(granter.open(&grant, &user, &space("team"), NOW), Ok(scope()));
            assert!(granter.known.len() <= limits::GRANTS_REMEMBERED);
        }
    }

    const HS: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        Base64UrlUnpadded::encode_string(bytes.as_ref())
    }

    fn signed(header: &str, claims: &str, secret: &str) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let signature = Hs256.sign(&Hs256Key::new(secret.as_bytes()), text.as_bytes());
        format!("{text}.{}", encode(AlgorithmSignature::as_bytes(&signature)))
    }

    /// Claims as we write them, with a change. What is taken out is null.
    fn claims(change: impl Fn(&mut Value)) -> String {
        let mut claims = json!({
            "exp": NOW.0 / 1000 + 600, "user": user("alice").as_str(), "space": space("team").as_str(),
            "incarnation": "0mwrnsa6yk3v9q2", "role": "reader",
        });
        change(&mut claims);
        let names = ["exp", "user", "space", "incarnation", "role", "pad"];
        let written = names.iter().filter_map(|name| Some(format!("{name:?}:{}", claims.get(name)?)));
        format!("{{{}}}", written.collect::<Vec<_>>().join(","))
    }

    /// A grant with these claims under the right key.
    fn ours(change: impl Fn(&mut Value)) -> String {
        signed(HS, &claims(change), &format!("{DOMAIN}{SECRET}"))
    }

    fn hostile() -> Vec<(&'static str, String)> {
        let good = claims(|_| ());
        let key = format!("{DOMAIN}{SECRET}");
        let now_s = NOW.0 / 1000;
        let with_header = |header: &str| signed(header, &good, &key);
        let repeated = |text: &str| signed(HS, &good.replacen('{', &format!("{{{text},"), 1), &key);
        let whole = grant();
        let parts: Vec<_> = whole.split('.').map(str::to_owned).collect();
        vec![
            ("nothing", String::new()),
            ("no dots", "grant".to_owned()),
            ("nothing between the dots", "..".to_owned()),
            ("a scheme before it", format!("Bearer {whole}")),
            ("another secret", signed(HS, &good, &"x".repeat(32))),
            ("the secret without its domain", signed(HS, &good, SECRET)),
            ("the algorithm none", format!("{}.{}.", encode(r#"{"alg":"none"}"#), parts[1])),
            ("the algorithm none over a good signature", with_header(r#"{"alg":"none"}"#)),
            ("HS512 over HS256", with_header(r#"{"alg":"HS512"}"#)),
            ("RS256 over HS256", with_header(r#"{"alg":"RS256"}"#)),
            ("ES256 over HS256", with_header(r#"{"alg":"ES256"}"#)),
            ("no algorithm", with_header("{}")),
            ("a header of another order", with_header(r#"{"typ":"JWT","alg":"HS256"}"#)),
            ("no type", with_header(r#"{"alg":"HS256"}"#)),
            ("two algorithms", with_header(r#"{"alg":"none","alg":"HS256"}"#)),
            ("a critical extension", with_header(r#"{"alg":"HS256","crit":["b64"]}"#)),
            ("another user's claims", ours(|claims| claims["user"] = user("bob").as_str().into())),
            ("another space", ours(|claims| claims["space"] = space("other").as_str().into())),
            (
                "a private space",
                ours(|claims| claims["space"] = SpaceHash::private("issuer", "alice").as_str().into()),
            ),
            ("a space that is no hash", ours(|claims| claims["space"] = "team".into())),
            (
                "an incarnation that is a path",
                ours(|claims| claims["incarnation"] = "0mwrnsa6yk3v9q2/../x".into()),
            ),
            ("no incarnation", ours(|claims| claims["incarnation"] = Value::Null)),
            ("one claim more", ours(|claims| claims["pad"] = "x".into())),
            ("a space between", signed(HS, &good.replace(':', ": "), &key)),
            (
                "another order",
                signed(HS, &serde_json::from_str::<Value>(&good).expect("JSON").to_string(), &key),
            ),
            ("a role there is none of", ours(|claims| claims["role"] = "admin".into())),
            ("an end that has come", ours(|claims| claims["exp"] = now_s.into())),
            ("an end an hour ago", ours(|claims| claims["exp"] = (now_s - 3_600).into())),
            ("an end in an hour", ours(|claims| claims["exp"] = (now_s + 3_600).into())),
            ("an end just too late", ours(|claims| claims["exp"] = (now_s + 600 + 61).into())),
            ("no end", ours(|claims| claims["exp"] = Value::Null)),
            ("an end that is text", ours(|claims| claims["exp"] = (now_s + 60).to_string().into())),
            ("an end beyond all calendars", ours(|claims| claims["exp"] = i64::MAX.into())),
            ("an end before all times", ours(|claims| claims["exp"] = i64::MIN.into())),
            ("two ends", repeated(&format!(r#""exp":{}"#, now_s + 60))),
            ("two users", repeated(&format!(r#""user":"{}""#, user("bob").as_str()))),
            (
                "two users, one of them disguised",
                repeated(&format!(r#""\u0075ser":"{}""#, user("bob").as_str())),
            ),
            ("claims that are a list", signed(HS, &format!("[{good}]"), &key)),
            ("claims that break off", signed(HS, &good[..good.len() - 1], &key)),
            (
                "changed claims under an old signature",
                format!("{}.{}.{}", parts[0], encode(claims(|c| c["role"] = "owner".into())), parts[2]),
            ),
            ("a cut signature", whole[..whole.len() - 4].to_owned()),
            ("no signature", format!("{}.{}.", parts[0], parts[1])),
            ("a fourth part", format!("{whole}.x")),
            ("padding", format!("{whole}=")),
            ("bad base64", whole.replace('.', ".!")),
            ("8 KiB", ours(|claims| claims["pad"] = "x".repeat(8 * 1024).into())),
            ("8 KiB of nothing", "a".repeat(8 * 1024)),
        ]
    }

    #[test]
    fn no_hostile_grant_opens_anything() {
        assert_eq!(opened(&ours(|_| ()), NOW), Ok(scope()), "the table's own good one");
        for (what, grant) in hostile() {
            assert_eq!(opened(&grant, NOW), Err(ApiError::GrantRequired), "{what}");
        }
    }
}
