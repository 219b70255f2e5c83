//! What is on its way between clients and locations: requests and answers that are lost, repeated, late and out of order.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    Rng,
    check::Sent,
    location::{Reader, Wire},
};
use crate::{
    call::{Call, PushAnswer},
    error::ApiError,
    fronts::headwater::{answer::Format, pull::PullRequest},
    time::Millis,
    version::{Position, Version},
};

/// Whose request it is. An answer to a tab that has meanwhile given up, or whose database was replaced, is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The client.
    pub client: usize,
    /// Its tab.
    pub tab: usize,
    /// The number of the request.
    pub request: u64,
}

/// Something on its way.
#[derive(Debug, Clone)]
pub enum Message {
    /// A push, on its way to the coordinator.
    Push(Sender, Rc<SentPush>),
    /// Its answer.
    Pushed(Sender, Rc<SentPush>, Rc<Result<PushAnswer, ApiError>>),
    /// A pull, on its way to a location.
    Pull(Sender, Asked),
    /// Its answer.
    Pulled(Sender, Asked, Rc<Result<Wire, ApiError>>),
    /// What a client has said next over this connection comes to the object.
    Said(u64),
    /// What its client is told next over this connection comes to the client.
    Told(u64),
    /// A live message: where the space stands, from where, and the changes between if they are few.
    Live(usize, Version, Position, Option<Rc<str>>),
    /// A sync of `dexie-cloud-addon`, on its way to a location.
    Sync(Syncing),
    /// Its answer, and where the space stood if it was a push.
    Synced(Syncing, Rc<Result<String, ApiError>>, Option<Position>),
    /// What such a client has said over its socket comes to the object.
    AddonSays(usize),
    /// What it is told over its socket comes to it.
    AddonHears(usize),
}

/// A push as it was sent.
#[derive(Debug, Clone)]
pub struct SentPush {
    /// Whose it is.
    pub user: usize,
    /// The client id.
    pub name: String,
    /// Where the client stood.
    pub since: Option<Position>,
    /// The body.
    pub body: String,
    /// A push, or a resolution, which is short for one.
    pub call: Call,
    /// Its mutations.
    pub marks: Vec<Sent>,
}

/// A sync as it was sent.
#[derive(Debug, Clone)]
pub struct Syncing {
    /// The client, by its place among those of `dexie-cloud-addon`.
    pub client: usize,
    /// The number of the request.
    pub number: u64,
    /// At which location.
    pub location: usize,
    /// The transactions in it.
    pub marks: Rc<[u64]>,
    /// The body of the request.
    pub body: Rc<str>,
    /// What of it is streamed breaks off behind so many objects or pages.
    pub chunks: Option<usize>,
}

/// A pull as it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// By whom, with which grant.
    pub reader: Reader,
    /// At which location.
    pub location: usize,
    /// In which form.
    pub format: Format,
    /// Behind how many objects or pages the stream breaks.
    pub chunks: Option<usize>,
    /// Where the client stood when the pull began.
    pub since: Option<Position>,
    /// The body of the request.
    pub body: Rc<str>,
    /// What it says.
    pub request: Rc<PullRequest>,
}

/// How often a message meets what, in percent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Never arrives.
    pub lost: u64,
    /// Arrives a second time, later. Requests only.
    pub repeated: u64,
    /// Takes up to a minute instead of a fifth of a second.
    pub slow: u64,
}

/// Messages on their way, by when they arrive.
#[derive(Debug)]
pub struct Network {
    /// What messages meet.
    pub weather: Weather,
    on_the_way: BTreeMap<(Millis, u64), Message>,
    sent: u64,
    rng: Rng,
}

impl Network {
    /// A network on which nothing is.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { weather: Weather::default(), on_the_way: BTreeMap::new(), sent: 0, rng }
    }

    /// Sends a message.
    pub fn send(&mut self, message: Message, now: Millis) {
        let is_request = matches!(message, Message::Push(..) | Message::Pull(..));
        if is_request && self.rng.chance(self.weather.repeated) {
            self.put_on_the_way(message.clone(), now);
        }
        if !self.rng.chance(self.weather.lost) {
            self.put_on_the_way(message, now);
        }
    }

    fn put_on_the_way(&mut self, message: Message, now: Millis) {
        let longest = if self.rng.chance(self.weather.slow) { 60_000 } else { 200 };
        let at = now.plus(1 + self.rng.below(longest));
        self.sent += 1;
        self.on_the_way.insert((at, self.sent), message);
    }

    /// When the next message arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Millis> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the next message out, if it has arrived.
    pub fn arrived(&mut self, now: Millis) -> Option<Message> {
        if self.next_arrival()? > now {
            return None;
        }
        self.on_the_way.pop_first().map(|(_, message)| message)
    }

    /// Takes the next push out that arrives by `until` at the space of `clients`, for those that share a transaction.
    pub fn next_push(&mut self, until: Millis, clients: impl Fn(usize) -> bool) -> Option<Message> {
        let is_due = |((at, _), message): &(&(Millis, u64), &Message)| {
            *at <= until && matches!(message, Message::Push(sender, _) if clients(sender.client))
        };
        let key = self.on_the_way.iter().find(is_due).map(|(key, _)| *key)?;
        self.on_the_way.remove(&key)
    }

    /// Everything on its way is lost.
    pub fn clear(&mut self) {
        self.on_the_way.clear();
    }
}
