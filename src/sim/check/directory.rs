//! What ought to stand in a user's directory, by the contract alone: I8. And that strangers bring none into being: I9.

use std::collections::BTreeMap;

use crate::{
    call::{DirectoryAnswer, DirectoryCall, Entry, Standing},
    error::ApiError,
    limits::DirectoryMax,
    sim::{DAY_MS, USERS},
    time::Millis,
};

/// What a user is shown: spaces with roles, and those that somebody has given a hint of.
#[derive(Debug, Default)]
pub struct Shown {
    /// Spaces with roles.
    pub spaces: Vec<(String, String)>,
    /// Hints.
    pub invitations: Vec<String>,
}

/// What ought to stand in a directory.
#[derive(Debug, Clone)]
pub struct Listed {
    max: DirectoryMax,
    /// Whether its user has ever used it.
    is_begun: bool,
    /// The furthest that each space has said.
    entries: BTreeMap<String, Entry>,
    made: BTreeMap<String, Millis>,
    /// In the order in which they came.
    hints: Vec<String>,
}

impl Listed {
    /// Nothing.
    #[must_use]
    pub fn new(max: DirectoryMax) -> Self {
        Self { max, is_begun: false, entries: BTreeMap::new(), made: BTreeMap::new(), hints: Vec::new() }
    }

    /// A call to the directory of `user` was answered, which since then `is_begun`.
    ///
    /// I9: neither somebody else brings a directory into being, nor its user by asking for spaces of others.
    pub fn learn(
        &mut self,
        user: usize,
        caller: usize,
        call: &DirectoryCall,
        answer: &Result<DirectoryAnswer, ApiError>,
        is_begun: bool,
        now: Millis,
    ) {
        let name = USERS[user];
        let may_begin = match call {
            DirectoryCall::List { .. } => true,
            DirectoryCall::Note(entry) => {
                self.note(name, entry, answer);
                entry.standing.role().is_some()
            }
            DirectoryCall::Hint { space } => {
                self.hint(space.as_str(), answer.is_ok());
                false
            }
            DirectoryCall::Invite { .. } => panic!("BUG: nobody in a world is invited by an address"),
            DirectoryCall::Reserve { space } => {
                self.reserve(name, space.as_str(), answer, now);
                true
            }
        };
        let may_begin = may_begin && caller == user;
        assert!(
            may_begin || self.is_begun || !is_begun,
            "I9: {call:?} brings a directory of {name} into being"
        );
        self.is_begun = is_begun;
    }

    fn note(&mut self, name: &str, entry: &Entry, answer: &Result<DirectoryAnswer, ApiError>) {
        let id = entry.space.as_str().to_owned();
        let is_live = entry.standing.role().is_some();
        let known = self.entries.get(&id);
        if let Some(known) = known.filter(|known| known.at > entry.at) {
            let later = Ok(DirectoryAnswer::Later(known.at.clone()));
            assert_eq!(*answer, later, "I8: of {id} the list of {name} knows more than it is told");
            return;
        }
        if answer.is_err() {
            return;
        }
        assert_eq!(*answer, Ok(DirectoryAnswer::Done), "I8: the list of {name} takes {entry:?}");
        if known.is_some_and(|known| known.at == entry.at) {
            return;
        }
        self.hints.retain(|hint| *hint != id);
        if is_live || known.is_some() {
            self.entries.insert(id, entry.clone());
        }
    }

    fn hint(&mut self, id: &str, is_taken: bool) {
        let standing = self.entries.get(id).map(|entry| entry.standing);
        let is_known = standing.is_some_and(|standing| standing != Standing::None);
        if !is_taken || !self.is_begun || is_known || self.hints.iter().any(|hint| hint == id) {
            return;
        }
        // All hints of a world's user come from the other one.
        if self.hints.len() >= self.max.hints_of_sender {
            self.hints.remove(0);
        }
        self.hints.push(id.to_owned());
    }

    fn reserve(&mut self, name: &str, id: &str, answer: &Result<DirectoryAnswer, ApiError>, now: Millis) {
        if *answer == Err(ApiError::Internal) {
            return;
        }
        let is_there =
            |made: &str| self.entries.get(made).is_some_and(|entry| entry.standing != Standing::Gone);
        self.made.retain(|made, at| made == id || now.since(*at) <= DAY_MS || is_there(made));
        let may = self.made.contains_key(id) || self.made.len() < self.max.made;
        assert_eq!(answer.is_ok(), may, "I8: {name} makes {id} beside {:?}: {answer:?}", self.made);
        if may {
            self.made.insert(id.to_owned(), now);
        }
    }

    /// I8: a space is made only once its maker's directory counts it.
    pub fn check_made(&self, user: usize, space: &str) {
        assert!(self.made.contains_key(space), "I8: {} makes {space}, which is not reserved", USERS[user]);
    }

    /// I8: the list shows what ought to stand there, and no hint is taken for an entry.
    pub fn check(&self, user: usize, shown: &Shown) {
        let live = self.entries.values().filter_map(|entry| {
            Some((entry.space.as_str().to_owned(), entry.standing.role()?.as_str().to_owned()))
        });
        let live: Vec<_> = live.collect();
        assert_eq!(shown.spaces, live, "I8: the list of {}", USERS[user]);
        let mut hints = self.hints.clone();
        hints.sort();
        assert_eq!(shown.invitations, hints, "I8: the invitations of {}", USERS[user]);
    }
}
