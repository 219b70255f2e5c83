//! What a front of another protocol brings instead of mutations: transactions, of which nobody knows what they change before
//! their turn comes, because they speak of records by conditions. The front implements [`Transaction`] and [`Wording`], the
//! coordinator [`View`], and neither knows the other.

use std::fmt::Debug;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::{Change, MutationResult, Rejection};
use crate::{
    ids::{Collection, Key, RecordId, UserHash},
    role::Role,
    version::Position,
};

/// Records could not be read. Whoever gets it passes it on; what was wrong is known to whoever has given the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread;

/// The records as everything leaves them that was settled before. Never waits.
pub trait View {
    /// The value of a record, if it is there.
    ///
    /// # Errors
    /// When storage cannot be read.
    fn value(&mut self, key: &Key) -> Result<Option<String>, Unread>;

    /// Whether the push may go through more records: where not, what it means by conditions has to be known otherwise.
    fn may_scan(&self) -> bool {
        true
    }

    /// What whoever pushes may do. A reader's transaction does nothing but end that membership.
    fn role(&self) -> Role;

    /// Makes somebody a member with this role, or none, in the same step as what the transaction comes to. Nothing happens to an owner.
    fn set_member(&mut self, _user: UserHash, _sub: &str, _role: Option<Role>) {}

    /// So many bytes of texts were gone through to find out what it comes to, beside records: whoever waits for the push pays for it.
    fn has_gone_through(&mut self, _bytes: usize) {}

    /// Records of a collection behind `after` by id, about `count` of them, of up to 256 KiB each: ask for few.
    ///
    /// # Errors
    /// When storage cannot be read.
    fn records(&mut self, of: &Collection, after: Option<&RecordId>, count: usize)
    -> Result<Scanned, Unread>;
}

/// Some records of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scanned {
    /// With their values, in any order.
    pub records: Vec<(RecordId, String)>,
    /// Behind which id there may be more.
    pub next: Option<RecordId>,
}

/// Tells a transaction from any other of its client: the first 72 bits of the SHA-256 of the id that the client has given it, in
/// base64. A client that has not heard how it ended sends it again under the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token([u8; Self::LEN]);

impl Token {
    /// Characters of a token.
    pub const LEN: usize = 12;

    /// Of an id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        let mut token = [0; Self::LEN];
        let encoded = Base64UrlUnpadded::encode(&hash[..9], &mut token);
        assert!(encoded.is_ok(), "BUG: 9 bytes are not 12 characters");
        Self(token)
    }

    /// As it stands in a client's row.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A transaction of a front: all of it is done, or none.
pub trait Transaction: Debug {
    /// What it is known by when it comes again. Without one it is done each time that it comes.
    fn token(&self) -> Option<Token>;

    /// What it comes to now: at most one change for each record, each [`super::Op::Put`] of a value that may be stored, or
    /// [`super::Op::Delete`], without a base. Empty if it changes nothing. Or why nothing of it is done.
    ///
    /// # Errors
    /// When storage cannot be read.
    fn derive(&self, view: &mut dyn View) -> Result<Result<Vec<Change>, Rejection>, Unread>;

    /// About how many records it changes: those that it names.
    fn size(&self) -> usize;

    /// Bytes of its text.
    fn bytes(&self) -> usize;
}

/// How a push of a front is answered.
pub trait Wording: Debug {
    /// The records that the push names. The answer says how they stand, whether or not the push has changed them.
    fn touched(&self) -> Vec<Key>;

    /// Whether it says so of all of them, also of those that are among what its client was missing.
    fn tells_all_touched(&self) -> bool {
        false
    }

    /// Whether it may change who the members are: then a reader's transactions are asked what they come to.
    fn concerns_members(&self) -> bool {
        false
    }

    /// How many records the push names, by names that cannot be. Nothing is done to them.
    fn refused(&self) -> usize {
        0
    }

    /// The body of the answer.
    fn say(&self, outcome: &Outcome<'_>) -> String;
}

/// What has become of a push of a front.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// Up to where `changes` brings its client: where the space stands, or below it, because there is more. None if the
    /// position that the client has named is of another history, or of one that is forgotten: then `changes` is empty.
    pub reached: Option<&'a Position>,
    /// Record lines above the position that the client has named, in the order of their versions: the present state of each
    /// record, with deletions.
    pub changes: &'a str,
    /// Record lines of those touched records that are not among them, each as it stands; one that never was as a deletion.
    pub touched: &'a str,
    /// One for each transaction, in order.
    pub results: &'a [MutationResult],
}
