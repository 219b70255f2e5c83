//! What comes over the sockets of an object: messages with numbers, each answered, in order. Without I/O: the platform's object and
//! the simulator's host both only carry out what it says.
//!
//! [`Conversations::hear`] takes a message; it is served when those before it on its socket have been ([`Conversations::next`]). An
//! [`Exchange`] is the serving of one, driven as a visit is. Until its turn a message is held where it came, outside of the
//! module, as `T`: only how it begins has been looked at.

mod catch_up;
mod exchange;
mod held;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use catch_up::{CatchUp, CatchUpStep};
pub use exchange::{Effect, Event, Exchange, Sender};
pub(super) use held::Held;
use held::Holder;

use super::isolate::Isolate;
use crate::{
    call::live::Closing,
    error::ApiError,
    fronts::headwater::live::{About, Heading, NO_SUCH_MESSAGE},
    ids::UserHash,
    limits,
    time::Millis,
};

/// What is said over the sockets of an instance of an object, by their numbers. All of it is lost with the instance, and what
/// was held of it is free when the next one begins.
#[derive(Debug)]
pub struct Conversations<T> {
    holder: Holder,
    of: BTreeMap<u32, Conversation<T>>,
}

#[derive(Debug)]
struct Conversation<T> {
    user: UserHash,
    /// The number of the newest message.
    last: u64,
    /// Whether a message is being served.
    is_busy: bool,
    /// Until when the last grant is good that an answer brought.
    grant_until: Millis,
    /// How many messages were refused one after the other for their user's rate.
    refused: usize,
    waiting: VecDeque<Message<T>>,
}

/// A message that has come.
#[derive(Debug)]
pub struct Message<T> {
    /// Its number.
    pub n: u64,
    /// What it asks for, or why that is not done.
    pub(super) asks: Result<About, Refusal>,
    /// Where its body begins; it ends before the last byte.
    pub body_at: usize,
    /// The whole; none of one that is refused.
    pub text: Option<T>,
    /// Bytes of it that count as held.
    pub(super) held: usize,
    /// Whether the last grant that came over its socket ends soon.
    pub(super) wants_grant: bool,
}

/// Why a message is not done, which is said when its turn comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is too long.
    UseHttp,
    /// Any other reason.
    Error(ApiError),
}

impl<T> Conversations<T> {
    /// An instance of this object begins, in this isolate.
    #[must_use]
    pub fn begin(isolate: &mut Isolate, object: &str) -> Self {
        Self { holder: isolate.messages.begin(object), of: BTreeMap::new() }
    }

    /// A message has come over a socket of `user`: its `edges`, as [`Heading::read`] takes them, and all of it with its length in bytes,
    /// or none if it is longer than a message may be.
    ///
    /// # Errors
    /// [`Closing::Violation`] for what is not of the protocol.
    pub fn hear(
        &mut self,
        isolate: &mut Isolate,
        (socket, user): (u32, &UserHash),
        edges: Option<&str>,
        text: Option<(T, usize)>,
    ) -> Result<(), Closing> {
        let head = edges.and_then(Heading::read);
        let head =
            head.ok_or(Closing::Violation("this is not how a message begins or ends, or not a text"))?;
        let fresh = || Conversation {
            user: user.clone(),
            last: 0,
            is_busy: false,
            grant_until: Millis(0),
            refused: 0,
            waiting: VecDeque::new(),
        };
        let conversation = self.of.entry(socket).or_insert_with(fresh);
        if head.n <= conversation.last && !planted!(MessageTakenTwice) {
            return Err(Closing::Violation("numbers of messages rise"));
        }
        if conversation.waiting.len() >= limits::MESSAGES_UNANSWERED_MAX {
            return Err(Closing::Violation("too many messages wait for their answers"));
        }
        conversation.last = head.n;
        conversation.waiting.push_back(taken(isolate, (&self.holder, user), &head, text));
        Ok(())
    }

    /// The next message of a socket; none if one is being served, or none waits. Whoever takes it gives it back with
    /// [`Self::served`].
    pub fn next(&mut self, socket: u32, now: Millis) -> Option<Message<T>> {
        let is_free =
            |conversation: &&mut Conversation<T>| !conversation.is_busy || planted!(MessagesOvertake);
        let conversation = self.of.get_mut(&socket).filter(is_free)?;
        let message = conversation.waiting.pop_front()?;
        conversation.is_busy = true;
        let wants_grant = conversation.grant_until.since(now) < limits::GRANT_RENEWED_MS;
        Some(Message { wants_grant, ..message })
    }

    /// A message has been answered by an exchange, or never will be.
    ///
    /// # Errors
    /// [`Closing::Lost`] where its user goes on sending what is refused for the user's rate.
    pub fn served(
        &mut self,
        isolate: &mut Isolate,
        (socket, user): (u32, &UserHash),
        message: &Message<T>,
        exchange: Option<&Exchange>,
    ) -> Result<(), Closing> {
        isolate.messages.give_back(&self.holder, user, message.held);
        let Some(conversation) = self.of.get_mut(&socket) else { return Ok(()) };
        conversation.is_busy = false;
        let Some(exchange) = exchange else { return Ok(()) };
        conversation.grant_until = exchange.grant_until().unwrap_or(conversation.grant_until);
        conversation.refused = if exchange.is_rate_limited() { conversation.refused + 1 } else { 0 };
        if conversation.refused > limits::MESSAGES_REFUSED_MAX {
            return Err(Closing::Lost(ApiError::RateLimited { retry_after_s: 1, of_space: false }));
        }
        Ok(())
    }

    /// A socket has ended. What waits on it is not done; what is being served is.
    pub fn ended(&mut self, isolate: &mut Isolate, socket: u32) {
        let Some(conversation) = self.of.remove(&socket) else { return };
        for message in &conversation.waiting {
            isolate.messages.give_back(&self.holder, &conversation.user, message.held);
        }
    }
}

/// A message whose turn will come. Its bytes are held until then, of which no user holds more than is left for all others.
fn taken<T>(
    isolate: &mut Isolate,
    (holder, user): (&Holder, &UserHash),
    head: &Heading,
    text: Option<(T, usize)>,
) -> Message<T> {
    let Heading { about, n, body_at } = *head;
    let refused =
        |refusal| Message { n, asks: Err(refusal), body_at, text: None, held: 0, wants_grant: false };
    let Some(about) = about else {
        return refused(Refusal::Error(ApiError::Malformed(NO_SUCH_MESSAGE.to_owned())));
    };
    match text {
        None => refused(Refusal::UseHttp),
        Some((_, length)) if !isolate.messages.take(holder, user, length) => {
            refused(Refusal::Error(ApiError::Overloaded))
        }
        Some((text, held)) => {
            Message { n, asks: Ok(about), body_at, text: Some(text), held, wants_grant: false }
        }
    }
}
