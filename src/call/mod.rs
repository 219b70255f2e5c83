//! What the edge and the objects say to each other. The two are deployed apart: a field may be added if it is left out where it
//! says nothing, so that a call that has nothing new to say is understood by either; a call that says something new is refused
//! by an object that does not know it yet.

mod administration;
mod budget;
mod caller;
pub mod conflict;
mod directory;
pub mod live;
mod pull;
mod push;
mod usage;

pub use administration::{Administration, Guest, OnConflict, Person};
pub use budget::{BUDGET_TIMEOUT_MS, BudgetAnswer, BudgetCall, LeaseAsk, Left};
pub use caller::{Caller, Destination};
pub use directory::{ASIDE_HEADER, Aside, DirectoryAnswer, DirectoryCall, Entry, Membership, Standing};
pub use pull::{Ask, OrderedCursor, PullReply, Seen, decode_reply, encode_reply};
pub use push::{BeginPush, PushAnswer, PushRequest, ReadPush, Reading, with_grant};
pub use usage::Usage;

use crate::{
    json::{Texts, Written},
    limits,
    role::Role,
    time::Millis,
    version::Version,
};

/// What the edge asks of an object. It travels as a name, in the path, and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `POST /sync/push`. Its body is the user's.
    Push,
    /// `POST /sync/conflict`. Its body is the user's.
    Resolve,
    /// `POST /dexie/sync` with changes. Its body is the user's.
    Dexie {
        /// Whether it goes to several spaces, of which each takes what is its own and tells the edge what it has to say.
        is_part: bool,
    },
    /// `GET /sync/conflict`: a page of open conflicts.
    Conflicts {
        /// Opened after this version.
        after: Version,
    },
    /// A pull that the edge cannot answer.
    Pull(Box<Ask>),
    /// `GET /sync/live`: whoever calls wants to be told of commits, over a socket that is the answer.
    Listen {
        /// Until when the caller's token is good.
        expires: Millis,
        /// Whether answers over the socket say what they have used.
        tells_usage: bool,
        /// What a front keeps with the socket that is not our own.
        peer: Option<String>,
    },
    /// Whatever else is done about a space.
    Administer(Administration),
    /// What is asked of a user's directory.
    Directory(DirectoryCall),
    /// What is asked of the deployment's budget.
    Budget(BudgetCall),
}

impl Call {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Resolve => "resolve",
            Self::Dexie { is_part: false } => "dexie",
            Self::Dexie { is_part: true } => "dexie-part",
            Self::Conflicts { .. } => "conflicts",
            Self::Pull(_) => "pull",
            Self::Listen { .. } => "listen",
            Self::Administer(administration) => administration.name(),
            Self::Directory(_) => "directory",
            Self::Budget(_) => "budget",
        }
    }

    /// Its body, unless that is a user's.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Push | Self::Resolve | Self::Dexie { .. } => Written::default(),
            Self::Conflicts { after } => Written::default().and("after", &after.to_string()),
            Self::Pull(ask) => ask.written(),
            Self::Listen { expires, tells_usage, peer } => Written::default()
                .and("expires", &expires.0.to_string())
                .and_some("usage", tells_usage.then(|| "yes".to_owned()))
                .and_some("peer", peer.clone()),
            Self::Administer(administration) => administration.written(),
            Self::Directory(call) => call.written(),
            Self::Budget(call) => call.written(),
        }
        .end()
    }

    /// The push that [`Self::name`] named. Its body is a user's, as long as those may be, and is let in only for whoever may push.
    #[must_use]
    pub fn push(name: &str) -> Option<Self> {
        let dexie = [false, true].map(|is_part| Self::Dexie { is_part });
        [Self::Push, Self::Resolve].into_iter().chain(dexie).find(|push| push.name() == name)
    }

    /// The role that whoever makes a push has at least, so that it is let in. A front that cannot refuse one lets in readers too, whose
    /// transactions are rejected.
    #[must_use]
    pub const fn role_of_push(&self) -> Role {
        if matches!(self, Self::Dexie { .. }) { Role::Reader } else { Role::Writer }
    }

    /// Bytes that the body of a push has at most.
    #[must_use]
    pub const fn body_bytes_max(&self) -> usize {
        if matches!(self, Self::Dexie { .. }) { limits::DEXIE_BODY_BYTES_MAX } else { limits::BODY_BYTES_MAX }
    }

    /// The call of any other name. None for what [`Self::body`] does not write: an object that would overlook what a newer edge
    /// says could do what nobody asked for.
    #[must_use]
    pub fn parse(name: &str, body: &[u8]) -> Option<Self> {
        let body = std::str::from_utf8(body).ok()?;
        let texts = Texts::parse(body)?;
        let call = match name {
            "conflicts" => Self::Conflicts { after: Version::parse(texts.get("after")?)? },
            "pull" => Self::Pull(Box::new(Ask::read(&texts))),
            "listen" => {
                let expires = Millis(texts.get("expires")?.parse().ok()?);
                let (tells_usage, peer) = (texts.get("usage") == Some("yes"), texts.get("peer"));
                Self::Listen { expires, tells_usage, peer: peer.map(str::to_owned) }
            }
            "directory" => Self::Directory(DirectoryCall::read(&texts)?),
            "budget" => Self::Budget(BudgetCall::read(&texts)?),
            name => Self::Administer(Administration::read(name, &texts)?),
        };
        (call.body() == body).then_some(call)
    }

    /// The same as [`Self::is_owners`] of a call of which no more than the name is known: then its body need not be read where its
    /// user may have no more of the object.
    #[must_use]
    pub fn is_owners_by_name(name: &str) -> bool {
        let owners = [
            "delete",
            "set-member",
            "remove-member",
            "set-policy",
            "remove-policy",
            "shut-dexie",
            "admit-dexie",
            "reset-epoch",
            "uninvite",
        ];
        owners.contains(&name)
    }

    /// Whether it is admitted whatever the space has left.
    #[must_use]
    pub const fn is_owners(&self) -> bool {
        match self {
            Self::Administer(administration) => administration.is_owners(),
            Self::Push
            | Self::Resolve
            | Self::Dexie { .. }
            | Self::Conflicts { .. }
            | Self::Pull(_)
            | Self::Listen { .. }
            | Self::Directory(_)
            | Self::Budget(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{Collection, ContentHash, SpaceId, UserHash},
        version::{Epoch, Position},
    };

    fn position(text: &str) -> Position {
        Position::parse(text).expect("a position")
    }

    fn version(number: u64) -> Version {
        Version::new(number).expect("a version")
    }

    fn administrations() -> Vec<(Administration, &'static str, &'static str)> {
        const PERSON: &str = r#""user":"abababababababababababababababababababababababababababababababab","sub":"a\"l\u000aice é""#;
        let user = || UserHash::parse(&"ab".repeat(32)).expect("a hash");
        let person = || Person { user: user(), sub: "a\"l\nice é".to_owned() };
        let collection = || Collection::stored("todos");
        let guest = |email: Option<&str>| Guest {
            person: person(),
            iss: "i".to_owned(),
            email: email.map(str::to_owned),
            realm: "rlm1".to_owned(),
        };
        let about = |rest: &str| &*format!("{{{PERSON}{rest}}}").leak();
        vec![
            (Administration::Create { owner: person() }, "create", about("")),
            (Administration::Show, "show", "{}"),
            (Administration::Delete, "delete", "{}"),
            (Administration::Members { after: None }, "members", "{}"),
            (
                Administration::Members { after: Some(user()) },
                "members",
                r#"{"after":"abababababababababababababababababababababababababababababababab"}"#,
            ),
            (Administration::Member(person()), "member", about("")),
            (
                Administration::SetMember { person: person(), role: Role::Writer },
                "set-member",
                about(r#","role":"writer""#),
            ),
            (Administration::RemoveMember(person()), "remove-member", about("")),
            (Administration::Policies, "policies", "{}"),
            (
                Administration::SetPolicy { collection: collection(), policy: OnConflict::Merge },
                "set-policy",
                r#"{"collection":"todos","policy":"merge"}"#,
            ),
            (Administration::RemovePolicy(collection()), "remove-policy", r#"{"collection":"todos"}"#),
            (Administration::ShutDexie, "shut-dexie", "{}"),
            (Administration::AdmitDexie, "admit-dexie", "{}"),
            (Administration::Grant { claim: None }, "grant", "{}"),
            (
                Administration::Grant { claim: Some(position("0mwrnsa6yk3v9q2.57")) },
                "grant",
                r#"{"claim":"0mwrnsa6yk3v9q2.57"}"#,
            ),
            (Administration::Usage, "usage", "{}"),
            (Administration::ResetEpoch, "reset-epoch", "{}"),
            (
                Administration::Invite { role: Role::Writer, uses: 3, lasts_ms: 60_000 },
                "invite",
                r#"{"role":"writer","uses":"3","lasts":"60000"}"#,
            ),
            (Administration::Invitations, "invitations", "{}"),
            (Administration::Uninvite { number: 4711 }, "uninvite", r#"{"number":"4711"}"#),
            (Administration::Upload { bytes: 4711 }, "upload", r#"{"bytes":"4711"}"#),
            (Administration::Collection, "collection", "{}"),
            (
                Administration::Collect {
                    ids: "a b|".to_owned(),
                    after: version(7),
                    behind: "b|".to_owned(),
                },
                "collect",
                r#"{"ids":"a b|","after":"7","behind":"b|"}"#,
            ),
            (
                Administration::Accept {
                    person: person(),
                    incarnation: Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch"),
                    number: 4711,
                },
                "accept",
                about(r#","incarnation":"0mwrnsa6yk3v9q2","number":"4711""#),
            ),
            (Administration::Invited(guest(None)), "invited", about(r#","iss":"i","realm":"rlm1""#)),
            (
                Administration::Respond {
                    guest: guest(Some("a@b.example")),
                    row: "m1".to_owned(),
                    accepts: true,
                    at: "2026".to_owned(),
                },
                "respond",
                about(
                    r#","iss":"i","email":"a@b.example","realm":"rlm1","row":"m1","answer":"accepted","at":"2026""#,
                ),
            ),
        ]
    }

    fn full_ask() -> Ask {
        let epoch = || Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let (start, reached, horizon) = (Version::ZERO, version(9), version(1));
        Ask {
            epoch: Some(epoch()),
            since: version(41),
            min: Some(position("0mwrnsa6yk3v9q2.57")),
            min_version: Some(version(3)),
            cursor: Some(OrderedCursor { epoch: epoch(), start, reached, horizon }),
            restart: true,
            page_bytes: 262_144,
            held: Some(position("0mwrnsa6yk3v9q2.2")),
            seen: Seen::Head(position("0mwrnsa6yk3v9q2.1")),
            missed: Some(ContentHash::parse(&"cd".repeat(32)).expect("a hash")),
            expiring: true,
        }
    }

    /// Every call but pushes, with its name and its body.
    fn calls() -> Vec<(Call, &'static str, &'static str)> {
        let entry = Entry {
            space: SpaceId::stored("team"),
            incarnation: Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch"),
            standing: Standing::Member(Role::Writer),
            at: position("0mwrnsa6yk3v9q3.57"),
        };
        let space = || SpaceId::stored("team");
        let pull = |ask, body| (Call::Pull(Box::new(ask)), "pull", body);
        let directory = |call, body| (Call::Directory(call), "directory", body);
        let expires = Millis(1_795_341_182_000);
        let listen = |tells_usage, peer: Option<&str>, body| {
            (Call::Listen { expires, tells_usage, peer: peer.map(str::to_owned) }, "listen", body)
        };
        let rest = vec![
            (Call::Conflicts { after: version(7) }, "conflicts", r#"{"after":"7"}"#),
            listen(false, None, r#"{"expires":"1795341182000"}"#),
            listen(true, None, r#"{"expires":"1795341182000","usage":"yes"}"#),
            listen(false, Some("dexie"), r#"{"expires":"1795341182000","peer":"dexie"}"#),
            pull(Ask::default(), "{}"),
            pull(Ask { seen: Seen::Nothing, ..Ask::default() }, r#"{"seen":"nothing"}"#),
            pull(
                full_ask(),
                r#"{"epoch":"0mwrnsa6yk3v9q2","since":"41","min":"0mwrnsa6yk3v9q2.57","min_version":"3","cursor":"0mwrnsa6yk3v9q2.0.9.1","restart":"yes","page_bytes":"262144","held":"0mwrnsa6yk3v9q2.2","seen":"0mwrnsa6yk3v9q2.1","missed":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","expiring":"yes"}"#,
            ),
            directory(DirectoryCall::List { cursor: None }, r#"{"call":"list"}"#),
            directory(DirectoryCall::List { cursor: Some(space()) }, r#"{"call":"list","cursor":"team"}"#),
            directory(DirectoryCall::Hint { space: space() }, r#"{"call":"hint","space":"team"}"#),
            directory(DirectoryCall::Invite { space: space() }, r#"{"call":"invite","space":"team"}"#),
            directory(DirectoryCall::Reserve { space: space() }, r#"{"call":"reserve","space":"team"}"#),
            directory(
                DirectoryCall::Note(entry),
                r#"{"call":"note","space":"team","incarnation":"0mwrnsa6yk3v9q2","standing":"writer","at":"0mwrnsa6yk3v9q3.57"}"#,
            ),
        ];
        let budget = |call, body| (Call::Budget(call), "budget", body);
        let lease = LeaseAsk { writes: 8, is_first: true, is_urgent: true, requests: 2 };
        let rest = rest.into_iter().chain([
            budget(BudgetCall::Count { requests: 32 }, r#"{"call":"count","requests":"32"}"#),
            budget(
                BudgetCall::Lease(LeaseAsk { writes: 1, ..LeaseAsk::default() }),
                r#"{"call":"lease","writes":"1"}"#,
            ),
            budget(
                BudgetCall::Lease(lease),
                r#"{"call":"lease","writes":"8","first":"yes","urgent":"yes","requests":"2"}"#,
            ),
        ]);
        let administer = |(administration, name, body)| (Call::Administer(administration), name, body);
        administrations().into_iter().map(administer).chain(rest).collect()
    }

    #[test]
    fn every_call_is_pinned_because_worker_and_object_are_deployed_apart() {
        for (call, name, body) in calls() {
            let call_is_owners = call.is_owners();
            let consequence = "such requests would fail while a deployment is under way";
            assert_eq!((call.name(), &*call.body()), (name, body), "{consequence}");
            assert_eq!(Call::parse(name, body.as_bytes()), Some(call), "{consequence}");
            assert_eq!((Call::push(name), Call::is_owners_by_name(name)), (None, call_is_owners));
        }
        for (push, name) in [
            (Call::Push, "push"),
            (Call::Resolve, "resolve"),
            (Call::Dexie { is_part: false }, "dexie"),
            (Call::Dexie { is_part: true }, "dexie-part"),
        ] {
            assert_eq!(push.name(), name, "pushes would fail while a deployment is under way");
            assert_eq!((Call::push(name), Call::parse(name, b"{}")), (Some(push), None));
        }
    }

    #[test]
    fn a_call_that_says_what_is_not_known_or_leaves_out_what_is_needed_is_none() {
        for (call, name, body) in calls() {
            for bad in [
                body.replace('}', r#","later":"x"}"#).replace("{,", "{"),
                body.replace('{', r#"{"later":1,"#).replace(",}", "}"),
                format!(" {body}"),
                format!("{body}{body}"),
                body.replacen(r#"":""#, r#"":"/"#, 1).replace("{}", "[]"),
                body.replace(r#""sub""#, r#""who""#).replace("{}", ""),
            ] {
                if bad != body {
                    assert_eq!(Call::parse(name, bad.as_bytes()), None, "{name} {bad}");
                }
            }
            for other in ["", "later", "Show", "push", "resolve"] {
                assert_eq!(Call::parse(other, body.as_bytes()), None, "{other} {body}");
            }
            let least = Call::parse(name, b"{}");
            assert!(least.is_none() || least.is_some_and(|least| least.body() == "{}"), "{call:?}");
        }
        for (name, body) in [
            ("conflicts", r#"{"after":"07"}"#),
            ("listen", r#"{"expires":"-1"}"#),
            ("set-policy", r#"{"collection":"$members","policy":"merge"}"#),
            ("set-policy", r#"{"collection":"todos","policy":"last"}"#),
            ("grant", r#"{"claim":"57"}"#),
            ("pull", r#"{"restart":"no"}"#),
            ("pull", r#"{"page_bytes":"-1"}"#),
            ("directory", r#"{"call":"forget"}"#),
            ("directory", r#"{"call":"hint","space":"../x"}"#),
            ("directory", r#"{"call":"list","cursor":"a/b"}"#),
            ("budget", r#"{"call":"lease","writes":"0"}"#),
            ("budget", r#"{"call":"count","requests":"x"}"#),
        ] {
            assert_eq!(Call::parse(name, body.as_bytes()), None, "{name} {body}");
        }
        assert_eq!(Call::parse("show", &[0xff]), None);
    }

    #[test]
    fn whoever_is_about_to_leave_needs_less_than_whoever_removes_others() {
        let [me, other] = ["alice", "bob"].map(|sub| UserHash::new("i", sub));
        let leaves = Administration::RemoveMember(Person { user: me.clone(), sub: "alice".to_owned() });
        assert_eq!((leaves.needs(&me), leaves.needs(&other)), (Some(Role::Reader), Some(Role::Owner)));
        assert!(leaves.is_owners() && Call::Administer(leaves).is_owners());
    }
}
