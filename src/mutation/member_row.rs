//! Rows of `members` and `roles` of Dexie Cloud, in the space of a realm: whom a row names, and what it makes of that person. Its
//! front derives members' rights from them, and the space's object lets in whoever they invite.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{
    ids::{Collection, Key, RecordId},
    json::{elements, json_text, members, text_field, text_of},
    role::Role,
};

/// Roles that a row may name. Others of it count for nothing.
const ROLES_MAX: usize = 16;

/// The collection of the rows of members.
#[must_use]
pub fn member_rows() -> Collection {
    Collection::stored("members")
}

/// The row of a member.
#[must_use]
pub fn member_row_key(id: &str) -> Option<Key> {
    Some(Key { collection: member_rows(), id: RecordId::parse(id).ok()? })
}

/// The row of a realm.
#[must_use]
pub fn realm_row_key(realm: &str) -> Option<Key> {
    Some(Key { collection: Collection::stored("realms"), id: RecordId::parse(realm).ok()? })
}

/// The row of a role of a realm, whose key is a list.
#[must_use]
pub fn role_row_key(realm: &str, role: &str) -> Option<Key> {
    let id = format!("[{},{}]", json_text(realm), json_text(role));
    Some(Key { collection: Collection::stored("roles"), id: RecordId::parse(&id).ok()? })
}

/// An address as it is compared.
#[must_use]
pub fn address(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// What a row of `members` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberRow<'a> {
    user_id: Option<Cow<'a, str>>,
    email: Option<String>,
    invites: bool,
    is_accepted: bool,
    is_rejected: bool,
    roles: Option<&'a str>,
    permissions: Option<&'a str>,
}

impl<'a> MemberRow<'a> {
    /// Out of its value.
    #[must_use]
    pub fn of(value: &'a str) -> Self {
        let mut row = Self::default();
        let text = |json: &'a str| text_of(json).filter(|text| !text.is_empty());
        // Of two equal names the last one counts.
        for (name, json) in members(value) {
            match name {
                r#""userId""# => row.user_id = text(json),
                r#""email""# => row.email = text(json).map(|email| address(&email)),
                r#""invite""# => row.invites = json == "true",
                r#""accepted""# => row.is_accepted = is_said(json),
                r#""rejected""# => row.is_rejected = is_said(json),
                r#""roles""# => row.roles = Some(json).filter(|json| json.starts_with('[')),
                r#""permissions""# => row.permissions = Some(json).filter(|json| json.starts_with('{')),
                _ => {}
            }
        }
        row
    }

    /// The subject of whom it names.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        self.user_id.as_deref()
    }

    /// The address that it names.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// The subject of whom it makes a member: one who was invited has to accept.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        let is_member = !self.is_rejected && (self.is_accepted || !self.invites);
        self.user_id().filter(|_| is_member)
    }

    /// Whether it is an invitation that waits for an answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let is_answered = self.is_accepted || self.is_rejected;
        let names_address_alone = self.user_id.is_none() && self.email.is_some();
        !is_answered && (self.invites || names_address_alone)
    }

    /// Whether it is of this person, whose address is verified: where it names a subject, that alone counts.
    #[must_use]
    pub fn names(&self, sub: &str, email: Option<&str>) -> bool {
        match (&self.user_id, &self.email) {
            (Some(user_id), _) => user_id == sub,
            (None, Some(named)) => email.is_some_and(|email| address(email) == *named),
            (None, None) => false,
        }
    }

    /// What a member may do by it, and by the roles of the realm that it names; `value_of` reads their rows.
    ///
    /// # Errors
    /// What `value_of` has failed with.
    pub fn role<E>(
        &self,
        realm: &str,
        value_of: &mut dyn FnMut(&Key) -> Result<Option<String>, E>,
    ) -> Result<Role, E> {
        let mut role = self.permissions.map_or(Role::Reader, role_by);
        for name in elements(self.roles.unwrap_or_default()).filter_map(text_of).take(ROLES_MAX) {
            let Some(key) = role_row_key(realm, &name) else { continue };
            let value = value_of(&key)?.unwrap_or_default();
            let permissions = members(&value).filter(|(name, _)| *name == r#""permissions""#).last();
            role = role.max(permissions.map_or(Role::Reader, |(_, permissions)| role_by(permissions)));
        }
        Ok(role)
    }
}

/// Whether two values of a row say the same but for how its person has answered.
#[must_use]
pub fn differ_by_answer_alone(before: &str, after: &str) -> bool {
    fn rest(value: &str) -> BTreeMap<&str, &str> {
        members(value).filter(|(name, _)| !matches!(*name, r#""accepted""# | r#""rejected""#)).collect()
    }
    rest(before) == rest(after)
}

/// The value of a row whose person, this subject, has answered an invitation at a moment that is given as text.
#[must_use]
pub fn answered(value: &str, sub: &str, accepts: bool, at: &str) -> String {
    let is_set = |name: &str| matches!(name, r#""userId""# | r#""accepted""# | r#""rejected""#);
    let kept = members(value).filter(|(name, _)| !is_set(name)).map(|(name, json)| format!("{name}:{json}"));
    let answer = if accepts { "accepted" } else { "rejected" };
    let user_id = format!(r#""userId":{}"#, json_text(sub));
    let answer = format!(r#""{answer}":{{"$t":"Date","v":{}}}"#, json_text(at));
    format!("{{{}}}", kept.chain([user_id, answer]).collect::<Vec<_>>().join(","))
}

/// What somebody may do who has these permissions. Finer ones are not told apart.
fn role_by(permissions: &str) -> Role {
    let mut role = Role::Reader;
    for (name, json) in members(permissions) {
        let is_empty = !is_said(json) || matches!(json, "[]" | "{}" | r#""""#);
        role = role.max(match name {
            r#""manage""# if json == r#""*""# => Role::Owner,
            r#""add""# | r#""update""# | r#""manage""# if !is_empty => Role::Writer,
            _ => Role::Reader,
        });
    }
    role
}

/// Whether a value says something.
fn is_said(json: &str) -> bool {
    let is_undefined = text_field(json, "$t").is_some_and(|kind| kind == "undefined");
    !matches!(json, "null" | "false") && !is_undefined
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = r#"{"$t":"Date","v":"2026-12-01T00:00:00.000Z"}"#;

    #[test]
    fn a_row_with_a_user_is_a_members_unless_it_invites_and_nobody_has_accepted() {
        let undefined = r#"{"$t":"undefined"}"#;
        for (row, member, is_open) in [
            (r#"{"userId":"bob"}"#.to_owned(), Some("bob"), false),
            (r#"{"userId":"bob","invite":false}"#.to_owned(), Some("bob"), false),
            (r#"{"userId":"bob","invite":true}"#.to_owned(), None, true),
            (format!(r#"{{"userId":"bob","invite":true,"accepted":{DATE}}}"#), Some("bob"), false),
            (format!(r#"{{"userId":"bob","invite":true,"accepted":{undefined}}}"#), None, true),
            (format!(r#"{{"userId":"bob","rejected":{DATE}}}"#), None, false),
            (format!(r#"{{"userId":"bob","accepted":{DATE},"rejected":{DATE}}}"#), None, false),
            (r#"{"email":"bob@example.com"}"#.to_owned(), None, true),
            (r#"{"email":"bob@example.com","invite":true}"#.to_owned(), None, true),
            (format!(r#"{{"email":"bob@example.com","accepted":{DATE}}}"#), None, false),
            (r#"{"userId":"","name":"nobody"}"#.to_owned(), None, false),
            ("{}".to_owned(), None, false),
        ] {
            let read = MemberRow::of(&row);
            assert_eq!((read.member(), read.is_open()), (member, is_open), "{row}");
        }
    }

    #[test]
    fn a_row_is_of_its_subject_and_of_whoever_has_its_verified_address_only_where_it_names_no_subject() {
        let by_address = MemberRow::of(r#"{"email":" Bob@Example.com","invite":true}"#);
        assert!(by_address.names("bob", Some("bob@example.COM")));
        assert!(
            !by_address.names("bob", None) && !by_address.names("bob@example.com", Some("eve@example.com"))
        );
        let by_subject = MemberRow::of(r#"{"userId":"bob","email":"bob@example.com","invite":true}"#);
        assert!(by_subject.names("bob", None) && !by_subject.names("eve", Some("bob@example.com")));
        assert!(!MemberRow::of("{}").names("", Some("")));
    }

    fn role(row: &str, roles: &[(&str, &str)]) -> Role {
        let mut value_of = |key: &Key| -> Result<Option<String>, ()> {
            let found = roles.iter().find(|(name, _)| role_row_key("rlm1", name).as_ref() == Some(key));
            Ok(found.map(|(_, permissions)| format!(r#"{{"name":"x","permissions":{permissions}}}"#)))
        };
        MemberRow::of(row).role("rlm1", &mut value_of).expect("roles in memory")
    }

    #[test]
    fn who_manages_everything_is_an_owner_and_who_may_change_anything_a_writer() {
        for (permissions, expected) in [
            (r#"{"manage":"*"}"#, Role::Owner),
            (r#"{"add":"*","manage":"*"}"#, Role::Owner),
            (r#"{"manage":["todos"]}"#, Role::Writer),
            (r#"{"add":["todos"]}"#, Role::Writer),
            (r#"{"update":{"todos":["done"]}}"#, Role::Writer),
            (r#"{"update":{},"add":[]}"#, Role::Reader),
            (r#"{"update":null,"add":{"$t":"undefined"}}"#, Role::Reader),
            ("{}", Role::Reader),
            ("\"*\"", Role::Reader),
        ] {
            assert_eq!(role(&format!(r#"{{"permissions":{permissions}}}"#), &[]), expected, "{permissions}");
            assert_eq!(role(r#"{"roles":["r"]}"#, &[("r", permissions)]), expected, "{permissions}");
        }
        assert_eq!(role("{}", &[]), Role::Reader);
        assert_eq!(role(r#"{"roles":["unknown"]}"#, &[("r", r#"{"manage":"*"}"#)]), Role::Reader);
        let both = r#"{"roles":["unknown","r"],"permissions":{"add":"*"}}"#;
        assert_eq!(role(both, &[("r", r#"{"manage":"*"}"#)]), Role::Owner, "the most of all");
    }

    #[test]
    fn the_key_of_a_role_is_pinned_because_the_addon_makes_it() {
        let key = role_row_key("rlm1", "a\"b").expect("a key");
        assert_eq!((key.collection.as_str(), key.id.as_str()), ("roles", r#"["rlm1","a\"b"]"#));
        assert_eq!(role_row_key("rlm1", &"x".repeat(300)), None);
    }

    #[test]
    fn an_answer_sets_the_user_and_the_date_and_nothing_else() {
        let row = r#"{"email":"bob@example.com","invite":true,"accepted":{"$t":"undefined"},"n":[1]}"#;
        let after = answered(row, "bob", true, "2026-12-01T00:00:00.000Z");
        let said = format!(
            r#"{{"email":"bob@example.com","invite":true,"n":[1],"userId":"bob","accepted":{DATE}}}"#
        );
        assert_eq!(after, said);
        assert_eq!(MemberRow::of(&after).member(), Some("bob"));
        assert_eq!(MemberRow::of(&answered(row, "bob", false, "x")).member(), None);
        assert!(differ_by_answer_alone(&after, &answered(&after, "bob", false, "x")));
        assert!(!differ_by_answer_alone(row, &after), "it names somebody else");
    }
}
