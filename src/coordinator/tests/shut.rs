//! What becomes of the client of Dexie Cloud where an owner has shut it out.

use super::{
    tasks::{AT, CONFIG, instance_with, task},
    transactions::transactions_of,
    *,
};
use crate::{
    call::{Ask, Call, Caller, Destination, Usage, live::Closing},
    coordinator::{
        cache::Common,
        live::Outlet,
        object::{Effect, Event, Moment, Object, Said, Task},
        sharing::administration::DEXIE_IS_SHUT,
    },
    fronts::dexie::live::Peer,
    snapshot::head::HeadMetadata,
};

/// The space `team` of alice.
struct Hall {
    object: Object<MemoryLedger>,
    scope: Scope,
    /// The metadata of the last head.
    head: Option<HeadMetadata>,
}

impl Hall {
    fn new() -> Self {
        let (object, scope) = instance_with(&Common::default());
        Self { object, scope, head: None }
    }

    /// A call through the other front.
    fn foreign(&self, name: &str, call: &Call) -> Task {
        let destination =
            Destination::Shared { id: SpaceId::stored("team"), scope: Some(self.scope.clone()) };
        let (request, origin) = (String::new(), String::new());
        let (sub, iss, spent) = (name.to_owned(), String::new(), Usage::default());
        let caller = Caller { user: user(name), destination, request, origin, sub, iss, spent };
        Task::call(call.name(), caller, || 2)
    }

    fn run(&mut self, mut task: Task, body: &str, at: Moment) -> Result<Said, ApiError> {
        let mut event = Event::Begun;
        loop {
            event = match self.object.step(&mut task, event, at) {
                Effect::ReadAlarm => Event::Alarm(None),
                Effect::SetAlarm(_) => Event::AlarmSet(true),
                Effect::ReadHead { .. } => Event::Head(Ok(None)),
                Effect::ReadBody { .. } => Event::Body(Ok(body.as_bytes().to_vec())),
                Effect::Sign { .. } => Event::Signed(Ok(("grant".to_owned(), START.plus(600_000)))),
                Effect::Put { metadata, .. } => {
                    self.head = metadata.and_then(|text| HeadMetadata::parse(&text)).or(self.head.take());
                    Event::Put(Ok(()))
                }
                Effect::Answer(answer) => return answer.result,
                Effect::Rest => return Ok(Said::Nothing),
                _ => Event::Resumed,
            };
        }
    }

    fn administer(&mut self, administration: Administration) {
        let call = Call::Administer(administration);
        self.run(task("alice", self.scope.clone(), &call), &call.body(), AT).expect("it is done");
    }

    /// Which calls of the other front by this user are refused, and how.
    fn refused(&mut self, name: &str) -> Vec<Option<ApiError>> {
        let pull = Call::Pull(Box::new(Ask { page_bytes: 1, ..Ask::default() }));
        let grant = Call::Administer(Administration::Grant { claim: None });
        let upload = Call::Administer(Administration::Upload { bytes: 1 });
        let listen = self.listen();
        let calls = [
            (Call::Dexie { is_part: false }, PUSH.to_owned()),
            (pull.clone(), pull.body()),
            (grant.clone(), grant.body()),
        ];
        let more = [(upload.clone(), upload.body()), (listen.clone(), listen.body())];
        let calls = calls.into_iter().chain(more);
        calls.map(|(call, body)| self.run(self.foreign(name, &call), &body, AT).err()).collect()
    }

    fn listen(&self) -> Call {
        let peer = Some(Peer::new("alice").to_text());
        Call::Listen { expires: START.plus(60_000), tells_usage: false, peer }
    }

    fn join(&mut self) -> Result<u32, Closing> {
        let listen = self.listen();
        let Ok(Said::Listening(applicant)) = self.run(self.foreign("alice", &listen), &listen.body(), AT)
        else {
            panic!("no socket")
        };
        self.object.join(*applicant, AT).map(|joined| joined.socket)
    }
}

const PUSH: &str = r#"{"v":3,"clientIdentity":"c1","schema":{},"lastPull":{"$t":"undefined"},"baseRevs":[],"changes":[{"table":"todos","muts":[{"type":"insert","keys":["a"],"values":[{"id":"a"}],"txid":"t1","opNo":1}]}],"y":[]}"#;

#[test]
fn where_an_owner_shuts_it_out_each_of_its_calls_is_refused_until_it_is_admitted_and_no_call_of_others() {
    let mut hall = Hall::new();
    assert_eq!(hall.refused("alice"), vec![None; 5]);
    hall.administer(Administration::ShutDexie);
    for _ in 0..2 {
        assert_eq!(hall.refused("alice"), vec![Some(DEXIE_IS_SHUT); 5]);
        let pull = Call::Pull(Box::new(Ask { page_bytes: 1, ..Ask::default() }));
        hall.run(task("alice", hall.scope.clone(), &pull), &pull.body(), AT).expect("our own front goes on");
        // The same by an instance that has to read it.
        let rows = hall.object.rows().opened();
        hall.object = Object::new(rows, CONFIG, Common::default(), START);
    }
    let strangers = hall.refused("eve");
    assert!(
        strangers.iter().all(|error| error.as_ref().is_some_and(|error| *error != DEXIE_IS_SHUT)),
        "{strangers:?}"
    );
    hall.administer(Administration::AdmitDexie);
    assert_eq!(hall.refused("alice"), vec![None; 5]);
}

#[test]
fn to_shut_it_out_closes_its_sockets_and_no_others_and_whoever_was_about_to_get_one_gets_none() {
    let mut hall = Hall::new();
    let foreign = hall.join().expect("a member");
    let applicant = {
        let listen = hall.listen();
        let said = hall.run(hall.foreign("alice", &listen), &listen.body(), AT);
        let Ok(Said::Listening(applicant)) = said else { panic!("{said:?}") };
        applicant
    };
    hall.object.live().take();
    hall.administer(Administration::ShutDexie);
    let outlets = hall.object.live().take();
    let closed = outlets.iter().filter(|outlet| {
        matches!(outlet, Outlet::CloseForeign(sockets, Closing::Lost(DEXIE_IS_SHUT)) if sockets[..] == [foreign])
    });
    assert_eq!(closed.count(), 1, "{outlets:?}");
    assert!(!outlets.iter().any(|outlet| matches!(outlet, Outlet::Close(..))), "{outlets:?}");
    assert_eq!(hall.object.join(*applicant, AT), Err(Closing::Lost(DEXIE_IS_SHUT)));
}

#[test]
fn the_next_head_says_so_as_soon_as_one_may_be_put_and_the_one_after_it_that_it_is_admitted() {
    let mut hall = Hall::new();
    for (administration, is_shut) in [(Administration::ShutDexie, true), (Administration::AdmitDexie, false)]
    {
        hall.administer(administration);
        let due = hall.object.core().expect("it is open").publisher().row().published.as_ref();
        let at = due.map_or(START, |published| published.at).plus(BY_DEMAND.interval_ms + 1);
        hall.run(Task::alarm(), "", Moment { now: at, ..AT }).expect("a turn");
        assert_eq!(
            hall.head.as_ref().map(|head| head.d),
            Some(is_shut),
            "not after an hour or when somebody pulls"
        );
    }
}

#[test]
fn a_push_that_waits_while_it_is_shut_out_is_refused_when_its_turn_comes() {
    let mut desk = Desk::new();
    let push = || transactions_of("dx_00000001", &["a"]);
    desk.core.administer(&user("alice"), &Administration::ShutDexie, desk.now, 7).expect("its owner");
    assert_eq!(desk.core.push(&[(user("alice"), push())], desk.now).remove(0).err(), Some(DEXIE_IS_SHUT));
    assert_eq!(desk.value("a"), None);
    desk.core.administer(&user("alice"), &Administration::AdmitDexie, desk.now, 7).expect("its owner");
    desk.core.push(&[(user("alice"), push())], desk.now).remove(0).expect("an answer");
    assert!(desk.value("a").is_some());
}

#[test]
fn a_publication_row_of_a_build_that_knows_nothing_of_it_admits_nobody_who_was_shut_out() {
    for text in ["of another build", r#"{"attempts":1}"#, "{}"] {
        let mut desk = Desk::new();
        desk.core.administer(&user("alice"), &Administration::ShutDexie, desk.now, 7).expect("its owner");
        let mut rows = desk.core.ledger().clone();
        rows.put_private("publication", "", text).expect("a write");
        let mut desk = Desk::on(rows);
        assert_eq!(desk.core.admit_dexie(&user("alice")), Err(DEXIE_IS_SHUT), "{text}");
        desk.core.administer(&user("alice"), &Administration::Delete, desk.now, 7).expect("its owner");
        assert_eq!(
            desk.core.admit_dexie(&user("alice")),
            Ok(()),
            "with all records its policies go, and this"
        );
    }
}
