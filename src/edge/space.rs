//! What the routes below `/spaces` ask of a space's object, and whose directories they concern.

use std::borrow::Cow;

use super::authorize::Caller;
use crate::{
    coordinator::directory::TOO_MANY,
    ids::{SpaceHash, SpaceId, UserHash},
    protocol::{Fields, act::Act, error::ApiError, internal::Order, push::OnConflict, role::Role},
    value::text_field,
};

/// What the space's object is to be told with an act, out of the route and the body of the request.
///
/// # Errors
/// [`ApiError::Malformed`] for a body without a role or a policy that there is, [`ApiError::Forbidden`] for what a private
/// space does not have.
#[inline(never)]
pub fn order_of(
    caller: &Caller,
    space: Option<&SpaceId>,
    act: Act,
    about: &str,
    body: &[u8],
) -> Result<Order, ApiError> {
    let of_shared =
        matches!(act, Act::Members | Act::Member | Act::SetMember | Act::RemoveMember | Act::Grant);
    if of_shared && space.is_none() {
        return Err(ApiError::Forbidden("A private space has one user, who needs no grant."));
    }
    let mut order = Order::default();
    let iss = caller.person.iss.as_str();
    let sub = match act {
        Act::Member | Act::SetMember | Act::RemoveMember => about,
        _ => caller.person.sub.as_str(),
    };
    if matches!(act, Act::Create | Act::Member | Act::SetMember | Act::RemoveMember) {
        order.user = UserHash::new(iss, sub).as_str().to_owned();
        order.sub = sub.to_owned();
    }
    match act {
        Act::SetMember => {
            let role = only_field(body, &["role"])?.as_deref().and_then(Role::parse);
            let role = role.ok_or_else(|| malformed("role is reader, writer or owner"))?;
            order.role = role.as_str().to_owned();
        }
        Act::SetPolicy => {
            let policy = only_field(body, &["onConflict"])?;
            let policy = policy.filter(|policy| OnConflict::parse(policy).is_some());
            order.policy = policy.ok_or_else(|| malformed(OnConflict::RULE))?.into_owned();
            order.collection = about.to_owned();
        }
        Act::RemovePolicy => order.collection = about.to_owned(),
        _ => {}
    }
    Ok(order)
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
    use super::*;
    use crate::edge::target::tests::caller;

    #[test]
    fn a_body_has_the_one_field_that_it_is_for() {
        let me = caller("issuer", "alice");
        let team = SpaceId::parse("team").expect("an id");
        let order = |act, body: &str| order_of(&me, Some(&team), act, "todos", body.as_bytes());
        assert_eq!(
            order(Act::SetMember, r#" { "role" : "\u0072eader" } "#).expect("an order").role,
            "reader"
        );
        assert_eq!(order(Act::SetPolicy, r#"{"onConflict":"merge"}"#).expect("an order").policy, "merge");
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"role":null}"#,
            r#"{"role":"admin"}"#,
            r#"{"role":["reader"]}"#,
            r#"{"role":"reader","role":"reader"}"#,
            r#"{"role":"reader","until":1}"#,
            r#"{"Role":"reader"}"#,
            r#"{"onConflict":"merge"}"#,
            r#"{"role":"reader"}x"#,
            r#"{"role":"reader","\ud800":1}"#,
        ] {
            assert!(matches!(order(Act::SetMember, body), Err(ApiError::Malformed(_))), "{body}");
        }
        for body in
            [r#"{"onConflict":"last"}"#, r#"{"onconflict":"merge"}"#, r#"{"onConflict":"merge","of":"x"}"#]
        {
            assert!(matches!(order(Act::SetPolicy, body), Err(ApiError::Malformed(_))), "{body}");
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
    fn an_order_is_about_the_callers_issuer_and_the_subject_in_the_path() {
        let me = caller("issuer", "alice");
        let team = SpaceId::parse("team").expect("an id");
        let order = |act, about: &str, body: &str| order_of(&me, Some(&team), act, about, body.as_bytes());
        let set = order(Act::SetMember, "bob", r#"{"role":"writer"}"#).expect("an order");
        assert_eq!(set.user, UserHash::new("issuer", "bob").as_str());
        assert_eq!(directory_of_invited(&me, "bob"), SpaceHash::directory("issuer", "bob"));
        assert_eq!(directory_of(&me), SpaceHash::directory("issuer", "alice"));
        assert_eq!((set.sub.as_str(), set.role.as_str()), ("bob", "writer"));
        let create = order(Act::Create, "", "").expect("an order");
        assert_eq!((create.user.as_str(), create.sub.as_str()), (me.user.as_str(), "alice"));
        for body in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"role":"admin"}"#,
            r#"{"role":1}"#,
            r#"{"role":"Writer"}"#,
            r#"{"role":"#,
        ] {
            assert!(matches!(order(Act::SetMember, "bob", body), Err(ApiError::Malformed(_))), "{body}");
        }
        for body in ["", "{}", r#"{"onConflict":"ask"}"#, r#"{"onConflict":null}"#] {
            assert!(matches!(order(Act::SetPolicy, "todos", body), Err(ApiError::Malformed(_))), "{body}");
        }
        for act in [Act::Members, Act::Member, Act::SetMember, Act::RemoveMember, Act::Grant] {
            let refused = order_of(&me, None, act, "bob", br#"{"role":"writer"}"#);
            assert!(matches!(refused, Err(ApiError::Forbidden(_))), "{act:?}");
        }
    }
}
