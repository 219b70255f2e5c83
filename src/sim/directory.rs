//! Users' directories: the objects, and the edges that bring there what spaces say of their users, after the answer and
//! with nobody who would wait for it.

use super::{
    EAGER, Rng, USERS, World,
    check::{Listed, Shown},
    host::{Ended, Host},
    ledger::MemoryLedger,
    location::body_text,
    user_hash,
    visits::{Around, Driven, called},
};
use crate::{
    call::{Call, DirectoryAnswer, DirectoryCall},
    coordinator::ledger::PrivateTable,
    edge::visit::{Called, Effect, Event, Outgoing},
    error::ApiError,
    fronts::headwater::answer::Format,
    ids::{SpaceHash, SpaceId},
    limits::DirectoryMax,
};

/// So much that simulated directories have several pages and run out of room for reservations and hints.
pub const SMALL: DirectoryMax = DirectoryMax { made: 2, listed: 2, page: 1, hints: 2, hints_of_sender: 1 };

/// The directory of one user. Nothing of what its object runs may set an alarm.
#[derive(Debug)]
pub struct DirectoryHost {
    /// Where the object runs.
    pub host: Host,
    /// What ought to stand there.
    listed: Listed,
    copy: Option<(MemoryLedger, Listed)>,
}

impl DirectoryHost {
    fn new(rng: Rng) -> Self {
        let host = Host::new(None, None, EAGER, rng);
        Self { host, listed: Listed::new(SMALL), copy: None }
    }

    /// What ought to stand there.
    pub(super) fn listed(&self) -> &Listed {
        &self.listed
    }

    /// Storage is copied, or becomes again what was copied.
    pub fn backup(&mut self) {
        match self.copy.take() {
            None => self.copy = Some((self.host.rows().clone(), self.listed.clone())),
            Some((rows, listed)) => {
                self.host.restore(rows);
                self.listed = listed;
            }
        }
    }

    /// Storage is lost.
    pub fn wipe(&mut self) {
        self.host.wipe();
        self.listed = Listed::new(SMALL);
    }
}

/// A call that an edge has still to make after an answer.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) driven: Driven,
    pub(super) call: Box<Outgoing>,
}

/// All directories, and what is on its way to them.
#[derive(Debug)]
pub struct Directories {
    /// By user.
    pub hosts: Vec<DirectoryHost>,
    /// For what happens around them.
    pub rng: Rng,
    work: Vec<Work>,
}

impl Directories {
    pub(super) fn new(mut rng: Rng) -> Self {
        let hosts = USERS.map(|_| DirectoryHost::new(Rng::new(rng.any()))).into();
        Self { hosts, rng, work: Vec::new() }
    }

    pub(super) fn leave(&mut self, work: Work) {
        self.work.push(work);
    }

    /// How much edges have still to do.
    #[must_use]
    pub fn work_left(&self) -> usize {
        self.work.len()
    }

    /// Something of that never happens.
    pub fn lose_work(&mut self) {
        if !self.work.is_empty() {
            let lost = self.rng.index(self.work.len());
            self.work.remove(lost);
        }
    }

    /// Nothing fails any more.
    pub fn calm_down(&mut self) {
        for DirectoryHost { host, .. } in &mut self.hosts {
            (host.is_unreachable, host.section_fault) = (false, None);
        }
    }
}

impl World {
    /// One of the calls that edges have still to make, whichever.
    pub fn work_on(&mut self) {
        if self.directories.work.is_empty() {
            return;
        }
        let next = self.directories.rng.index(self.directories.work.len());
        let work = self.directories.work.swap_remove(next);
        self.work_on_errand(work);
    }

    /// Until edges have nothing left to do.
    pub fn work_off(&mut self) {
        while self.directories.work_left() > 0 {
            self.work_on();
        }
    }

    /// A call to a directory. What it has come to is checked, as far as that is known.
    pub(super) fn call_directory(&mut self, call: &Outgoing) -> Called {
        let of = |user: &usize| SpaceHash::directory(super::ISSUER, USERS[*user]) == call.object;
        let user = (0..USERS.len()).find(of).expect("the directory of a user");
        let caller = (0..USERS.len()).find(|user| user_hash(*user) == call.caller.user);
        let DirectoryHost { host, listed, .. } = &mut self.directories.hosts[user];
        let ended = host.call_by_edge(call, &mut self.kv, &self.granter, self.now);
        assert_eq!(host.alarm, None, "I8: a directory sets an alarm");
        let Call::Directory(asked) = &call.call else { panic!("BUG: no directory answers {call:?}") };
        if let Some(answer) = answer_of(asked, &ended) {
            let is_begun = host.rows().private("owner", "").is_ok_and(|owner| owner.is_some());
            listed.learn(user, caller.expect("a user"), asked, &answer, is_begun, self.now);
        }
        self.note(|| format!("the directory of user {user} is asked {asked:?}: {:?}", ended.told));
        called(&ended)
    }

    /// A user is about to make a space, and hangs up.
    pub fn reserve(&mut self, user: usize, space: &str) {
        let (path, location) = (format!("/spaces/{space}"), self.some_location());
        let begun = self.begin_visit(location, (user, 0), ("PUT", &path), Format::Json, "");
        let (mut driven, mut effect) = begun;
        loop {
            let event = match effect {
                Effect::Call(call) if matches!(call.call, Call::Directory(_)) => {
                    Event::Called(self.call_directory(&call))
                }
                // There is no such space, and there never will be.
                Effect::Call(_) if driven.visit.usage().object == 1 => {
                    Event::Called(Called::failed(ApiError::NotFound("")))
                }
                _ => return,
            };
            effect = self.step_visit(&mut driven, event);
        }
    }

    pub(super) fn some_location(&mut self) -> usize {
        self.directories.rng.index(self.locations.len())
    }

    /// A user asks for the whole list, page by page; it is checked against what ought to stand there. None if a call failed.
    pub fn list_spaces(&mut self, user: usize) -> Option<Shown> {
        let (mut shown, mut cursor) = (Shown::default(), None::<SpaceId>);
        loop {
            let path = match &cursor {
                None => "/spaces".to_owned(),
                Some(cursor) => format!("/spaces?cursor={cursor}"),
            };
            let location = self.some_location();
            let begun = self.begin_visit(location, (user, 0), ("GET", &path), Format::Json, "");
            let (mut driven, effect) = begun;
            let page = self.drive(&mut driven, effect, &mut Around::default()).ok()?;
            let page: serde_json::Value = serde_json::from_str(body_text(&page)).expect("JSON");
            let texts = |list: &str, field: &str| -> Vec<String> {
                let list = page[list].as_array().cloned().unwrap_or_default();
                list.iter().map(|one| one[field].as_str().expect("a text").to_owned()).collect()
            };
            shown.spaces.extend(texts("spaces", "space").into_iter().zip(texts("spaces", "role")));
            if cursor.is_none() {
                shown.invitations = texts("invitations", "space");
            }
            cursor = page["cursor"].as_str().map(SpaceId::stored);
            if cursor.is_none() {
                break;
            }
        }
        self.directories.hosts[user].listed.check(user, &shown);
        Some(shown)
    }
}

/// What a directory has answered, as far as anybody can know.
fn answer_of(call: &DirectoryCall, ended: &Ended) -> Option<Result<DirectoryAnswer, ApiError>> {
    let body = match &ended.done {
        Ok(body) => body.clone().unwrap_or_default(),
        Err(ApiError::Upstream) => return None,
        Err(error) => return Some(Err(error.clone())),
    };
    let (is_list, answer) = (matches!(call, DirectoryCall::List { .. }), DirectoryAnswer::of(body));
    assert_eq!(matches!(answer, DirectoryAnswer::Page(_)), is_list, "I8: a directory answers {answer:?}");
    Some(Ok(answer))
}
