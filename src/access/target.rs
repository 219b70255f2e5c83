//! Which space a request is for, and who is calling. Everything is keyed by hashes of what was verified, nothing by a
//! parameter (I9).

use crate::{
    access::{grant::Granter, token::Bearer},
    call::{self, Destination},
    error::ApiError,
    ids::{SpaceHash, SpaceId},
    snapshot::keys::Scope,
    time::Millis,
};

/// The space that a request is for, and who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Who is calling.
    pub caller: Bearer,
    /// Under what the object is called.
    pub hash: SpaceHash,
    /// The id of a shared space; none for the caller's private one.
    pub id: Option<SpaceId>,
    /// Under what its keys stand, as far as the edge may read them: those of a shared space only after [`Self::open`].
    pub scope: Option<Scope>,
}

impl Target {
    /// The space that a request has `named` when `caller` asks: the caller's private one if it has named none, or `~`.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for what is no id.
    #[inline(never)]
    pub fn of(caller: Bearer, named: Option<&str>) -> Result<Self, ApiError> {
        match named {
            None | Some("" | "~") => {
                let hash = caller.private_space.clone();
                Ok(Self { scope: Some(Scope::private(&hash)), hash, id: None, caller })
            }
            Some(id) => {
                let id = SpaceId::parse(id).map_err(|rule| ApiError::Malformed(rule.0.to_owned()))?;
                Ok(Self { hash: SpaceHash::shared(&id), id: Some(id), scope: None, caller })
            }
        }
    }

    /// Opens a shared space with a grant.
    ///
    /// # Errors
    /// As [`Granter::open`].
    pub fn open(&mut self, granter: &mut Granter, grant: &str, now: Millis) -> Result<(), ApiError> {
        self.scope = Some(granter.open(grant, &self.caller.user, &self.hash, now)?);
        Ok(())
    }

    /// The directory `hash`, as the same caller calls it.
    #[must_use]
    pub fn directory(&self, hash: SpaceHash) -> Self {
        Self { caller: self.caller.clone(), hash, id: None, scope: None }
    }

    /// Under what the keys stand of a space that is read.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.scope.as_ref().expect("BUG: a space is read that was not opened")
    }

    fn destination(&self) -> Destination {
        match (&self.id, &self.scope) {
            (Some(id), scope) => Destination::Shared { id: id.clone(), scope: scope.clone() },
            (None, Some(scope)) => Destination::Private(scope.clone()),
            (None, None) => Destination::Directory,
        }
    }

    /// How the request is told to the object.
    #[must_use]
    pub fn as_caller(&self, request: &str, origin: Option<&str>) -> call::Caller {
        call::Caller {
            user: self.caller.user.clone(),
            destination: self.destination(),
            request: request.to_owned(),
            origin: origin.unwrap_or_default().to_owned(),
            sub: String::new(),
            iss: String::new(),
            spent: call::Usage::default(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        access::token::{Step, TokenConfig, Verifier},
        fronts::headwater::{route::Route, spaces::directory_of},
        role::Role,
        version::Epoch,
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Millis = Millis(1_795_341_182_000);

    /// The caller that a token of `iss` for `sub` makes.
    pub(crate) fn caller(iss: &str, sub: &str) -> Bearer {
        use jwt_compact::{
            AlgorithmExt, Claims, Header,
            alg::{Hs256, Hs256Key},
        };
        let claims = serde_json::json!({ "iss": iss, "sub": sub, "exp": NOW.0 / 1000 + 60 });
        let key = Hs256Key::new(SECRET.as_bytes());
        let token = Hs256.token(&Header::empty(), &Claims::new(claims), &key).expect("a token");
        match Verifier::new(&TokenConfig { secret: Some(SECRET.to_owned()), ..TokenConfig::default() })
            .decide(&format!("Bearer {token}"), NOW)
        {
            Ok(Step::Bearer(caller)) => caller,
            other => panic!("{other:?}"),
        }
    }

    fn shared(id: &str) -> SpaceHash {
        SpaceHash::shared(&SpaceId::parse(id).expect("an id"))
    }

    /// Names with something in them that could mean more than a name.
    fn tricky(other: &Bearer) -> Vec<String> {
        let (space, sub) = (other.private_space.as_str(), &other.person.sub);
        let encoded: String = space.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let upper = space.to_uppercase();
        let directory = directory_of(other);
        let directory = directory.as_str();
        let scope = Scope::private(&other.private_space).head_key();
        let names = format!(
            "~|%7E|%257E|{space}|{encoded}|{upper}|~{space}|{space}~|{space}/|../{space}|%2e%2e%2F{space}|{space}%00|\
             {space}.0mwrnsa6yk3v9q2|{scope}|{directory}|~{sub}|{}|team|te%61m|team|team|",
            other.user.as_str()
        );
        names.split('|').map(str::to_owned).chain([sub.clone()]).collect()
    }

    fn paths(name: &str, about: &str) -> Vec<(&'static str, String)> {
        vec![
            ("POST", "/sync/push".to_owned()),
            ("GET", "/sync/pull".to_owned()),
            ("POST", "/sync/pull".to_owned()),
            ("GET", "/sync/head".to_owned()),
            ("GET", format!("/sync/objects/{}", "0".repeat(64))),
            ("GET", "/spaces".to_owned()),
            ("GET", format!("/spaces/{name}")),
            ("PUT", format!("/spaces/{name}")),
            ("DELETE", format!("/spaces/{name}")),
            ("GET", format!("/spaces/{name}/members")),
            ("PUT", format!("/spaces/{name}/members/{about}")),
            ("DELETE", format!("/spaces/{name}/members/{about}")),
            ("PUT", format!("/spaces/{name}/policies/{about}")),
            ("POST", format!("/spaces/{name}/grant")),
            ("POST", format!("/spaces/{name}/reset-epoch")),
            ("GET", name.to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        /// I9: whatever a request says, it means the caller's own private space or the shared one that it names, and it
        /// opens a shared one only with a grant of this user for it.
        #[test]
        fn i9_no_input_names_another_users_private_space_or_opens_a_space_without_its_grant(
            (iss, sub) in ("[a-z:/.]{0,12}", "\\PC{1,20}"),
            (other_iss, other_sub) in ("[a-z:/.]{0,12}", "\\PC{1,20}"),
            seed in any::<prop::sample::Index>(),
            picks in prop::collection::vec((any::<prop::sample::Index>(), "[ -~]{0,40}", 0..4u8), 4),
            parameter in prop::sample::select(vec!["space", "sp%61ce", "%73pace", "Space", "space[]", "since=1&space"]),
            shape in 0..3_usize,
        ) {
            prop_assume!((&iss, &sub) != (&other_iss, &other_sub));
            let (me, other) = (caller(&iss, &sub), caller(&other_iss, &other_sub));
            prop_assert_ne!(&me.private_space, &other.private_space);
            prop_assert_ne!(&me.user, &other.user);
            let fixed = tricky(&other);
            let name = |(pick, random, kind): &(prop::sample::Index, String, u8)| {
                if *kind == 0 { random.clone() } else { pick.get(&fixed).clone() }
            };
            let names: Vec<_> = picks.iter().map(name).collect();
            let mut granter = Granter::new(Some(SECRET), None);
            let epoch = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
            let team = Scope::shared(&shared("team"), &epoch);
            let (of_other, _) = granter.sign(&other.user, &team, Role::Owner, NOW).expect("a grant");
            let (of_mine, _) = granter.sign(&me.user, &team, Role::Reader, NOW).expect("a grant");
            let foreign = Scope::shared(&SpaceHash::parse(other.private_space.as_str()).expect("a hash"), &epoch);
            let (of_a_private_one, _) = granter.sign(&me.user, &foreign, Role::Owner, NOW).expect("a grant");
            let given = format!("{parameter}={}", names[0]);
            let query = [String::new(), given.clone(), format!("{given}&space={}", names[1])][shape].clone();
            let all = paths(&names[2], &names[3]);
            let (method, path) = &all[seed.index(all.len())];
            let Ok(route) = Route::of(method, path) else { return Ok(()) };
            let Ok(target) = route.space_named(&query).and_then(|named| Target::of(me.clone(), named.as_deref())) else { return Ok(()) };
            prop_assert_ne!(&target.hash, &other.private_space);
            prop_assert_ne!(&target.hash, &directory_of(&other));
            match &target.id {
                None => {
                    prop_assert_eq!(&target.hash, &me.private_space);
                    prop_assert_eq!(target.scope, Some(Scope::private(&me.private_space)));
                }
                Some(id) => {
                    prop_assert_eq!(&target.hash, &SpaceHash::shared(id));
                    prop_assert_eq!(&target.scope, &None, "nothing is open before a grant was verified");
                    for grant in [&of_other, &of_a_private_one, &String::new()] {
                        let mut target = target.clone();
                        prop_assert!(target.open(&mut granter, grant, NOW).is_err());
                        prop_assert_eq!(target.scope, None);
                    }
                    let mut target = target.clone();
                    let opened = target.open(&mut granter, &of_mine, NOW).is_ok();
                    prop_assert_eq!(opened, id.as_str() == "team");
                    prop_assert_eq!(target.scope, opened.then_some(team));
                }
            }
        }
    }

    #[test]
    fn a_shared_space_is_named_by_its_id_however_that_is_written() {
        let me = caller("issuer", "alice");
        let target = |path: &str, query: &str| {
            let named = Route::of("GET", path).expect("a route").space_named(query)?;
            Target::of(me.clone(), named.as_deref())
        };
        for (path, query) in [
            ("/sync/pull", "space=team"),
            ("/sync/pull", "sp%61ce=te%61m"),
            ("/sync/pull", "since=1&space=team"),
            ("/spaces/team", ""),
            ("/spaces/%74eam", ""),
        ] {
            let target = target(path, query).expect("a space");
            assert_eq!((target.hash.clone(), target.scope.clone()), (shared("team"), None), "{path} {query}");
            assert_eq!(Route::of("GET", path).expect("a route").reads_published(), path.starts_with("/sync"));
        }
        for (path, query) in [
            ("/sync/pull", "space=a%2Fb"),
            ("/sync/pull", "space=team&space=team"),
            ("/sync/pull", "Space=team"),
            ("/spaces/a%2Fb", ""),
            ("/spaces/..%2F~", ""),
            ("/spaces/team", "space=~"),
            ("/spaces", "space=team"),
        ] {
            assert!(matches!(target(path, query), Err(ApiError::Malformed(_))), "{path} {query}");
        }
    }
}
