//! Realms of Dexie Cloud: each is a shared space, whose id is made of the realm's, so that either says the other.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::{
    ids::{REALM_PREFIX, SpaceId},
    json::{json_text, members, text_of},
};

/// Of which realm the rows of a space are, as a client sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm {
    /// Its id: that of its user, if it is a user's own.
    pub id: String,
    /// Whether it is the caller's own. Rows of one's own realm are stored without its id, those of a shared one as they are.
    pub is_own: bool,
    json: String,
}

impl Realm {
    /// The own one of a user.
    #[must_use]
    pub fn own(sub: &str) -> Self {
        Self { id: sub.to_owned(), is_own: true, json: json_text(sub) }
    }

    /// One that is shared.
    #[must_use]
    pub fn shared(id: &str) -> Self {
        Self { id: id.to_owned(), is_own: false, json: json_text(id) }
    }

    /// How a value begins that says of which realm it is, and whose, unless it says so itself later.
    #[must_use]
    pub fn beginning(&self) -> String {
        let owner = if self.is_own { format!(r#","owner":{}"#, self.json) } else { String::new() };
        format!(r#"{{"realmId":{}{owner}"#, self.json)
    }

    /// A value that is stored in its space, with what it is there without saying so.
    #[must_use]
    pub fn explicit(&self, value: &str) -> String {
        let says_owner = members(value).any(|(name, _)| name == r#""owner""#);
        match value.strip_prefix('{') {
            Some(rest) if self.is_own && !says_owner => {
                let comma = if rest.trim_ascii_start().starts_with('}') { "" } else { "," };
                format!(r#"{{"owner":{}{comma}{rest}"#, self.json)
            }
            _ => value.to_owned(),
        }
    }

    /// What a property is of a value that does not have it, as JSON.
    #[must_use]
    pub fn default_of(&self, name: &str) -> Option<&str> {
        let is_known = name == "realmId" || (name == "owner" && self.is_own);
        is_known.then_some(&*self.json)
    }

    /// Whether that member of a value says nothing new.
    pub(super) fn implies(&self, value: &str) -> bool {
        self.is_own && self.is_named_by(value)
    }

    fn is_named_by(&self, json: &str) -> bool {
        json == self.json || text_of(json).is_some_and(|id| id == self.id)
    }

    /// Whether a value that is stored in its space is of it.
    #[must_use]
    pub fn has(&self, value: &str) -> bool {
        named(value).is_none_or(|realm| self.is_named_by(realm))
    }

    /// Whether a value that a client writes is of it: one that names none is of the client's own.
    pub(super) fn takes(&self, value: &str) -> bool {
        named(value).map_or(self.is_own, |realm| self.is_named_by(realm))
    }
}

/// The realm that a value names, as JSON. Of two equal names the last one counts.
fn named(value: &str) -> Option<&str> {
    if !value.contains("realmId") {
        return None;
    }
    members(value).filter(|(name, _)| *name == r#""realmId""#).last().map(|(_, realm)| realm)
}

/// The realm that a value names.
#[must_use]
pub fn realm_named(value: &str) -> Option<String> {
    named(value).and_then(text_of).map(std::borrow::Cow::into_owned)
}

/// Bytes of a realm's id: as many as a space's id has room for. Those that the addon makes have 30, and 34 where they are tied to a row.
pub const REALM_BYTES_MAX: usize = 45;

/// The space of a realm. None of what cannot have one: the realm that everybody sees, and what is no realm's id, as that of a user.
#[must_use]
pub fn space_of(realm: &str) -> Option<SpaceId> {
    let can_be = realm.starts_with("rlm") && realm.len() <= REALM_BYTES_MAX && realm != "rlm-public";
    can_be.then(|| {
        SpaceId::stored(&format!("{REALM_PREFIX}{}", Base64UrlUnpadded::encode_string(realm.as_bytes())))
    })
}

/// The realm of a space; none of what is not one's.
#[must_use]
pub fn realm_of(space: &SpaceId) -> Option<String> {
    let encoded = space.as_str().strip_prefix(REALM_PREFIX)?;
    let realm = String::from_utf8(Base64UrlUnpadded::decode_vec(encoded).ok()?).ok()?;
    (space_of(&realm).as_ref() == Some(space)).then_some(realm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_of_a_realm_is_pinned_because_its_rows_are_there() {
        let space = space_of("rlm~tds0Q82g6MPNtwh2pTRQKNUqj1zcom").expect("a space");
        let consequence = "shared rows would be looked for in another space";
        assert_eq!(space.as_str(), "dx_cmxtfnRkczBRODJnNk1QTnR3aDJwVFJRS05VcWoxemNvbQ", "{consequence}");
        assert_eq!(realm_of(&space).as_deref(), Some("rlm~tds0Q82g6MPNtwh2pTRQKNUqj1zcom"));
    }

    #[test]
    fn each_realm_has_a_space_of_its_own_and_no_other_space_is_one_s() {
        let longest = format!("rlm{}", "r".repeat(REALM_BYTES_MAX - 3));
        for realm in ["rlm", "rlm-ü|~", &longest] {
            let space = space_of(realm).expect("a space");
            assert!(SpaceId::parse(space.as_str()).is_ok());
            assert_eq!(realm_of(&space).as_deref(), Some(realm));
        }
        for realm in ["", "~", "alice@example.com", "rlm-public", &format!("{longest}r")] {
            assert_eq!(space_of(realm), None, "{realm}");
        }
        for space in
            ["team", "dx_", "dx_!", "dx_cmx", "dx_cmx=", "dx__w", "dx_cmxtLXB1YmxpYw", "dx_fg", "dx_YWxpY2U"]
        {
            assert_eq!(realm_of(&SpaceId::stored(space)), None, "{space}");
        }
    }
}
