//! Realms of Dexie Cloud: each is a shared space, whose id is made of the realm's, so that either says the other.

use base64ct::{Base64UrlUnpadded, Encoding};

use crate::ids::SpaceId;

const PREFIX: &str = "dx_";
/// Bytes of a realm's id: as many as a space's id has room for. Those that the addon makes have 30, and 34 where they are tied to a row.
pub const REALM_BYTES_MAX: usize = 45;

/// The space of a realm. None of what cannot have one, as the realm that everybody sees.
#[must_use]
pub fn space_of(realm: &str) -> Option<SpaceId> {
    let can_be = (1..=REALM_BYTES_MAX).contains(&realm.len()) && realm != "rlm-public";
    can_be
        .then(|| SpaceId::stored(&format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(realm.as_bytes()))))
}

/// The realm of a space; none of what is not one's.
#[must_use]
pub fn realm_of(space: &SpaceId) -> Option<String> {
    let encoded = space.as_str().strip_prefix(PREFIX)?;
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
        let longest = "r".repeat(REALM_BYTES_MAX);
        for realm in ["r", "rlm-ü|~", &longest] {
            let space = space_of(realm).expect("a space");
            assert!(SpaceId::parse(space.as_str()).is_ok());
            assert_eq!(realm_of(&space).as_deref(), Some(realm));
        }
        for realm in ["", "rlm-public", &"r".repeat(REALM_BYTES_MAX + 1)] {
            assert_eq!(space_of(realm), None, "{realm}");
        }
        for space in ["team", "dx_", "dx_!", "dx_cmx", "dx_cmx=", "dx__w", "dx_cmxtLXB1YmxpYw"] {
            assert_eq!(realm_of(&SpaceId::stored(space)), None, "{space}");
        }
    }
}
