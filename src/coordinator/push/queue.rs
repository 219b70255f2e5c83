//! Pushes that wait, and how far each has got. A push is a list of mutations, each settled on its own, so it need not be
//! settled at once: everybody of the space waits for the object's one thread.
//!
//! A slice takes short pushes, oldest first, as many as fit, and then as much again of the oldest long one. So whoever sends
//! little waits for one slice at most, and whoever sends much gets on with every slice.

use std::collections::VecDeque;

use crate::{
    call::{PushAnswer, PushRequest},
    error::ApiError,
    ids::UserHash,
    limits::{self, SliceMax},
    mutation::{Intent, MutationResult, Submitted},
    version::Position,
};

/// The name of a push while it waits. A later push has a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Pushes that wait, in the order in which they came.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    /// How many have come.
    came: u64,
}

/// A push that waits.
#[derive(Debug)]
pub(in crate::coordinator) struct Waiting {
    pub(in crate::coordinator) ticket: Ticket,
    pub(in crate::coordinator) user: UserHash,
    pub(in crate::coordinator) push: PushRequest,
    /// What earlier slices have made of it, once one has.
    pub(in crate::coordinator) progress: Option<Progress>,
}

/// How far a push has got.
#[derive(Debug, Clone, Default)]
pub(in crate::coordinator) struct Progress {
    /// Of its first mutations.
    pub(in crate::coordinator) results: Vec<MutationResult>,
    /// Up to which mutation its client had stored the results when it began.
    pub(in crate::coordinator) acked: u64,
    /// Bytes of record texts that were read, or written, for it.
    pub(in crate::coordinator) work: usize,
    /// Parked changes that it has taken out.
    pub(in crate::coordinator) parked: usize,
    /// Bytes of `theirs` for which its answer has room.
    pub(in crate::coordinator) records_room: usize,
}

impl Progress {
    /// Nothing is settled yet.
    pub(in crate::coordinator) fn begin(acked: u64) -> Self {
        Self { acked, records_room: limits::CONFLICT_BYTES_MAX, ..Self::default() }
    }

    /// The limit that the push has passed: only planning shows how much it makes of what it says.
    pub(in crate::coordinator) fn limit(&self) -> Option<&'static str> {
        if self.work > limits::PUSH_VALUES_MAX {
            return Some("The records that a push changes have at most 16 MiB: split it between mutations.");
        }
        (self.parked >= limits::CHANGES_MAX)
            .then_some("A push takes in hand at most 2,000 parked changes: split it between mutations.")
    }
}

/// A push that waits no more.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub ticket: Ticket,
    /// What it is answered.
    pub answer: Result<PushAnswer, ApiError>,
    /// Bytes of record texts that were read, or written, for it. Its user is charged for them.
    pub work: usize,
    /// Where the space stands, if a part of it was settled before it was refused.
    pub written: Option<Position>,
}

/// Whether a push that has waited may begin; see `rate`.
pub type MayBegin<'a> = &'a mut dyn FnMut(&UserHash) -> Result<(), ApiError>;

impl Queue {
    /// A push comes.
    pub fn push(&mut self, user: UserHash, push: PushRequest) -> Ticket {
        self.came += 1;
        let ticket = Ticket(self.came);
        self.waiting.push_back(Waiting { ticket, user, push, progress: None });
        ticket
    }

    /// Whether no push waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether this push waits.
    #[must_use]
    pub fn holds(&self, ticket: Ticket) -> bool {
        self.waiting.iter().any(|waiting| waiting.ticket == ticket)
    }

    /// The pushes that wait, the one that has waited longest first.
    pub fn pushes(&self) -> impl Iterator<Item = (Ticket, &PushRequest)> {
        self.waiting.iter().map(|waiting| (waiting.ticket, &waiting.push))
    }

    /// Pushes of which a part is settled, with the results of that.
    pub fn begun(&self) -> impl Iterator<Item = (Ticket, &[MutationResult])> {
        self.waiting
            .iter()
            .filter_map(|waiting| Some((waiting.ticket, &waiting.progress.as_ref()?.results[..])))
    }

    /// Takes out what the next slice is made of, in order, and those that may not begin.
    pub(in crate::coordinator) fn next_slice(
        &mut self,
        max: SliceMax,
        may_begin: MayBegin<'_>,
    ) -> (Vec<Waiting>, Vec<Done>) {
        let (mut slice, mut refused) = (Vec::new(), Vec::new());
        let (mut changes, mut bytes) = (0, 0);
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let (more_changes, more_bytes) = weight(&waiting.push.mutations);
            let fits = slice.is_empty()
                || (changes + more_changes <= max.changes && bytes + more_bytes <= max.bytes);
            if waiting.is_long(max) || self.follows_its_own(at) {
                at += 1;
                continue;
            }
            if !fits {
                break;
            }
            if let Some(waiting) = self.take(at, &mut *may_begin, &mut refused) {
                (changes, bytes) = (changes + more_changes, bytes + more_bytes);
                slice.push(waiting);
            }
        }
        let passed_over = planted!(LongStarves) && !slice.is_empty();
        while let Some(at) =
            self.waiting.iter().position(|waiting| waiting.is_long(max)).filter(|_| !passed_over)
        {
            if self.follows_its_own(at) {
                break;
            }
            if let Some(waiting) = self.take(at, &mut *may_begin, &mut refused) {
                slice.push(waiting);
                break;
            }
        }
        (slice, refused)
    }

    fn take(&mut self, at: usize, may_begin: MayBegin<'_>, refused: &mut Vec<Done>) -> Option<Waiting> {
        let waiting = self.waiting.remove(at)?;
        // What has begun goes on: its user would be told that nothing of it was done.
        match waiting.progress.as_ref().map_or_else(|| may_begin(&waiting.user), |_| Ok(())) {
            Ok(()) => Some(waiting),
            Err(error) => {
                refused.push(waiting.refused(error));
                None
            }
        }
    }

    /// Whether an earlier push of its client waits: their numbers follow each other.
    fn follows_its_own(&self, at: usize) -> bool {
        let Waiting { user, push, .. } = &self.waiting[at];
        let mut earlier = self.waiting.iter().take(at);
        earlier.any(|earlier| earlier.user == *user && earlier.push.client == push.client)
    }

    /// What is not done takes its place again.
    pub(in crate::coordinator) fn put_back(&mut self, waiting: Waiting) {
        let at = self.waiting.partition_point(|other| other.ticket < waiting.ticket);
        self.waiting.insert(at, waiting);
    }
}

impl Waiting {
    /// Whether it is more than a slice.
    fn is_long(&self, max: SliceMax) -> bool {
        let (changes, bytes) = weight(&self.push.mutations);
        changes > max.changes || bytes > max.bytes
    }

    pub(in crate::coordinator) fn refused(self, error: ApiError) -> Done {
        let work = self.progress.map_or(0, |progress| progress.work);
        Done { ticket: self.ticket, answer: Err(error), work, written: None }
    }
}

/// Changes of mutations, and bytes of their texts.
fn weight(mutations: &[Submitted]) -> (usize, usize) {
    let weights = mutations.iter().map(weight_of_one);
    weights.fold((0, 0), |(changes, bytes), (one, text)| (changes + one, bytes + text))
}

/// How much a resolution re-applies, only its plan knows.
fn weight_of_one(submitted: &Submitted) -> (usize, usize) {
    let changes = match &submitted.intent {
        Intent::Mutation(mutation) if !mutation.resolutions.is_empty() => limits::CHANGES_MAX,
        _ => submitted.changes(),
    };
    let bytes = match &submitted.intent {
        Intent::Transaction(transaction) => transaction.bytes(),
        Intent::Mutation(_) | Intent::Rejected(_) => submitted.changes.len(),
    };
    (changes, bytes)
}

/// How many of these mutations one slice settles: one at least.
pub(in crate::coordinator) fn fitting(mutations: &[Submitted], max: SliceMax) -> usize {
    let (mut changes, mut bytes) = (0, 0);
    let fits = mutations.iter().take_while(|submitted| {
        let is_first = changes == 0;
        let (more_changes, more_bytes) = weight_of_one(submitted);
        (changes, bytes) = (changes + more_changes, bytes + more_bytes);
        is_first || (changes <= max.changes && bytes <= max.bytes)
    });
    fits.count()
}
