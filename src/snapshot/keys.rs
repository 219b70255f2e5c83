//! The grammar of KV and cache keys. Nobody else builds one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ContentHash, SpaceHash},
    version::Epoch,
};

/// Under what a space's keys stand: its hash, and for a shared space the incarnation, because its id may have named
/// another space before, whose head KV may still hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// Of a private space.
    #[must_use]
    pub fn private(space: &SpaceHash) -> Self {
        Self(space.as_str().to_owned())
    }

    /// Of one incarnation of a shared space.
    #[must_use]
    pub fn shared(space: &SpaceHash, incarnation: &Epoch) -> Self {
        Self(format!("{space}.{incarnation}", space = space.as_str()))
    }

    /// Out of its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (space, incarnation) = match text.split_once('.') {
            Some((space, incarnation)) => (space, Some(incarnation)),
            None => (text, None),
        };
        SpaceHash::parse(space).ok()?;
        if let Some(incarnation) = incarnation {
            Epoch::parse(incarnation)?;
        }
        Some(Self(text.to_owned()))
    }

    /// Whether it belongs to a shared space.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.contains('.')
    }

    /// The space and the incarnation of a shared one.
    #[must_use]
    pub fn parts(&self) -> Option<(SpaceHash, Epoch)> {
        let (space, incarnation) = self.0.split_once('.')?;
        Some((SpaceHash::parse(space).ok()?, Epoch::parse(incarnation)?))
    }

    /// The space, shared or not.
    ///
    /// # Panics
    /// Never: a scope begins with the hash of its space.
    #[must_use]
    pub fn space(&self) -> SpaceHash {
        let space = self.0.split('.').next().unwrap_or_default();
        SpaceHash::parse(space).expect("BUG: a scope does not begin with a hash")
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of the head.
    #[must_use]
    pub fn head_key(&self) -> String {
        format!("v1/{}/head", self.in_keys())
    }

    /// The key of an object.
    #[must_use]
    pub fn object_key(&self, hash: &ContentHash) -> String {
        format!("v1/{}/o/{}", self.in_keys(), hash.as_str())
    }

    /// The key of a file, in a bucket of R2. Its `id` has no slash.
    #[must_use]
    pub fn blob_key(&self, id: &str) -> String {
        format!("v1/{}/b/{id}", self.in_keys())
    }

    /// How the keys of all files of a space begin, of a shared one those of every incarnation.
    #[must_use]
    pub fn blobs_of(space: &SpaceHash, is_shared: bool) -> String {
        format!("v1/{}{}", space.as_str(), if is_shared { "." } else { "/b/" })
    }

    fn in_keys(&self) -> &str {
        if planted!(IncarnationLeftOut) { self.0.split('.').next().unwrap_or_default() } else { &self.0 }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Scope {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a scope")
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pinned_because_every_published_space_stands_under_them() {
        let space = SpaceHash::parse(&"ab".repeat(32)).expect("a hash");
        let private = Scope::private(&space);
        let consequence = "every space would have to be published anew, and readers would miss until then";
        assert_eq!(private.head_key(), format!("v1/{}/head", "ab".repeat(32)), "{consequence}");
        let hash = ContentHash::parse(&"cd".repeat(32)).expect("a hash");
        let key = format!("v1/{}/o/{}", "ab".repeat(32), "cd".repeat(32));
        assert_eq!(private.object_key(&hash), key, "{consequence}");
        let epoch = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let shared = Scope::shared(&space, &epoch);
        assert_eq!(
            shared.head_key(),
            format!("v1/{}.0mwrnsa6yk3v9q2/head", "ab".repeat(32)),
            "{consequence}"
        );
        let lost = "no record's files would be found any more";
        assert_eq!(private.blob_key("a|b"), format!("v1/{}/b/a|b", "ab".repeat(32)), "{lost}");
        assert_eq!(shared.blob_key("a|b"), format!("v1/{}.0mwrnsa6yk3v9q2/b/a|b", "ab".repeat(32)), "{lost}");
        for (scope, is_shared) in [(&private, false), (&shared, true)] {
            assert!(scope.blob_key("a|b").starts_with(&Scope::blobs_of(&space, is_shared)), "{lost}");
            assert!(!scope.blob_key("a|b").starts_with(&Scope::blobs_of(&space, !is_shared)));
        }
        assert_eq!(Scope::parse(shared.as_str()), Some(shared));
    }
}
