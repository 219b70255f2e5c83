//! Names, parsed once: whoever holds one of these types holds a valid one.

use std::fmt;

use sha2::{Digest, Sha256};

/// Why a name is not one. The text is fit for the caller: it names the rule, never the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidName(pub &'static str);

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $min:literal..=$max:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Parses a name.
            ///
            /// # Errors
            /// [`InvalidName`] states the rule that was broken.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                let allowed: fn(char) -> bool = $allowed;
                if ($min..=$max).contains(&text.len()) && text.chars().all(allowed) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName($rule))
                }
            }

            /// A name out of our own storage, where only parsed or reserved names are written.
            #[must_use]
            pub fn stored(text: &str) -> Self {
                Self(text.to_owned())
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// One copy of one local database, of one user in one space: `[A-Za-z0-9_-]{8,64}`.
    ClientId, 8..=64, "a client id is 8 to 64 of A-Z a-z 0-9 _ -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
);
name!(
    /// A shared space: `[A-Za-z0-9_-]{1,64}`.
    SpaceId, 1..=64, "a space id is 1 to 64 of A-Z a-z 0-9 _ -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
);
name!(
    /// A collection: `[A-Za-z0-9_.-]{1,64}`, or a reserved one that begins with `$`.
    Collection, 1..=64, "a collection name is 1 to 64 of A-Z a-z 0-9 _ . -",
    |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
);
name!(
    /// A record inside its collection: 1 to 256 bytes of UTF-8 without control characters, compared by bytes.
    RecordId, 1..=256, "a record id is 1 to 256 bytes of UTF-8 without control characters",
    |c| !c.is_control()
);

impl SpaceId {
    /// Whether only owners of this space change the records of a collection: those of a realm of Dexie Cloud say who its members are.
    #[must_use]
    pub fn governs(&self, collection: &Collection) -> bool {
        self.0.starts_with(REALM_PREFIX) && matches!(collection.as_str(), "members" | "realms" | "roles")
    }
}

/// How the ids of the spaces of realms begin.
pub const REALM_PREFIX: &str = "dx_";

/// A record's full name. Ordered by bytes, collection first, which is the order of runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The collection.
    pub collection: Collection,
    /// The record's name in it.
    pub id: RecordId,
}

macro_rules! hash {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// A hash that was written by one of our own parts: 64 lower-case hex digits.
            ///
            /// # Errors
            /// [`InvalidName`] if it is anything else.
            pub fn parse(text: &str) -> Result<Self, InvalidName> {
                parse_hex64(text).map(Self)
            }

            /// 64 lower-case hex digits.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

hash!(
    /// The hash under which a space is stored everywhere: object name, KV keys, cache keys.
    ///
    /// Nothing is ever keyed by a name that a request chose, so no input can name another user's private space.
    SpaceHash
);

impl SpaceHash {
    /// The private space of the subject `sub` of the issuer `iss`.
    #[must_use]
    pub fn private(iss: &str, sub: &str) -> Self {
        Self(digest(&["private space", iss, sub]))
    }

    /// The shared space `id`.
    #[must_use]
    pub fn shared(id: &SpaceId) -> Self {
        Self(digest(&["shared space", id.as_str()]))
    }

    /// The directory of that subject: not a space, but an object with a name of its own. Where an object lives is decided for
    /// good by whoever reaches it first, so others may reach a user's directory, but never the private space.
    #[must_use]
    pub fn directory(iss: &str, sub: &str) -> Self {
        Self(digest(&["directory", iss, sub]))
    }

    /// The directory of a verified address, among those that its issuer vouches for: who has been invited by it may have no other name yet.
    #[must_use]
    pub fn directory_of_address(iss: &str, address: &str) -> Self {
        Self(digest(&["directory of address", iss, address]))
    }

    /// The deployment's budget, of which there is one: no space either.
    #[must_use]
    pub fn budget() -> Self {
        Self(digest(&["budget"]))
    }
}

hash!(
    /// A user of a space, as the coordinator knows one: a hash of issuer and subject, so that no person's id is stored.
    UserHash
);

impl From<SpaceHash> for UserHash {
    /// A space that calls another object, where otherwise a user does.
    fn from(SpaceHash(space): SpaceHash) -> Self {
        Self(space)
    }
}

impl UserHash {
    /// The subject `sub` of the issuer `iss`.
    #[must_use]
    pub fn new(iss: &str, sub: &str) -> Self {
        Self(digest(&["user", iss, sub]))
    }
}

hash!(
    /// The SHA-256 of an object's bytes, which is its name.
    ContentHash
);

impl ContentHash {
    /// The name of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex::encode(Sha256::digest(bytes)))
    }
}

/// Whether a character can be in the id of a file. All others stand around one: a record has it between quotes.
#[must_use]
pub const fn is_in_blob_id(one: char) -> bool {
    one.is_ascii_alphanumeric() || matches!(one, '_' | '|' | '-')
}

fn parse_hex64(text: &str) -> Result<String, InvalidName> {
    let valid = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if valid { Ok(text.to_owned()) } else { Err(InvalidName("a SHA-256 is 64 lower-case hex digits")) }
}

/// Parts are written with their lengths: `("ab", "c")` and `("a", "bc")` must not be one user.
#[inline(never)]
fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_key_safe() {
        assert!(ClientId::parse("c_9f2k1m0a").is_ok());
        assert!(ClientId::parse("short").is_err());
        assert!(SpaceId::parse("../x").is_err());
        assert!(SpaceId::parse("").is_err());
        assert!(Collection::parse("$conflicts").is_err(), "reserved names are never parsed from a push");
        assert!(RecordId::parse(&"é".repeat(128)).is_ok());
        assert!(RecordId::parse(&"é".repeat(129)).is_err());
        assert!(RecordId::parse("a\u{85}b").is_err());
        assert!(RecordId::parse("a\nb").is_err());
    }

    #[test]
    fn parts_of_a_hashed_name_do_not_run_into_each_other() {
        assert_ne!(SpaceHash::private("ab", "c"), SpaceHash::private("a", "bc"));
        assert_ne!(SpaceHash::private("", "x").as_str(), UserHash::new("", "x").as_str());
        assert_ne!(SpaceHash::private("", "x"), SpaceHash::directory("", "x"));
    }

    #[test]
    fn hashed_names_are_pinned_because_a_change_would_lose_every_space() {
        let private = SpaceHash::private("https://issuer.example", "alice");
        assert_eq!(
            private.as_str(),
            hex::encode(Sha256::digest(
                [
                    &13u64.to_be_bytes()[..],
                    b"private space",
                    &22u64.to_be_bytes(),
                    b"https://issuer.example",
                    &5u64.to_be_bytes(),
                    b"alice"
                ]
                .concat()
            )),
            "every private space would be looked for under another name: all users start empty"
        );
        let directory = SpaceHash::directory("https://issuer.example", "alice");
        assert_eq!(
            directory.as_str(),
            hex::encode(Sha256::digest(
                [
                    &9u64.to_be_bytes()[..],
                    b"directory",
                    &22u64.to_be_bytes(),
                    b"https://issuer.example",
                    &5u64.to_be_bytes(),
                    b"alice"
                ]
                .concat()
            )),
            "every list of spaces would be empty, and nobody's made spaces counted"
        );
        let of_address = SpaceHash::directory_of_address("https://issuer.example", "a@b.example");
        assert_eq!(
            of_address.as_str(),
            hex::encode(Sha256::digest(
                [
                    &20u64.to_be_bytes()[..],
                    b"directory of address",
                    &22u64.to_be_bytes(),
                    b"https://issuer.example",
                    &11u64.to_be_bytes(),
                    b"a@b.example"
                ]
                .concat()
            )),
            "nobody would find the invitations that were sent to an address"
        );
    }
}
