//! What comes over the sockets of an object: messages that wait in its isolate for their turn, and their exchanges.

use super::Host;
use crate::{
    call::Usage,
    coordinator::object::Moment,
    edge::{
        isolate::Isolate,
        live::{Conversations, Effect, Event, Exchange, Message, Sender},
    },
    error::ApiError,
    ids::UserHash,
    limits,
    sim::messages::{Serving, Spoken},
    time::Millis,
};

impl super::sockets::Sockets {
    /// Where the object runs, and what is said there; none while no instance does.
    pub(super) fn place(&mut self) -> Option<(&mut Isolate, &mut Conversations<Spoken>)> {
        self.isolate.as_mut().zip(self.conversations.as_mut())
    }

    pub(super) fn forget_conversation(&mut self, socket: u32) {
        if let Some((isolate, conversations)) = self.place() {
            conversations.ended(isolate, socket);
        }
    }
}

impl Host {
    /// A message has come over a socket that is open.
    pub fn hear(&mut self, socket: u32, spoken: Spoken, now: Millis) {
        self.begin_instance(now);
        self.bill(&Usage { messages: 1, ..Usage::default() });
        let object = self.object.as_mut().expect("it runs");
        object.message_came(now);
        let heard = object.live().hear(socket, now).map(|listener| listener.user.clone());
        if let Ok(user) = heard {
            let edges = edges(&spoken.text);
            let length = spoken.text.len();
            let whole = (length <= limits::MESSAGE_BYTES_MAX).then_some((spoken, length));
            let (isolate, conversations) = self.sockets.place().expect("it runs");
            if let Err(why) = conversations.hear(isolate, (socket, &user), Some(&edges), whole) {
                self.object.as_mut().expect("it runs").live().close(vec![socket], why);
            }
        }
        self.carry_out_live(now);
    }

    /// Begins to serve the next message of a socket, if one waits and none is being served. I9: nobody is served whose token has ended.
    pub fn next_message(&mut self, socket: u32, now: Millis) -> Option<(Serving, Effect)> {
        let message = self.sockets.place()?.1.next(socket, now)?;
        let live = self.object.as_mut().expect("it runs").live();
        let user = live.listener(socket).expect("it has sent a message").user.clone();
        let sender = live.hear(socket, now).map(|listener| {
            assert!(listener.expires > now, "I9: a message is served whose sender's token has ended");
            let (caller, role, tells_usage) = (listener.as_caller(), listener.role, listener.tells_usage);
            Sender { caller, role, tells_usage }
        });
        self.carry_out_live(now);
        let Ok(sender) = sender else {
            self.message_is_served((socket, &user), &message, None, now);
            return None;
        };
        let (exchange, effect) =
            self.sockets.place().expect("it runs").0.begin_exchange(&message, socket, sender, now);
        Some((Serving { socket, message, exchange, told: None }, effect))
    }

    /// What an exchange does about what has happened.
    pub fn step_exchange(&mut self, exchange: &mut Exchange, event: Event, now: Millis) -> Effect {
        let isolate = self.sockets.isolate.as_mut().expect("it has begun the exchange");
        isolate.step_exchange(exchange, event, now)
    }

    /// Whether whoever has sent a message may have more of the object.
    ///
    /// # Errors
    /// As the object refuses.
    pub fn admit_message(&mut self, socket: u32, now: Millis) -> Result<(), ApiError> {
        let at = Moment { now, random: self.rng.any() };
        self.object.as_mut().expect("it runs").admit_message(socket, at)
    }

    /// A socket has a new token. Says in how many ms it ends.
    pub fn renew_socket(&mut self, socket: u32, expires: Millis, now: Millis) -> u64 {
        let ends_in_ms = self.object.as_mut().expect("it runs").live().renew(socket, expires, now);
        self.carry_out_live(now);
        ends_in_ms
    }

    /// Bytes of messages that are held where the object runs.
    #[must_use]
    pub fn messages_held(&self) -> usize {
        self.sockets.isolate.as_ref().map_or(0, Isolate::messages_held)
    }

    /// A message has been answered by an exchange, or never will be.
    pub fn message_is_served(
        &mut self,
        sender: (u32, &UserHash),
        message: &Message<Spoken>,
        exchange: Option<&Exchange>,
        now: Millis,
    ) {
        let Some((isolate, conversations)) = self.sockets.place() else { return };
        let served = conversations.served(isolate, sender, message, exchange);
        if let (Err(why), Some(object)) = (served, &mut self.object) {
            object.live().close(vec![sender.0], why);
            self.carry_out_live(now);
        }
    }
}

/// The first characters of a message, and its last one, as the platform's side hands them over.
#[must_use]
pub fn edges(text: &str) -> String {
    let first: String = text.chars().take(limits::MESSAGE_HEAD).collect();
    let last = text.chars().last().filter(|_| first.len() < text.len());
    first.chars().chain(last).collect()
}
