//! A push as it travels: the request, which an edge passes on as it comes, and the answer.

use std::{fmt::Debug, ops::Range, rc::Rc};

use super::{Call, Caller, OnConflict};
use crate::{
    error::ApiError,
    ids::ClientId,
    json::{Fields, text_of_body},
    limits,
    mutation::{MutationResult, RejectCode, Settled, Submitted, Wording, joined_lines},
    version::{Epoch, Position, Version},
};

const ENVELOPE: &[&str] = &["client", "epoch", "since", "acked", "onConflict", "wantsGrant", "mutations"];

/// A push whose envelope is in order.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// Whose counter the ids belong to.
    pub client: ClientId,
    /// The history the client knows; absent until it has received one.
    pub epoch: Option<Epoch>,
    /// The version up to which the client has pulled; with it the answer carries what is newer.
    pub since: Option<Version>,
    /// The highest mutation whose result the client has stored.
    pub acked: u64,
    /// What becomes of a conflicting change; absent: what the policy of its collection says.
    pub on_conflict: Option<OnConflict>,
    /// Whether the answer shall bring a grant, where the space is a shared one.
    pub wants_grant: bool,
    /// With consecutive ids; what has a wording consists of transactions alone.
    pub mutations: Vec<Submitted>,
    /// How a front wants it answered that is not our own. Its epoch and version say what its client has, and are no condition.
    pub wording: Option<Rc<dyn Wording>>,
}

/// How the body of a push begins to be read, whichever front it is of.
pub type BeginPush = fn(&Call, Vec<u8>, &Caller) -> Result<Box<dyn ReadPush>, ApiError>;

/// A push that a front is reading. A long body can be read with others heard in between.
pub trait ReadPush: Debug {
    /// Reads the next parts: one, and more until they have so many bytes. Returns whether some are left.
    ///
    /// # Errors
    /// Why the whole push is refused.
    fn go_on(&mut self, bytes_max: usize) -> Result<bool, ApiError>;

    /// Bytes that the push takes at most once all of it is read and what is not kept of its text is gone.
    fn weight(&self) -> usize;

    /// Reads what is left.
    ///
    /// # Errors
    /// Why the whole push is refused.
    fn finish(self: Box<Self>) -> Result<PushRequest, ApiError>;
}

/// A push of our own front that is being read.
#[derive(Debug)]
pub struct Reading {
    /// With the mutations that were read so far.
    push: PushRequest,
    changes: usize,
    /// Conflicts that they name in `after`, each of which is looked for.
    follows: usize,
    /// Names in the paths that they set and unset, with the values that they list.
    named: usize,
    /// Bytes of the texts that are kept of them, which may be longer than what was sent.
    kept: usize,
    /// In which the texts of the mutations stand.
    body: String,
    left: std::vec::IntoIter<Range<usize>>,
}

impl Reading {
    /// Begins with an envelope; the texts of its mutations are put in behind it.
    fn of(envelope: &Fields<'_>) -> Result<Self, ApiError> {
        let client = envelope.text("client")?.ok_or_else(|| malformed("client is missing"))?;
        let epoch = envelope.text("epoch")?;
        let on_conflict = envelope.text("onConflict")?;
        let push = PushRequest {
            client: ClientId::parse(&client).map_err(|rule| malformed(rule.0))?,
            epoch: epoch
                .map(|epoch| Epoch::parse(&epoch).ok_or_else(|| malformed("epoch is not an epoch")))
                .transpose()?,
            since: envelope.number("since")?,
            acked: envelope.number("acked")?.map_or(0, Version::get),
            on_conflict: on_conflict
                .map(|policy| OnConflict::parse(&policy).ok_or_else(|| malformed(OnConflict::RULE)))
                .transpose()?,
            wants_grant: envelope.flag("wantsGrant")?,
            mutations: Vec::new(),
            wording: None,
        };
        let (body, left) = (String::new(), Vec::new().into_iter());
        Ok(Self { push, changes: 0, follows: 0, named: 0, kept: 0, body, left })
    }

    /// Begins with an envelope and the text of the one mutation that it means.
    pub(super) fn of_one(envelope: &Fields<'_>, mutation: String) -> Result<Self, ApiError> {
        let whole = 0..mutation.len();
        Ok(Self { body: mutation, left: vec![whole].into_iter(), ..Self::of(envelope)? })
    }

    /// Reads what is left.
    ///
    /// # Errors
    /// As [`PushRequest::read`].
    pub fn finish(mut self) -> Result<PushRequest, ApiError> {
        self.go_on(usize::MAX)?;
        self.push.check()?;
        Ok(self.push)
    }
}

impl ReadPush for Reading {
    /// As [`PushRequest::read`]. A push ends where its changes are too many: no list of all that a body can hold is made.
    fn go_on(&mut self, bytes_max: usize) -> Result<bool, ApiError> {
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(at) = self.left.next() else { return Ok(false) };
            let text = &self.body[at];
            let one = Submitted::parse(text)?;
            bytes += text.len();
            if let Some(mutation) = one.intent.mutation() {
                self.changes += mutation.size();
                self.follows += mutation.after.len();
                self.named += mutation.named;
            }
            self.kept += one.changes.len();
            if self.kept > limits::BODY_BYTES_MAX {
                return Err(ApiError::TooLarge(
                    "A body has at most 4 MiB, as it is kept: split the push between mutations.",
                ));
            }
            if self.changes > limits::CHANGES_MAX || self.follows > limits::CHANGES_MAX {
                return Err(ApiError::TooLarge(
                    "A push has at most 2,000 changes, and names as many conflicts in `after`: split it between mutations.",
                ));
            }
            if self.named > limits::NAMES_MAX {
                return Err(ApiError::TooLarge(
                    "A push sets and unsets paths of at most 20,000 names, with the values that it lists: split it between mutations.",
                ));
            }
            self.push.mutations.push(one);
        }
        Ok(!self.left.as_slice().is_empty())
    }

    fn weight(&self) -> usize {
        2 * self.kept
            + (self.named + self.follows) * limits::NAME_BYTES_PARSED
            + self.changes * limits::CHANGE_BYTES_PARSED
            + self.push.mutations.len() * limits::MUTATION_BYTES_PARSED
    }

    fn finish(self: Box<Self>) -> Result<PushRequest, ApiError> {
        Self::finish(*self)
    }
}

impl PushRequest {
    /// Begins to read a body: with its envelope.
    ///
    /// # Errors
    /// Only the envelope can fail the request: [`ApiError::Malformed`] or [`ApiError::TooLarge`]. Whatever is wrong
    /// inside a mutation becomes that mutation's [`Rejection`], so that nothing queued behind it is blocked.
    pub fn read(body: Vec<u8>) -> Result<Reading, ApiError> {
        if body.len() > limits::BODY_BYTES_MAX {
            return Err(ApiError::TooLarge("A body has at most 4 MiB: split the push between mutations."));
        }
        let body = text_of_body(body)?;
        let fields = Fields::of_body_text(&body, "a push", ENVELOPE)?;
        let mutations = fields.list("mutations", limits::MUTATIONS_MAX)?;
        let mutations = mutations.ok_or_else(|| malformed("mutations is missing"))?;
        if mutations.len() > limits::MUTATIONS_MAX {
            return Err(ApiError::TooLarge("A push has at most 500 mutations: split it between mutations."));
        }
        let place = |text: &str| {
            let begin = text.as_ptr() as usize - body.as_ptr() as usize;
            begin..begin + text.len()
        };
        let left: Vec<_> = mutations.into_iter().map(place).collect();
        let mut reading = Reading::of(&fields)?;
        reading.push.mutations.reserve_exact(left.len());
        Ok(Reading { body, left: left.into_iter(), ..reading })
    }

    /// Reads a body at once.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Self::read(body.to_vec())?.finish()
    }

    /// How many of its mutations are rejected by these results of its first ones and were not before, and why the first one was. A
    /// record whose name cannot be counts like a mutation, and again when the push is repeated: nothing remembers it.
    #[must_use]
    pub fn rejected(&self, results: &[MutationResult]) -> (u64, Option<RejectCode>) {
        let codes =
            results.iter().filter(|result| !result.duplicate).filter_map(|result| match &result.settled {
                Settled::Rejected(rejection) => Some(rejection.code),
                _ => None,
            });
        let names = self.wording.as_ref().map_or(0, |wording| wording.refused());
        let mut codes = codes.chain(std::iter::repeat_n(RejectCode::InvalidValue, names));
        let first = codes.next();
        (u64::from(first.is_some()) + codes.count() as u64, first)
    }

    /// How many changes it has, without those that its resolutions re-apply. Each mutation counts as one at least.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.mutations.iter().map(Submitted::changes).sum()
    }

    fn check(&self) -> Result<(), ApiError> {
        let consecutive = self.mutations.windows(2).all(|pair| pair[0].id + 1 == pair[1].id);
        if !consecutive {
            return Err(malformed("the ids of a push are consecutive"));
        }
        if self.epoch.is_none() && self.since.is_some_and(|since| since > Version::ZERO) {
            return Err(malformed("since belongs to an epoch: send both"));
        }
        Ok(())
    }
}

fn malformed(detail: impl Into<String>) -> ApiError {
    ApiError::Malformed(detail.into())
}

/// What a push is answered with.
#[derive(Debug, Clone, PartialEq)]
pub struct PushAnswer {
    /// Where the space stands.
    pub position: Position,
    /// One per mutation, in order.
    pub results: Vec<MutationResult>,
    /// How many were rejected, and why the first one was.
    pub rejected: (u64, Option<RejectCode>),
    /// Whether the client has to pull to get what is newer than its `since`.
    pub more: bool,
    /// Record lines between the client's `since` and `position`; empty with `more`.
    pub changes: String,
    /// A grant of the space, and how long it is good, in ms.
    pub grant: Option<(String, u64)>,
    /// All of it, as a front has worded it that is not our own.
    pub worded: Option<String>,
}

impl PushAnswer {
    /// Bytes of the records that it brings.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.worded.as_ref().unwrap_or(&self.changes).len()
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        if let Some(worded) = &self.worded {
            return worded.clone();
        }
        let results: Vec<String> = self.results.iter().map(MutationResult::to_json).collect();
        let body = format!(
            "{{\"epoch\":\"{}\",\"version\":{},\"results\":[{}],\"reset\":false,\"more\":{},\"changes\":[{}]}}",
            self.position.epoch,
            self.position.version,
            results.join(","),
            self.more,
            joined_lines(&self.changes),
        );
        match &self.grant {
            Some((grant, expires_in_ms)) => with_grant(&body, grant, *expires_in_ms),
            None => body,
        }
    }
}

/// The body of the answer to a push, with a grant that was signed meanwhile.
#[must_use]
pub fn with_grant(body: &str, grant: &str, expires_in_ms: u64) -> String {
    let body = body.strip_suffix('}').unwrap_or(body);
    format!(r#"{body},"grant":"{grant}","grantExpiresIn":{expires_in_ms}}}"#)
}
