//! `POST /dexie/sync`, as far as the edge reads it: whether it is a pull, and from where.

use super::{LastPull, envelope::Envelope};
use crate::{error::ApiError, ids::ClientId, limits, version::Position};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncRequest {
    /// There is something to write in it, or it is so long that there must be: the space's object reads it.
    Push,
    /// What is new.
    Pull {
        /// What its client has; none if it has nothing of ours.
        last_pull: Option<LastPull>,
        /// The client.
        client: ClientId,
    },
}

impl SyncRequest {
    /// Reads a body of a user.
    ///
    /// # Errors
    /// [`ApiError::Malformed`].
    pub fn read(body: &[u8], sub: &str) -> Result<Self, ApiError> {
        if body.len() > limits::DEXIE_PULL_BYTES_MAX {
            return Ok(Self::Push);
        }
        let body =
            std::str::from_utf8(body).map_err(|_| super::envelope::malformed("the body is not UTF-8"))?;
        let envelope = Envelope::of(body)?;
        if envelope.has_changes() {
            return Ok(Self::Push);
        }
        let last_pull = envelope.last_pull(sub);
        let client = envelope.client(last_pull.as_ref())?;
        Ok(Self::Pull { last_pull, client })
    }

    /// From where it pulls: from the beginning without one.
    #[must_use]
    pub const fn since(&self) -> Option<&Position> {
        match self {
            Self::Pull { last_pull: Some(last), .. } => last.position.as_ref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(members: &str) -> Result<SyncRequest, ApiError> {
        SyncRequest::read(format!(r#"{{"v":3,"clientIdentity":"abc",{members}}}"#).as_bytes(), "alice")
    }

    #[test]
    fn a_request_without_changes_and_documents_is_a_pull_from_where_its_client_is() {
        let pull = read(
            r#""lastPull":{"serverRevision":"0mwrnsa6yk3v9q2.57","realms":["alice","rlm-public"]},"changes":[],"y":[{"type":"sv"}]"#,
        );
        let pull = pull.expect("a pull");
        assert_eq!(pull.since().map(Position::to_string).as_deref(), Some("0mwrnsa6yk3v9q2.57"));
        let SyncRequest::Pull { last_pull: Some(last), client } = pull else { panic!("{pull:?}") };
        assert!(last.has_own);
        assert_eq!(client.as_str(), "dx_ba7816bf8f01cfea414140de5dae2223");
    }

    #[test]
    fn whoever_has_nothing_of_ours_pulls_from_the_beginning_under_one_name() {
        for last in [
            r#""lastPull":{"$t":"undefined"}"#,
            r#""lastPull":null"#,
            r#""x":1"#,
            r#""lastPull":{"serverRevision":"anonymous","realms":["rlm-public"]}"#,
        ] {
            let pull = read(&format!(r#"{last},"changes":[]"#)).expect("a pull");
            assert_eq!(pull.since(), None);
            let SyncRequest::Pull { last_pull: None, client } = pull else { panic!("{pull:?}") };
            assert_eq!(client.as_str(), "dx_first");
        }
    }

    #[test]
    fn a_revision_that_is_not_ours_is_told_from_none() {
        let pull = read(r#""lastPull":{"serverRevision":"[1,\"2823\"]","realms":[]},"changes":[]"#);
        let Ok(SyncRequest::Pull { last_pull: Some(last), .. }) = pull else { panic!("{pull:?}") };
        assert_eq!((last.position, last.has_own), (None, false));
    }

    #[test]
    fn what_has_something_to_write_is_a_push() {
        for members in [r#""changes":[{}]"#, r#""changes":[],"y":[{"type":"sv"},{"type":"u-c","k":"x"}]"#] {
            assert_eq!(read(members).expect("a push"), SyncRequest::Push, "{members}");
        }
        let long = vec![b' '; limits::DEXIE_PULL_BYTES_MAX + 1];
        assert_eq!(SyncRequest::read(&long, "alice").expect("a push"), SyncRequest::Push, "unread");
    }

    #[test]
    fn only_an_envelope_can_be_malformed() {
        for body in [
            "",
            "[]",
            "{",
            "{}",
            r#"{"clientIdentity":7,"changes":[]}"#,
            r#"{"clientIdentity":"a","changes":{}}"#,
        ] {
            assert!(SyncRequest::read(body.as_bytes(), "alice").is_err(), "{body}");
        }
    }
}
