//! A request as it is kept until it is answered: the body as it came, and of each operation where it stands.

use std::{cell::RefCell, collections::BTreeSet, ops::Range, rc::Rc};

use super::{
    LastPull,
    answer::{self, RefusedKey},
    derive::{Deriving, Stop},
    members::only_reads,
    next_pull::NextPull,
    part::PartAnswer,
    realm::Realm,
};
use crate::{
    ids::{Collection, Key, SpaceHash},
    json::{string_end, text_of},
    mutation::{
        Change, Outcome, Rejection, Settled, Token, Transaction, Unread, View, Wording,
        member_row::member_rows,
    },
    role::Role,
};

/// A request as it is kept until it is answered.
pub(super) struct Push {
    pub(super) body: String,
    pub(super) sub: String,
    /// The issuer of that subject.
    pub(super) iss: String,
    /// The realm whose space it is for, if it is for one's: there rows say who the members are.
    pub(super) governed: Option<String>,
    /// Of which realm the rows of the space are.
    pub(super) realm: Realm,
    /// Whether it was sent to several spaces, of which each takes what is its own.
    pub(super) is_part: bool,
    pub(super) space: Option<SpaceHash>,
    pub(super) last_pull: Option<LastPull>,
    /// By table. Of two equal names the last one counts.
    pub(super) primary_keys: Vec<(String, Vec<String>)>,
    /// In the order of their transactions, and of their numbers in them.
    pub(super) ops: Vec<OpPlace>,
    pub(super) transactions: Vec<KnownTransaction>,
    pub(super) touched: Vec<Key>,
    /// Records that it has left naming another realm than that of the space.
    pub(super) strays: RefCell<BTreeSet<Key>>,
    pub(super) refused: Vec<RefusedPlace>,
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push")
            .field("bytes", &self.body.len())
            .field("ops", &self.ops.len())
            .finish_non_exhaustive()
    }
}

/// Where an operation stands in the body, and the name of its table. In the order of their transactions, of their numbers in them,
/// and of the body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpPlace {
    pub(super) transaction: u32,
    pub(super) number: u32,
    pub(super) at: u32,
    pub(super) length: u32,
    pub(super) table: u32,
}

/// What is known of a transaction before its turn.
#[derive(Clone, Copy)]
pub(super) struct KnownTransaction {
    pub(super) token: Option<Token>,
    /// Where its id stands in the body.
    pub(super) id: Option<u32>,
    pub(super) keys: u32,
    pub(super) bytes: u32,
}

/// Where the names stand of a record that cannot be.
#[derive(Clone, Copy)]
pub(super) struct RefusedPlace {
    pub(super) table: u32,
    pub(super) key: u32,
    pub(super) rule: &'static str,
}

impl Push {
    /// The JSON string that begins there.
    fn string_at(&self, at: u32) -> &str {
        let at = at as usize;
        self.body.get(at..string_end(self.body.as_bytes(), at)).unwrap_or_default()
    }

    /// The properties that are the primary key of a table; none if that is not known.
    pub(super) fn primary_key_of(&self, table: &str) -> &[String] {
        let found = self.primary_keys.iter().rev().find(|(name, _)| name == table);
        found.map_or(&[], |(_, names)| names)
    }
}

/// The operations of one transaction.
pub(super) struct Operations {
    pub(super) push: Rc<Push>,
    pub(super) ops: Range<usize>,
    pub(super) known: KnownTransaction,
}

impl std::fmt::Debug for Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.push.fmt(f)
    }
}

impl Transaction for Operations {
    fn token(&self) -> Option<Token> {
        self.known.token
    }

    fn derive(&self, view: &mut dyn View) -> Result<Result<Vec<Change>, Rejection>, Unread> {
        let may_write = view.role() >= Role::Writer;
        let mut deriving = Deriving::new(&self.push, view);
        for op in &self.push.ops[self.ops.clone()] {
            let Some(table) = text_of(self.push.string_at(op.table)) else { continue };
            let Ok(of) = Collection::parse(&table) else { continue };
            let at = op.at as usize;
            let done = match may_write || of == member_rows() {
                true => deriving.op(&of, &table, &self.push.body[at..at + op.length as usize]),
                false => Err(only_reads()),
            };
            match done {
                Ok(()) => {}
                Err(Stop::Rejected(_)) if planted!(RestOfRejectedDone) => {}
                Err(stop) => return deriving.stopped(stop),
            }
        }
        if let Err(stop) = deriving.set_members() {
            return deriving.stopped(stop);
        }
        deriving.end();
        Ok(Ok(deriving.changes()))
    }

    fn size(&self) -> usize {
        self.known.keys as usize
    }

    fn bytes(&self) -> usize {
        self.known.bytes as usize
    }
}

impl Wording for Push {
    fn touched(&self) -> Vec<Key> {
        // Those are to be told first, because they have to be moved.
        let strays = self.strays.borrow();
        let others = self.touched.iter().filter(|key| !strays.contains(*key));
        strays.iter().chain(others).cloned().collect()
    }

    fn tells_all_touched(&self) -> bool {
        self.is_part
    }

    fn concerns_members(&self) -> bool {
        self.governed.is_some() && self.touched.iter().any(|key| key.collection == member_rows())
    }

    fn refused(&self) -> usize {
        self.refused.len()
    }

    fn say(&self, outcome: &Outcome<'_>) -> String {
        let refused = self.refused.iter().map(|refused| RefusedKey {
            table: self.string_at(refused.table),
            key: self.string_at(refused.key),
            rule: refused.rule,
        });
        let rejected = outcome.results.iter().zip(&self.transactions).filter_map(|(result, known)| {
            let Settled::Rejected(rejection) = &result.settled else { return None };
            Some((rejection, known.id.map(|id| self.string_at(id))))
        });
        let rejections = answer::rejections(rejected, refused.clone());
        if self.is_part {
            let corrections = answer::corrections(refused);
            return PartAnswer::of(outcome, (rejections, corrections), &self.strays.borrow()).to_text();
        }
        let standing = match (outcome.reached, &self.last_pull) {
            (Some(at), last) => NextPull::of(last.as_ref(), at, false),
            (None, Some(last)) => NextPull::unmoved(last),
            (None, None) => panic!("BUG: a client that has nothing lacks everything"),
        };
        let changes = if standing.sends_changes { outcome.changes } else { "" };
        let space = self.space.as_ref().map_or("", SpaceHash::as_str);
        let changes = [
            answer::muts(changes, &self.realm),
            answer::muts(outcome.touched, &self.realm),
            answer::corrections(refused),
        ];
        let changes: Vec<_> = changes.into_iter().filter(|muts| !muts.is_empty()).collect();
        answer::head(&standing, &self.sub, space, &rejections) + &changes.join(",") + answer::END
    }
}
