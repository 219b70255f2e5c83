//! Which space a request is for. Everything is keyed by hashes of what was verified, nothing by a parameter (I9).

use std::borrow::Cow;

use super::{
    authorize::Caller,
    grant::Granter,
    route::{Route, SpaceRoute},
};
use crate::{
    access::role::Role,
    call::{Administration, OnConflict, Person},
    coordinator::directory::TOO_MANY,
    ids::{SpaceHash, SpaceId, UserHash},
    protocol::{Fields, error::ApiError, pull::query_pairs},
    snapshot::keys::Scope,
    time::Millis,
    value::text_field,
};

/// The space that a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// Under what its object is called.
    pub hash: SpaceHash,
    /// The id of a shared space; none for the caller's private one.
    pub id: Option<SpaceId>,
    /// Under what its keys stand, as far as the edge may read them: those of a shared space only after [`Self::open`].
    pub scope: Option<Scope>,
}

impl Meant {
    /// The space that `route` and `query` mean when `caller` asks.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] for what is no id, and for a parameter that the route does not have.
    #[inline(never)]
    pub fn of(caller: &Caller, route: &Route, query: &str) -> Result<Self, ApiError> {
        route.check_query(query)?;
        let named = match route {
            Route::Space { id, .. } => Some(id.clone()),
            Route::Spaces => None,
            // Decoded first, because `sp%61ce` is the same name. Most requests have nothing to decode.
            _ if query.contains("space=") || query.contains('%') => {
                let mut pairs = query_pairs(query)?.into_iter();
                pairs.find_map(|(name, value)| (name == "space").then_some(value))
            }
            _ => None,
        };
        match named.as_deref() {
            None | Some("" | "~") => {
                let hash = caller.private_space.clone();
                Ok(Self { scope: Some(Scope::private(&hash)), hash, id: None })
            }
            Some(id) => {
                let id = SpaceId::parse(id).map_err(|rule| ApiError::Malformed(rule.0.to_owned()))?;
                Ok(Self { hash: SpaceHash::shared(&id), id: Some(id), scope: None })
            }
        }
    }

    /// Whether its published records can only be read with a grant, and `route` reads them.
    #[must_use]
    pub fn needs_grant(&self, route: &Route) -> bool {
        self.id.is_some() && matches!(route, Route::Pull { .. } | Route::Head | Route::Object(_))
    }

    /// Opens a shared space to `user` with a grant.
    ///
    /// # Errors
    /// As [`Granter::open`].
    pub fn open(
        &mut self,
        granter: &mut Granter,
        grant: &str,
        user: &UserHash,
        now: Millis,
    ) -> Result<(), ApiError> {
        self.scope = Some(granter.open(grant, user, &self.hash, now)?);
        Ok(())
    }
}

/// What the space's object is asked for, out of the route, the query and the body of the request.
///
/// # Errors
/// [`ApiError::Malformed`] for a body without a role or a policy that there is, and for a cursor that never was one;
/// [`ApiError::Forbidden`] for what a private space does not have.
#[inline(never)]
pub fn administration_of(
    caller: &Caller,
    space: Option<&SpaceId>,
    route: SpaceRoute,
    query: &str,
    body: &[u8],
) -> Result<Administration, ApiError> {
    let of_shared = || match space {
        Some(_) => Ok(()),
        None => Err(ApiError::Forbidden("A private space has one user, who needs no grant.")),
    };
    let person =
        |sub: String| of_shared().map(|()| Person { user: UserHash::new(&caller.person.iss, &sub), sub });
    Ok(match route {
        SpaceRoute::Create => {
            let owner = Person { user: caller.user.clone(), sub: caller.person.sub.clone() };
            Administration::Create { owner }
        }
        SpaceRoute::Show => Administration::Show,
        SpaceRoute::Delete => Administration::Delete,
        SpaceRoute::Members => {
            of_shared()?;
            let after = cursor_of(query, |cursor| UserHash::parse(cursor).ok())?;
            Administration::Members { after }
        }
        SpaceRoute::Member(sub) => Administration::Member(person(sub)?),
        SpaceRoute::SetMember(sub) => {
            let person = person(sub)?;
            let role = only_field(body, &["role"])?.as_deref().and_then(Role::parse);
            let role = role.ok_or_else(|| malformed("role is reader, writer or owner"))?;
            Administration::SetMember { person, role }
        }
        SpaceRoute::RemoveMember(sub) => Administration::RemoveMember(person(sub)?),
        SpaceRoute::Policies => Administration::Policies,
        SpaceRoute::SetPolicy(collection) => {
            let policy = only_field(body, &["onConflict"])?.as_deref().and_then(OnConflict::parse);
            let policy = policy.ok_or_else(|| malformed(OnConflict::RULE))?;
            Administration::SetPolicy { collection, policy }
        }
        SpaceRoute::RemovePolicy(collection) => Administration::RemovePolicy(collection),
        SpaceRoute::Grant => {
            of_shared()?;
            Administration::Grant { claim: None }
        }
        SpaceRoute::ResetEpoch => Administration::ResetEpoch,
    })
}

/// Where a list goes on, out of the query; none if it begins.
///
/// # Errors
/// [`ApiError::Malformed`] for what no list has given out.
pub fn cursor_of<T>(query: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, ApiError> {
    let pairs = query_pairs(query)?;
    let cursor = pairs.iter().find(|(name, value)| name == "cursor" && !value.is_empty());
    let parse =
        |(_, cursor): &(String, String)| parse(cursor).ok_or_else(|| malformed("cursor is not a cursor"));
    cursor.map(parse).transpose()
}

/// The text of the one field that a body has; none if it is absent.
fn only_field<'a>(
    body: &'a [u8],
    names: &'static [&'static str; 1],
) -> Result<Option<Cow<'a, str>>, ApiError> {
    Ok(Fields::of_body(body, "the body", names)?.text(names[0])?)
}

/// What `PUT /spaces/{id}` answers where the space is there: what an owner is `shown`, whose first answer may have been lost.
///
/// # Errors
/// [`ApiError::Forbidden`] for every other member.
pub fn made_before(shown: String) -> Result<String, ApiError> {
    match text_field(&shown, "role").as_deref().and_then(Role::parse) {
        Some(Role::Owner) => Ok(shown),
        _ => Err(ApiError::Forbidden("There is such a space, and you are not an owner of it.")),
    }
}

/// Why a space is not made that its maker's directory has not reserved.
#[must_use]
pub fn not_reserved(error: ApiError) -> ApiError {
    match error {
        ApiError::Forbidden(_) => TOO_MANY,
        error => error,
    }
}

/// The directory of a caller.
#[must_use]
pub fn directory_of(caller: &Caller) -> SpaceHash {
    SpaceHash::directory(&caller.person.iss, &caller.person.sub)
}

/// The directory of the user whom a caller has named by a subject, as far as the caller's issuer goes.
#[must_use]
pub fn directory_of_invited(caller: &Caller, sub: &str) -> SpaceHash {
    SpaceHash::directory(&caller.person.iss, sub)
}

fn malformed(detail: &str) -> ApiError {
    ApiError::Malformed(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        edge::{
            authorize::{Step, Verifier},
            config::Config,
        },
        ids::Collection,
        version::Epoch,
    };

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: Millis = Millis(1_795_341_182_000);

    fn config() -> Config {
        Config::read(|name| matches!(name, "GRANT_SECRET" | "JWT_SECRET").then(|| SECRET.to_owned()))
    }

    /// The caller that a token of `iss` for `sub` makes.
    fn caller(iss: &str, sub: &str) -> Caller {
        use jwt_compact::{
            AlgorithmExt, Claims, Header,
            alg::{Hs256, Hs256Key},
        };
        let claims = serde_json::json!({ "iss": iss, "sub": sub, "exp": NOW.0 / 1000 + 60 });
        let key = Hs256Key::new(SECRET.as_bytes());
        let token = Hs256.token(&Header::empty(), &Claims::new(claims), &key).expect("a token");
        match Verifier::new(&config()).decide(&format!("Bearer {token}"), NOW) {
            Ok(Step::Caller(caller)) => caller,
            other => panic!("{other:?}"),
        }
    }

    fn shared(id: &str) -> SpaceHash {
        SpaceHash::shared(&SpaceId::parse(id).expect("an id"))
    }

    /// Names with something in them that could mean more than a name.
    fn tricky(other: &Caller) -> Vec<String> {
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
            let mut granter = Granter::new(&config());
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
            let Ok(meant) = Meant::of(&me, &route, &query) else { return Ok(()) };
            prop_assert_ne!(&meant.hash, &other.private_space);
            prop_assert_ne!(&meant.hash, &directory_of(&other));
            match &meant.id {
                None => {
                    prop_assert_eq!(&meant.hash, &me.private_space);
                    prop_assert_eq!(meant.scope, Some(Scope::private(&me.private_space)));
                }
                Some(id) => {
                    prop_assert_eq!(&meant.hash, &SpaceHash::shared(id));
                    prop_assert_eq!(&meant.scope, &None, "nothing is open before a grant was verified");
                    for grant in [&of_other, &of_a_private_one, &String::new()] {
                        let mut meant = meant.clone();
                        prop_assert!(meant.open(&mut granter, grant, &me.user, NOW).is_err());
                        prop_assert_eq!(meant.scope, None);
                    }
                    let mut meant = meant.clone();
                    let opened = meant.open(&mut granter, &of_mine, &me.user, NOW).is_ok();
                    prop_assert_eq!(opened, id.as_str() == "team");
                    prop_assert_eq!(meant.scope, opened.then_some(team));
                }
            }
        }
    }

    #[test]
    fn a_shared_space_is_named_by_its_id_however_that_is_written() {
        let me = caller("issuer", "alice");
        let meant =
            |path: &str, query: &str| Meant::of(&me, &Route::of("GET", path).expect("a route"), query);
        for (path, query) in [
            ("/sync/pull", "space=team"),
            ("/sync/pull", "sp%61ce=te%61m"),
            ("/sync/pull", "since=1&space=team"),
            ("/spaces/team", ""),
            ("/spaces/%74eam", ""),
        ] {
            let meant = meant(path, query).expect("a space");
            assert_eq!((meant.hash.clone(), meant.scope.clone()), (shared("team"), None), "{path} {query}");
            assert_eq!(
                meant.needs_grant(&Route::of("GET", path).expect("a route")),
                path.starts_with("/sync")
            );
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
            assert!(matches!(meant(path, query), Err(ApiError::Malformed(_))), "{path} {query}");
        }
    }

    /// What alice's request about the space `team` asks for.
    fn asked(route: SpaceRoute, body: &str) -> Result<Administration, ApiError> {
        let team = SpaceId::parse("team").expect("an id");
        administration_of(&caller("issuer", "alice"), Some(&team), route, "", body.as_bytes())
    }

    fn bob() -> Person {
        Person { user: UserHash::new("issuer", "bob"), sub: "bob".to_owned() }
    }

    fn set_member() -> SpaceRoute {
        SpaceRoute::SetMember("bob".to_owned())
    }

    fn set_policy() -> SpaceRoute {
        SpaceRoute::SetPolicy(Collection::stored("todos"))
    }

    #[test]
    fn a_body_has_the_one_field_that_it_is_for() {
        let reads = Administration::SetMember { person: bob(), role: Role::Reader };
        assert_eq!(asked(set_member(), r#" { "role" : "\u0072eader" } "#), Ok(reads));
        let (collection, policy) = (Collection::stored("todos"), OnConflict::Merge);
        let merges = Administration::SetPolicy { collection, policy };
        assert_eq!(asked(set_policy(), r#"{"onConflict":"merge"}"#), Ok(merges));
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"role":null}"#,
            r#"{"role":1}"#,
            r#"{"role":"admin"}"#,
            r#"{"role":"Writer"}"#,
            r#"{"role":["reader"]}"#,
            r#"{"role":"reader","role":"reader"}"#,
            r#"{"role":"reader","until":1}"#,
            r#"{"Role":"reader"}"#,
            r#"{"onConflict":"merge"}"#,
            r#"{"role":"reader"}x"#,
            r#"{"role":"reader","\ud800":1}"#,
            r#"{"role":"#,
        ] {
            assert!(matches!(asked(set_member(), body), Err(ApiError::Malformed(_))), "{body}");
        }
        for body in [
            "",
            "{}",
            r#"{"onConflict":"last"}"#,
            r#"{"onConflict":null}"#,
            r#"{"onconflict":"merge"}"#,
            r#"{"onConflict":"merge","of":"x"}"#,
        ] {
            assert!(matches!(asked(set_policy(), body), Err(ApiError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn only_an_owner_is_told_that_the_space_is_there_as_if_it_had_been_made() {
        let shown = |role: &str| {
            format!(r#"{{"space":"team","role":"{role}","epoch":"0mwrnsa6yk3v9q2","version":1}}"#)
        };
        assert_eq!(made_before(shown("owner")), Ok(shown("owner")));
        for other in [shown("writer"), shown("reader"), shown("later"), String::new()] {
            assert!(matches!(made_before(other), Err(ApiError::Forbidden(_))));
        }
    }

    #[test]
    fn whoever_makes_too_many_spaces_hears_how_many_that_are() {
        assert!(
            matches!(not_reserved(ApiError::Forbidden("")), ApiError::Forbidden(why) if why.contains("1,000"))
        );
        assert_eq!(not_reserved(ApiError::Overloaded), ApiError::Overloaded);
    }

    #[test]
    fn what_is_asked_for_is_about_the_callers_issuer_and_the_subject_in_the_path() {
        let me = caller("issuer", "alice");
        let writes = Administration::SetMember { person: bob(), role: Role::Writer };
        assert_eq!(asked(set_member(), r#"{"role":"writer"}"#), Ok(writes));
        assert_eq!(directory_of_invited(&me, "bob"), SpaceHash::directory("issuer", "bob"));
        assert_eq!(directory_of(&me), SpaceHash::directory("issuer", "alice"));
        let owner = Person { user: me.user.clone(), sub: "alice".to_owned() };
        assert_eq!(asked(SpaceRoute::Create, ""), Ok(Administration::Create { owner }));
    }

    #[test]
    fn a_private_space_has_no_members_and_every_route_asks_for_what_its_name_says() {
        let me = caller("issuer", "alice");
        let team = SpaceId::parse("team").expect("an id");
        for (method, path, is_of_shared) in [
            ("PUT", "/spaces/team", false),
            ("GET", "/spaces/team", false),
            ("DELETE", "/spaces/team", false),
            ("GET", "/spaces/team/members", true),
            ("GET", "/spaces/team/members/bob", true),
            ("PUT", "/spaces/team/members/bob", true),
            ("DELETE", "/spaces/team/members/bob", true),
            ("GET", "/spaces/team/policies", false),
            ("PUT", "/spaces/team/policies/todos", false),
            ("DELETE", "/spaces/team/policies/todos", false),
            ("POST", "/spaces/team/grant", true),
            ("POST", "/spaces/team/reset-epoch", false),
        ] {
            let asked = |space| {
                let route = Route::of(method, path).expect("a route");
                let name = route.name();
                let Route::Space { route, .. } = route else { panic!("{path} is below /spaces/") };
                let field =
                    if name == "set-member" { r#"{"role":"owner"}"# } else { r#"{"onConflict":"merge"}"# };
                let asked = administration_of(&me, space, route, "", field.as_bytes());
                (name, asked.map(|administration| administration.name()))
            };
            let (name, of_team) = asked(Some(&team));
            assert_eq!(of_team, Ok(name), "log lines and calls have one name");
            let (_, of_private) = asked(None);
            assert_eq!(matches!(of_private, Err(ApiError::Forbidden(_))), is_of_shared, "{name}");
        }
    }

    #[test]
    fn a_list_goes_on_behind_what_its_cursor_names() {
        let user = UserHash::new("issuer", "bob");
        let after = |query: &str| cursor_of(query, |cursor| UserHash::parse(cursor).ok());
        assert_eq!((after(""), after("cursor=")), (Ok(None), Ok(None)));
        assert_eq!(after(&format!("cursor={}", user.as_str())), Ok(Some(user)));
        assert!(matches!(after("cursor=bob"), Err(ApiError::Malformed(_))));
    }
}
