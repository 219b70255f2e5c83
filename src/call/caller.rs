//! Who calls an object.

use serde::{Deserialize, Serialize};

/// Who is asking, as the edge has verified it. Travels as JSON in the header `headwater-caller`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// A hash of issuer and subject.
    pub user: String,
    /// The scope of the space's KV keys, because the object cannot know under which name it was asked for. Of a shared space
    /// only the object knows it: empty, unless a grant has named it.
    pub scope: String,
    /// The id of a shared space; empty for a private one.
    #[serde(default)]
    pub space: String,
    /// The id of the request, for errors and log lines.
    #[serde(default)]
    pub request: String,
    /// The origin whose pages may read the answer, or empty.
    #[serde(default)]
    pub origin: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_of_an_older_edge_means_a_private_space_and_an_older_object_refuses_a_shared_one() {
        let caller: Caller = serde_json::from_str(r#"{"user":"u","scope":"s"}"#).expect("a caller");
        assert_eq!(caller.space, "");
        assert_eq!(
            crate::snapshot::keys::Scope::parse(""),
            None,
            "an older object asks for a scope, and opens no space"
        );
    }
}
