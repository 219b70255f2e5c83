//! `POST /dexie/sync`, as far as the edge reads it: whether it is a pull, and from where.

use std::collections::BTreeMap;

use super::{InvitationAnswer, LastPull, envelope::Envelope};
use crate::{error::ApiError, ids::ClientId, json::members, limits, version::Position};

/// Whether a realm may have no space yet.
pub type IsNew = bool;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncRequest {
    /// There is something to write in it.
    Push {
        /// The realms that it concerns beside the own, which their client has, or makes.
        realms: BTreeMap<String, IsNew>,
        /// As below.
        last_pull: Option<LastPull>,
        /// How its user answers invitations.
        answers: Vec<InvitationAnswer>,
    },
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
    pub fn read(body: &str, sub: &str) -> Result<Self, ApiError> {
        let envelope = Envelope::of(body)?;
        let last_pull = envelope.last_pull(sub);
        if envelope.has_changes() {
            let held = last_pull.iter().flat_map(|last| last.realms.keys());
            let mut realms: BTreeMap<_, _> = held.map(|realm| (realm.clone(), false)).collect();
            for made in envelope.made_realms() {
                if realms.len() < limits::DEXIE_REALMS_MAX && made != sub {
                    realms.entry(made).or_insert(true);
                }
            }
            let answers = envelope.invitation_answers();
            return Ok(Self::Push { realms, last_pull, answers });
        }
        let client = envelope.client(last_pull.as_ref())?;
        Ok(Self::Pull { last_pull, client })
    }

    /// Whether a long body may concern other realms than the own, as far as that is known at a glance. It is read if it may.
    #[must_use]
    pub fn may_concern_realms(body: &str) -> bool {
        let mut before = members(body).take_while(|(name, _)| *name != r#""changes""#);
        let last_pull = before.find(|(name, _)| *name == r#""lastPull""#);
        let may = |last: &str| {
            [r#""serverRevision":"{"#, r#""inviteRealms":[""#].iter().any(|it| last.contains(it))
        };
        last_pull.is_none_or(|(_, last)| may(last)) || body.contains(r#""table":"realms""#)
    }

    /// What of the body a request of the edge's own repeats: whose client it is, and what that has.
    #[must_use]
    pub fn envelope_of(body: &str) -> String {
        let kept = members(body).filter(|(name, _)| matches!(*name, r#""clientIdentity""# | r#""lastPull""#));
        kept.map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join(",")
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
        SyncRequest::read(&format!(r#"{{"v":3,"clientIdentity":"abc",{members}}}"#), "alice")
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
            let push = SyncRequest::Push { realms: BTreeMap::new(), last_pull: None, answers: Vec::new() };
            assert_eq!(read(members).expect("a push"), push, "{members}");
        }
    }

    #[test]
    fn a_push_concerns_the_realms_that_its_client_has_and_those_that_it_makes() {
        let push = read(
            r#""lastPull":{"serverRevision":"{\"~\":\"0mwrnsa6yk3v9q2.57\",\"rlm1\":\"0mwrnsa6yk3v9q2.3\",\"rlm2\":\"0mwrnsa6yk3v9q2.4\"}","realms":["alice","rlm1"]},"changes":[{"table":"realms","muts":[{"type":"upsert","keys":["rlm0","rlm1","rlm-public"],"values":[{},{},{}]},{"type":"update","keys":["rlm8"],"changeSpecs":[{}]}]},{"table":"todos","muts":[{"type":"insert","keys":["rlm9"],"values":[{}]}]}]"#,
        );
        let Ok(SyncRequest::Push { realms, last_pull: Some(last), .. }) = push else { panic!("{push:?}") };
        let concerned = [("rlm0", true), ("rlm1", false), ("rlm2", false)];
        assert_eq!(realms, concerned.map(|(realm, is_new)| (realm.to_owned(), is_new)).into());
        assert_eq!(last.position.as_ref().map(Position::to_string).as_deref(), Some("0mwrnsa6yk3v9q2.57"));
        let held = |realm| last.in_realm(realm).map(|held| (held.revision, held.has_own));
        assert_eq!(held("rlm1"), Some(("0mwrnsa6yk3v9q2.3".to_owned(), true)));
        assert_eq!(
            held("rlm2"),
            Some(("0mwrnsa6yk3v9q2.4".to_owned(), false)),
            "it was just told to forget it"
        );
        assert_eq!(held("rlm0"), None);
    }

    #[test]
    fn a_push_says_to_which_realms_its_user_is_invited_and_how_invitations_are_answered() {
        let date = r#"{"$t":"Date","v":"2026"}"#;
        let push = read(&format!(
            r#""lastPull":{{"serverRevision":"0mwrnsa6yk3v9q2.57","realms":["alice"],"inviteRealms":["rlm1","rlm-public"]}},"changes":[{{"table":"members","muts":[{{"type":"update","keys":["m1","m2","m3"],"changeSpecs":[{{"accepted":{date}}},{{"rejected":{date}}},{{"name":"x"}}]}},{{"type":"update","keys":["m4"],"changeSpecs":[{{"accepted":true}}]}},{{"type":"delete","keys":["m5"]}}]}},{{"table":"todos","muts":[{{"type":"update","keys":["m6"],"changeSpecs":[{{"accepted":{date}}}]}}]}}]"#
        ));
        let Ok(SyncRequest::Push { last_pull: Some(last), answers, .. }) = push else { panic!("{push:?}") };
        assert_eq!(last.invites, ["rlm1".to_owned()].into());
        let answers: Vec<_> =
            answers.iter().map(|answer| (&*answer.row, answer.accepts, &*answer.at)).collect();
        assert_eq!(answers, [("m1", true, "2026"), ("m2", false, "2026")]);
        assert!(SyncRequest::may_concern_realms(
            r#"{"lastPull":{"serverRevision":"7","inviteRealms":["rlm1"]},"changes":[]}"#
        ));
    }

    #[test]
    fn of_a_long_body_it_is_known_at_a_glance_that_it_concerns_no_other_realm() {
        let body = |revision: &str, table: &str| {
            format!(
                r#"{{"v":3,"lastPull":{{"serverRevision":"{revision}"}},"changes":[{{"table":"{table}","muts":[]}}]}}"#
            )
        };
        assert!(!SyncRequest::may_concern_realms(&body("0mwrnsa6yk3v9q2.57", "todos")));
        assert!(SyncRequest::may_concern_realms(&body("0mwrnsa6yk3v9q2.57", "realms")));
        assert!(SyncRequest::may_concern_realms(&body("{\\\"~\\\"", "todos")));
        assert!(SyncRequest::may_concern_realms("{}"));
        let envelope = SyncRequest::envelope_of(&body("7", "todos").replace("\"v\"", "\"clientIdentity\""));
        assert_eq!(envelope, r#""clientIdentity":3,"lastPull":{"serverRevision":"7"}"#);
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
            assert!(SyncRequest::read(body, "alice").is_err(), "{body}");
        }
    }
}
