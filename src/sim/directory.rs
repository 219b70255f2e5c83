//! Users' directories: the objects, and the edges that bring there what spaces say of their users, after the answer and
//! with nobody who would wait for it.

use super::{
    Rng, USERS, World,
    check::{Listed, Shown},
    ledger::MemoryLedger,
    space::{Space, person},
    user_hash,
};
use crate::{
    coordinator::{directory::Directory, ledger::Ledger},
    edge::directory::{Delivery, Next},
    ids::SpaceId,
    limits::DirectoryMax,
    protocol::{
        directory::{Aside, DirectoryAnswer, DirectoryCall, Noted},
        error::ApiError,
    },
    time::Millis,
};

/// So much that simulated directories have several pages and run out of room for reservations and hints.
pub const SMALL: DirectoryMax = DirectoryMax { made: 2, listed: 2, page: 1, hints: 2, hints_of_sender: 1 };

/// How the next call to a directory ends, if not well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryFault {
    /// The n-th write, counted from 1, is refused.
    Refused(u64),
    /// What is asked for happens, and the answer is lost.
    AnswerLost,
}

/// The object of one user's directory. It has no alarm: nothing of what it runs could set one.
#[derive(Debug)]
pub struct DirectoryHost {
    /// Whether calls fail.
    pub is_unreachable: bool,
    /// How the next call ends.
    pub fault: Option<DirectoryFault>,
    user: usize,
    /// None before something was written.
    storage: Option<MemoryLedger>,
    running: Option<Directory<MemoryLedger>>,
    /// What ought to stand there.
    listed: Listed,
    copy: Option<(Option<MemoryLedger>, Listed)>,
}

impl DirectoryHost {
    fn new(user: usize) -> Self {
        Self {
            is_unreachable: false,
            fault: None,
            user,
            storage: None,
            running: None,
            listed: Listed::new(SMALL),
            copy: None,
        }
    }

    /// The instance dies.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            self.storage = Some(std::mem::take(running.ledger()));
        }
    }

    /// Storage is copied, or becomes again what was copied.
    pub fn backup(&mut self) {
        self.kill();
        match self.copy.take() {
            None => self.copy = Some((self.storage.clone(), self.listed.clone())),
            Some((storage, listed)) => (self.storage, self.listed) = (storage, listed),
        }
    }

    /// Storage is lost.
    pub fn wipe(&mut self) {
        self.kill();
        (self.storage, self.listed) = (None, Listed::new(SMALL));
    }

    /// A call arrives, as the wire between the two carries it.
    fn call(
        &mut self,
        caller: usize,
        call: &DirectoryCall,
        now: Millis,
    ) -> Result<DirectoryAnswer, ApiError> {
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        let fault = self.fault.take();
        let call = DirectoryCall::parse(call.to_text().as_bytes()).expect("a call that is known");
        if self.running.is_none() && self.storage.is_none() && !call.begins() {
            return Ok(DirectoryAnswer::Done);
        }
        let directory = self.running.get_or_insert_with(|| {
            let ledger = self.storage.take().unwrap_or_default();
            Directory::open(ledger, SMALL).expect("storage in memory can be read")
        });
        if let Some(DirectoryFault::Refused(write)) = fault {
            directory.ledger().fail_writes_after = Some(write);
        }
        let answer = directory.answer(&user_hash(caller), &call, now);
        directory.ledger().fail_writes_after = None;
        let is_begun = directory.ledger().private("owner", "").is_ok_and(|owner| owner.is_some());
        self.listed.learn(self.user, caller, &call, &answer, is_begun, now);
        if fault == Some(DirectoryFault::AnswerLost) { Err(ApiError::Upstream) } else { answer }
    }
}

/// What an edge has still to do after an answer.
#[derive(Debug)]
enum Work {
    /// Bring what a space has said of a user into the directory.
    Deliver { user: usize, location: usize, delivery: Box<Delivery> },
    /// Leave a hint of a space in the directory of a user.
    Hint { from: usize, to: usize, space: SpaceId },
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
    pub(super) fn new(rng: Rng) -> Self {
        Self { hosts: (0..USERS.len()).map(DirectoryHost::new).collect(), rng, work: Vec::new() }
    }

    /// How much an edge has still to do.
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
        for host in &mut self.hosts {
            (host.is_unreachable, host.fault) = (false, None);
        }
    }
}

impl World {
    /// An edge takes up what a space has said beside its answer to `caller`, about whom else it was.
    pub(super) fn take_up(&mut self, caller: usize, space: usize, aside: Option<Aside>, about: usize) {
        let (Some(aside), Some(id)) = (aside, self.spaces[space].id.clone()) else { return };
        let aside = Aside::parse(&aside.to_text()).expect("an aside that is known");
        let work = match aside {
            Aside::Invited => Some(Work::Hint { from: caller, to: about, space: id }),
            Aside::Membership(membership) => {
                let location = self.directories.rng.index(self.locations.len());
                let known = self.locations[location].directories();
                let delivery = known.deliver(&user_hash(caller), &id, membership, self.now);
                delivery.map(Box::new).map(|delivery| Work::Deliver { user: caller, location, delivery })
            }
        };
        self.directories.work.extend(work);
    }

    /// One of the calls that edges have still to make, whichever.
    pub fn work_on(&mut self) {
        if self.directories.work.is_empty() {
            return;
        }
        let next = self.directories.rng.index(self.directories.work.len());
        match self.directories.work.swap_remove(next) {
            Work::Hint { from, to, space } => {
                let told = self.call_directory(to, from, &DirectoryCall::Hint { space: space.clone() });
                self.note(|| format!("user {to} gets a hint of {space}: {told:?}"));
            }
            Work::Deliver { user, location, delivery } => self.go_on(user, location, delivery),
        }
    }

    fn go_on(&mut self, user: usize, location: usize, mut delivery: Box<Delivery>) {
        match delivery.next() {
            Next::Note(entry) => {
                let noted = match self.call_directory(user, user, &DirectoryCall::Note(entry.clone())) {
                    Ok(answer) => answer.into_body().map_or(Noted::Done, |body| Noted::of(200, &body)),
                    Err(_) => Noted::Failed,
                };
                self.note(|| format!("the directory of user {user} hears {entry:?}: {noted:?}"));
                delivery.learn_noted(noted);
            }
            Next::AskAgain(claim) => {
                let named = |space: &Space| space.id.as_ref() == Some(delivery.space());
                let space = self.spaces.iter().position(named).expect("a space of this world");
                let Space { host, oracle, .. } = &mut self.spaces[space];
                let (_, aside) = host.grant(&user_hash(user), &self.granter, Some(&claim), self.now);
                oracle.learn_epoch(&host.core(self.now).position().epoch);
                self.note(|| format!("space {space} is asked with {claim} and says {aside:?}"));
                let membership = match aside {
                    Some(Aside::Membership(membership)) => Some(membership),
                    Some(Aside::Invited) | None => None,
                };
                delivery.learn_answer(membership);
            }
            Next::Done(delivered) => {
                return self.locations[location].directories().learn(delivered, self.now);
            }
            Next::GiveUp => return,
        }
        self.directories.work.push(Work::Deliver { user, location, delivery });
    }

    /// Until edges have nothing left to do.
    pub fn work_off(&mut self) {
        while self.directories.work_left() > 0 {
            self.work_on();
        }
    }

    fn call_directory(
        &mut self,
        user: usize,
        caller: usize,
        call: &DirectoryCall,
    ) -> Result<DirectoryAnswer, ApiError> {
        self.directories.hosts[user].call(caller, call, self.now)
    }

    /// A user is about to make a space.
    pub fn reserve(&mut self, user: usize, space: &str) {
        let call = DirectoryCall::Reserve { space: SpaceId::parse(space).expect("an id") };
        let reserved = self.call_directory(user, user, &call);
        self.note(|| format!("user {user} is about to make {space}: {reserved:?}"));
    }

    /// What the maker of a space hears of it.
    pub(super) fn made(&mut self, owner: usize, space: usize) {
        let Space { host, .. } = &mut self.spaces[space];
        let membership = host.core(self.now).membership(&person(owner).user).expect("storage can be read");
        self.take_up(owner, space, membership.map(Aside::Membership), owner);
    }

    /// A user asks for the whole list, page by page; it is checked against what ought to stand there. None if a call failed.
    pub fn list_spaces(&mut self, user: usize) -> Option<Shown> {
        let (mut shown, mut cursor) = (Shown::default(), None);
        loop {
            let is_first = cursor.is_none();
            let page = match self.call_directory(user, user, &DirectoryCall::List { cursor }).ok()? {
                DirectoryAnswer::Page(page) => page,
                other => panic!("I8: a list is {other:?}"),
            };
            let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
            let texts = |list: &str, field: &str| -> Vec<String> {
                let list = page[list].as_array().cloned().unwrap_or_default();
                list.iter().map(|one| one[field].as_str().expect("a text").to_owned()).collect()
            };
            shown.spaces.extend(texts("spaces", "space").into_iter().zip(texts("spaces", "role")));
            if is_first {
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
