//! What the routes below `/spaces` ask of a space's object, and whose directories they concern.

use std::borrow::Cow;

use crate::{
    access::{
        invitation::{Invitation, Inviter},
        token::Bearer,
    },
    call::{Administration, OnConflict, Person},
    error::{ApiError, TOO_MANY_SPACES},
    fronts::headwater::{
        pull::{malformed, query_pairs},
        route::SpaceRoute,
    },
    ids::{SpaceHash, SpaceId, UserHash},
    json::{Fields, text_field},
    limits,
    role::Role,
    version::Epoch,
};

/// What the space's object is asked for, out of the route, the query and the body of the request.
///
/// # Errors
/// [`ApiError::Malformed`] for a body without a role or a policy that there is, and for a cursor that never was one;
/// [`ApiError::Forbidden`] for what a private space does not have.
#[inline(never)]
pub fn administration_of(
    caller: &Bearer,
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
            let role = role.ok_or_else(no_role)?;
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
        SpaceRoute::ShutDexie => match only_field(body, &["access"])?.as_deref() {
            Some("none") => Administration::ShutDexie,
            _ => return Err(malformed("access is none; DELETE takes that back")),
        },
        SpaceRoute::AdmitDexie => Administration::AdmitDexie,
        SpaceRoute::Grant => {
            of_shared()?;
            Administration::Grant { claim: None }
        }
        SpaceRoute::Usage => Administration::Usage,
        SpaceRoute::ResetEpoch => Administration::ResetEpoch,
        SpaceRoute::Invite => {
            of_shared()?;
            invite_of(body)?
        }
        SpaceRoute::Invitations => {
            of_shared()?;
            Administration::Invitations
        }
        SpaceRoute::Uninvite(number) => {
            of_shared()?;
            Administration::Uninvite { number }
        }
    })
}

/// Who becomes a member by a code.
#[must_use]
pub fn acceptance_of(caller: &Bearer, Invitation { incarnation, number, .. }: Invitation) -> Administration {
    let person = Person { user: caller.user.clone(), sub: caller.person.sub.clone() };
    Administration::Accept { person, incarnation, number }
}

fn invite_of(body: &[u8]) -> Result<Administration, ApiError> {
    let fields = Fields::of_body(body, "the body", &["role", "uses", "expiresIn"])?;
    let role = fields.text("role")?.as_deref().and_then(Role::parse).ok_or_else(no_role)?;
    let within = |name: &str, usual: u64, most: u64| {
        let number = fields.number(name)?.map_or(usual, |number| number.get());
        let is_within = (1..=most).contains(&number);
        is_within
            .then_some(number)
            .ok_or_else(|| malformed(&format!("{name} is a whole number from 1 to {most}")))
    };
    let uses = within("uses", 1, limits::INVITATION_USES_MAX)?;
    let lasts_ms = within("expiresIn", limits::INVITATION_MS, limits::INVITATION_MS_MAX)?;
    Ok(Administration::Invite { role, uses, lasts_ms })
}

/// What an owner is told of an invitation that the space has noted, with the code that leads to it.
///
/// # Errors
/// As [`Inviter::code`].
pub fn invited(inviter: &Inviter, space: &SpaceId, noted: &str) -> Result<String, ApiError> {
    let said = |name| text_field(noted, name).expect("BUG: the space has not said what it has noted");
    let incarnation = Epoch::parse(&said("incarnation")).expect("BUG: an incarnation is an epoch");
    let number = said("invitation").parse().expect("BUG: an invitation has a number");
    let code = inviter.code(&Invitation { space: space.clone(), incarnation, number })?;
    Ok(noted.replacen('{', &format!("{{\"code\":\"{code}\","), 1))
}

fn no_role() -> ApiError {
    malformed("role is reader, writer or owner")
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
        ApiError::Forbidden(_) => TOO_MANY_SPACES,
        error => error,
    }
}

/// The directory of a caller.
#[must_use]
pub fn directory_of(caller: &Bearer) -> SpaceHash {
    SpaceHash::directory(&caller.person.iss, &caller.person.sub)
}

/// The directory of the user whom a caller has named by a subject, as far as the caller's issuer goes.
#[must_use]
pub fn directory_of_invited(caller: &Bearer, sub: &str) -> SpaceHash {
    SpaceHash::directory(&caller.person.iss, sub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::target::tests::caller, fronts::headwater::route::Route, ids::Collection};

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
        assert_eq!(asked(SpaceRoute::ShutDexie, r#"{"access":"none"}"#), Ok(Administration::ShutDexie));
        for body in ["", "{}", r#"{"access":"all"}"#, r#"{"onConflict":"merge"}"#] {
            assert!(matches!(asked(SpaceRoute::ShutDexie, body), Err(ApiError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn an_invitation_is_for_one_person_and_a_week_unless_it_says_otherwise() {
        let invite = |uses, lasts_ms| Administration::Invite { role: Role::Writer, uses, lasts_ms };
        let asked = |body: &str| asked(SpaceRoute::Invite, body);
        assert_eq!(asked(r#"{"role":"writer"}"#), Ok(invite(1, 604_800_000)));
        assert_eq!(asked(r#"{"role":"writer","uses":3,"expiresIn":6e4}"#), Ok(invite(3, 60_000)));
        for (body, detail) in [
            ("{}", "role is reader, writer or owner"),
            (r#"{"role":"writer","uses":0}"#, "uses is a whole number from 1 to 10000"),
            (r#"{"role":"writer","uses":10001}"#, "uses is a whole number from 1 to 10000"),
            (r#"{"role":"writer","expiresIn":1e12}"#, "expiresIn is a whole number from 1 to 31536000000"),
            (r#"{"role":"writer","expires":1}"#, "the body takes no field expires"),
        ] {
            assert_eq!(asked(body), Err(ApiError::Malformed(detail.to_owned())), "{body}");
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
            ("POST", "/spaces/team/invitations", true),
            ("GET", "/spaces/team/invitations", true),
            ("DELETE", "/spaces/team/invitations/4711", true),
        ] {
            let asked = |space| {
                let route = Route::of(method, path).expect("a route");
                let name = route.name();
                let Route::Space { route, .. } = route else { panic!("{path} is below /spaces/") };
                let field = match name {
                    "set-member" | "invite" => r#"{"role":"owner"}"#,
                    _ => r#"{"onConflict":"merge"}"#,
                };
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
