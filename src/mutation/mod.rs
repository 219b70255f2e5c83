//! What clients ask to be done to records, and what becomes of it: the same for every front.

mod canonical;
pub mod member_row;
mod resolve;
mod result;
mod text;
mod transaction;

use std::{borrow::Cow, rc::Rc};

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

pub use resolve::{Decision, Resolution};
pub use result::{MutationResult, Obstacle, Settled, There, joined_lines};
#[cfg(feature = "dexie")]
pub(crate) use text::storable;
pub use transaction::{Outcome, Scanned, Token, Transaction, Unread, View, Wording};

use crate::{
    ids::Key,
    json::Misfit,
    value::Path,
    version::{ConflictId, Epoch, Version},
};

/// A numbered mutation, or why it is none.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// The client's own counter, from 1.
    pub id: u64,
    /// Tells mutations with the same number apart.
    pub digest: MutationDigest,
    /// The text of its `changes`, without white space: what is parked if it conflicts. Empty for what cannot be.
    pub changes: String,
    /// What to apply.
    pub intent: Intent,
}

/// What a client wants of records.
#[derive(Debug, Clone)]
pub enum Intent {
    /// This.
    Mutation(Mutation),
    /// What its front will find out when its turn comes.
    Transaction(Rc<dyn Transaction>),
    /// Something that cannot be.
    Rejected(Rejection),
}

impl Intent {
    /// What is known before its turn comes.
    #[must_use]
    pub fn mutation(&self) -> Option<&Mutation> {
        if let Self::Mutation(mutation) = self { Some(mutation) } else { None }
    }
}

impl From<Result<Mutation, Rejection>> for Intent {
    fn from(read: Result<Mutation, Rejection>) -> Self {
        read.map_or_else(Self::Rejected, Self::Mutation)
    }
}

/// The first characters of the SHA-256, in base64, of a mutation's canonical text: 30 bits. A client's row has one for each
/// of its latest mutations and is written with each of its pushes, and nobody gains by mutations of their own that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutationDigest([u8; Self::LEN]);

impl MutationDigest {
    /// Characters of a digest.
    pub const LEN: usize = 5;

    /// Of a canonical text.
    #[must_use]
    pub fn of(canonical: &str) -> Self {
        let hash = Sha256::digest(canonical.as_bytes());
        let mut characters = [0; 8];
        let encoded = Base64UrlUnpadded::encode(&hash[..6], &mut characters);
        assert!(encoded.is_ok(), "BUG: 6 bytes are not 8 characters");
        let mut digest = [0; Self::LEN];
        digest.copy_from_slice(&characters[..Self::LEN]);
        Self(digest)
    }

    /// As it stands in a client's row.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// An atomic list of changes.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// The epoch in which its bases were read, where that is not the request's.
    pub epoch: Option<Epoch>,
    /// The conflicts under which what it was made behind is parked.
    pub after: Vec<ConflictId>,
    /// In order.
    pub changes: Vec<Change>,
    /// Resolutions of conflicts, in order, each with its place among the changes.
    pub resolutions: Vec<Resolution>,
    /// How many names the paths have that it sets and unsets, with the values that it lists.
    pub named: usize,
}

/// A change of one record.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record.
    pub key: Key,
    /// A version at which the client's copy was current; 0: it had none; absent: do not check.
    pub base: Option<Version>,
    /// What to do.
    pub op: Op,
}

/// What a change does to its record. Values are JSON texts without white space, within their limits.
#[derive(Debug, Clone)]
pub enum Op {
    /// Writes the whole record.
    Put(String),
    /// Changes fields.
    Patch {
        /// Values to write, by path.
        set: Vec<(Path, String)>,
        /// Paths to remove.
        unset: Vec<Path>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Removes the record.
    Delete,
    /// Adds to a number.
    Add {
        /// Where it is.
        path: Path,
        /// What to add.
        by: f64,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Appends to an array what it does not have.
    Include {
        /// Where it is.
        path: Path,
        /// Scalars.
        values: Vec<String>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
    /// Removes from an array what equals one of the values.
    Exclude {
        /// Where it is.
        path: Path,
        /// Scalars.
        values: Vec<String>,
        /// What to write where the record is absent.
        or_put: Option<String>,
    },
}

/// Why a mutation was not applied, in words that are part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectCode {
    /// An op that this server does not know.
    UnsupportedOp,
    /// A name, path, base or value that cannot be.
    InvalidValue,
    /// Above a limit of a mutation.
    TooLarge,
    /// It conflicts, and there is no room to park it.
    TooManyConflicts,
    /// The space has no room for it.
    QuotaExceeded,
    /// A conflict that is closed, or never was.
    NotFound,
    /// A reserved collection, or somebody else's conflict.
    Forbidden,
}

impl RejectCode {
    const ALL: [Self; 7] = [
        Self::UnsupportedOp,
        Self::InvalidValue,
        Self::TooLarge,
        Self::TooManyConflicts,
        Self::QuotaExceeded,
        Self::NotFound,
        Self::Forbidden,
    ];

    /// The code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedOp => "unsupported_op",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
            Self::TooManyConflicts => "too_many_conflicts",
            Self::QuotaExceeded => "quota_exceeded",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
        }
    }

    /// The code that [`Self::as_str`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// A mutation that uses up its number and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// For programs.
    pub code: RejectCode,
    /// For people.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    /// A rejection.
    #[must_use]
    pub fn new(code: RejectCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectCode::InvalidValue, detail)
    }
}

impl From<Misfit> for Rejection {
    fn from(misfit: Misfit) -> Self {
        Self::new(RejectCode::InvalidValue, misfit.0)
    }
}
