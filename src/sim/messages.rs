//! What clients say over sockets: numbered messages, and the answers to them, each way in the order in which they were said. The
//! network says when the next one comes.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use serde_json::{Value, value::RawValue};

use super::{
    USERS, World,
    client::Client,
    location::{Wire, authorization},
    network::{Asked, Message as Moving, Sender, SentPush},
    space::{Space, Waiting},
    traffic::brief,
    user_hash,
};
use crate::{
    call::{Call, PushAnswer, Usage},
    edge::{
        live::{Effect, Event, Exchange, Message},
        visit::Outgoing,
    },
    error::ApiError,
};

/// A message as its client has sent it.
#[derive(Debug, Clone)]
pub struct Spoken {
    /// The whole.
    pub text: String,
    /// The push in it.
    pub sent: Option<Rc<SentPush>>,
}

/// What a message asks for, as its client remembers it.
#[derive(Debug)]
pub(super) enum Asks {
    Push(Sender, Rc<SentPush>),
    Pull(Sender, Asked),
    Token,
}

/// What has become of a push.
pub type Pushed = Rc<Result<PushAnswer, ApiError>>;

/// A message that an object serves.
#[derive(Debug)]
pub struct Serving {
    /// Over which socket it has come.
    pub socket: u32,
    /// The message.
    pub message: Message<Spoken>,
    /// How far it is.
    pub exchange: Exchange,
    /// What has become of the push in it.
    pub told: Option<Pushed>,
}

/// What goes over one socket.
#[derive(Debug)]
struct Connection {
    client: usize,
    space: usize,
    /// The number of its end at the object.
    socket: u32,
    /// The number of the newest message.
    last: u64,
    /// On its way to the object.
    said: VecDeque<Spoken>,
    /// On its way to the client.
    told: VecDeque<(String, Option<Pushed>)>,
    /// What the client waits for, in order.
    awaited: VecDeque<(u64, Asks)>,
}

/// Connections of a world, each under a number.
#[derive(Debug, Default)]
pub struct Connections {
    all: BTreeMap<u64, Connection>,
    /// What objects are serving, also for those who have gone.
    serving: BTreeMap<u64, (usize, Serving)>,
    /// How many there were.
    begun: u64,
}

impl World {
    /// The connection of a client, as far as the client knows.
    pub(super) fn connection_of(&self, client: usize) -> Option<u64> {
        let mut all = self.connections.all.iter();
        all.find(|(_, connection)| connection.client == client).map(|(number, _)| *number)
    }

    /// A client asks for a socket. It gives up the one that it may have had.
    pub(super) fn connect(&mut self, client: usize) {
        let Client { user, space, .. } = self.clients[client];
        self.connections.all.retain(|_, connection| connection.client != client);
        self.connections.begun += 1;
        let (number, now) = (self.connections.begun, self.now);
        let lasts = if self.rng.chance(80) { 30 * 60_000 } else { 3_000 };
        let Space { host, oracle, .. } = &mut self.spaces[space];
        let opened = host.open_socket((client, number), &user_hash(user), now.plus(lasts), now);
        let may = oracle.role(user).is_some() && !oracle.is_gone();
        assert!(may || opened.is_err(), "I9: {} listens to a space of others", USERS[user]);
        let Ok((socket, told)) = opened else { return };
        self.clients[client].learn_min(told);
        let connection = Connection {
            client,
            space,
            socket,
            last: 0,
            said: VecDeque::new(),
            told: VecDeque::new(),
            awaited: VecDeque::new(),
        };
        self.connections.all.insert(number, connection);
    }

    /// A client's socket ends, from its side or on the way, and what is on its way over it is lost.
    pub(super) fn disconnect(&mut self, client: usize) {
        let space = self.clients[client].space;
        self.connections.all.retain(|_, connection| connection.client != client);
        self.spaces[space].host.lose_sockets(client);
    }

    /// A client sends a message. It may not know yet that its socket has ended.
    pub(super) fn say(&mut self, number: u64, asks: Asks) {
        let skipped = self.rng.below(2);
        let connection = self.connections.all.get_mut(&number).expect("a client knows its own");
        connection.last += 1 + skipped;
        let (client, n) = (connection.client, connection.last);
        let said = |kind: &str, body: &str, sent: Option<&Rc<SentPush>>| Spoken {
            text: format!(r#"{{"type":"{kind}","n":{n},{body}}}"#),
            sent: sent.cloned(),
        };
        let body = |body: &str| format!(r#""body":{body}"#);
        let spoken = match &asks {
            Asks::Push(_, sent) if sent.call == Call::Resolve => {
                said("conflict", &body(&sent.body), Some(sent))
            }
            Asks::Push(_, sent) => said("push", &body(&sent.body), Some(sent)),
            Asks::Pull(_, asked) => said("pull", &body(&asked.body), None),
            Asks::Token => {
                let token = authorization(self.clients[client].user).replace("Bearer ", "");
                said("token", &format!(r#""token":"{token}""#), None)
            }
        };
        let text = spoken.text.clone();
        connection.said.push_back(spoken);
        connection.awaited.push_back((n, asks));
        self.note(|| format!("client {client} says {text} over connection {number}"));
        self.network.send(Moving::Said(number), self.now);
    }

    /// The next message of a connection comes to the object. Where the object has closed the socket nothing is done, and the client
    /// hears by now that it is closed. What the object had said before has come.
    pub(super) fn message_comes(&mut self, number: u64) {
        let Some(connection) = self.connections.all.get_mut(&number) else { return };
        let Some(spoken) = connection.said.pop_front() else { return };
        let (space, socket) = (connection.space, connection.socket);
        let host = &mut self.spaces[space].host;
        let times = if planted!(MessageTakenTwice) && !host.is_awake() { 2 } else { 1 };
        for _ in 0..times {
            if host.has_socket(socket, number) {
                host.hear(socket, spoken.clone(), self.now);
            }
        }
        if self.spaces[space].host.has_socket(socket, number) {
            return self.serve(number, space, socket);
        }
        while self.connections.all.get(&number).is_some_and(|connection| !connection.told.is_empty()) {
            self.client_is_told(number);
        }
        self.connections.all.remove(&number);
    }

    /// Serves the messages of a socket, until one has to wait.
    fn serve(&mut self, number: u64, space: usize, socket: u32) {
        while let Some((serving, effect)) = self.next_message(number, space, socket) {
            self.connections.serving.insert(number, (space, serving));
            if !self.exchange(number, effect) {
                return;
            }
        }
    }

    fn next_message(&mut self, number: u64, space: usize, socket: u32) -> Option<(Serving, Effect)> {
        let host = &mut self.spaces[space].host;
        if host.has_socket(socket, number) { host.next_message(socket, self.now) } else { None }
    }

    /// Carries out what an exchange asks for. Whether its message is answered; else it waits for its push.
    fn exchange(&mut self, number: u64, mut effect: Effect) -> bool {
        loop {
            let (space, mut serving) = self.connections.serving.remove(&number).expect("it is being served");
            let event = match effect {
                Effect::Say(text) => {
                    self.message_is_answered(number, space, serving, text);
                    return true;
                }
                Effect::Call(call @ (Call::Push | Call::Resolve)) => {
                    match self.push_of_message(number, space, &serving, &call) {
                        Ok(()) => {
                            self.connections.serving.insert(number, (space, serving));
                            return false;
                        }
                        Err(error) => {
                            serving.told = Some(Rc::new(Err(error.clone())));
                            Event::Called(Err(error), Usage::default())
                        }
                    }
                }
                effect => self.carry_out_exchange(space, &serving, effect),
            };
            effect = self.spaces[space].host.step_exchange(&mut serving.exchange, event, self.now);
            self.connections.serving.insert(number, (space, serving));
        }
    }

    fn push_of_message(
        &mut self,
        number: u64,
        space: usize,
        serving: &Serving,
        call: &Call,
    ) -> Result<(), ApiError> {
        let spoken = serving.message.text.as_ref().expect("what is done has come");
        let sent = spoken.sent.as_ref().expect("only a push is one");
        assert_eq!(sent.call, *call, "I12: a message is taken for another one");
        let caller = serving.exchange.caller().clone();
        let begun = self.begin_push(space, &caller, sent)?;
        let waiting = Waiting::Message(number);
        self.body_comes(space, begun, Some(waiting), sent).map(drop).map_err(|(error, _)| error)
    }

    fn carry_out_exchange(&mut self, space: usize, serving: &Serving, effect: Effect) -> Event {
        let Serving { socket, message, exchange, .. } = serving;
        match effect {
            Effect::Admit => Event::Admitted(self.spaces[space].host.admit_message(*socket, self.now)),
            Effect::ReadBody { limit } => {
                let text = message.text.as_ref().map(|spoken| &*spoken.text);
                let body = text.map(|text| text[message.body_at..text.len() - 1].to_owned());
                Event::Body(body.filter(|body| body.len() <= limit))
            }
            Effect::Renew(expires) => {
                Event::Renewed(self.spaces[space].host.renew_socket(*socket, expires, self.now))
            }
            Effect::Call(call) => {
                let (object, caller) = (self.spaces[space].hash.clone(), exchange.caller().clone());
                let called = self.call_object(
                    space,
                    &Outgoing { object, call, caller, timeout_ms: 0, body: None },
                    None,
                );
                if let Ok(body) = &called.told {
                    let (caller, space) = (exchange.caller(), &self.spaces[space]);
                    let scope = caller.destination.scope().expect("a socket is of a space");
                    space.check_asker(scope, &caller.user);
                    space.oracle.check_brand(body.as_deref().unwrap_or_default(), "the answer to a message");
                }
                Event::Called(called.told, Usage::default())
            }
            other => panic!("BUG: nothing asks for {other:?}"),
        }
    }

    /// A push that has come over a connection is done.
    pub(super) fn push_is_done(&mut self, number: u64, answer: Result<PushAnswer, ApiError>) {
        let Some((space, mut serving)) = self.connections.serving.remove(&number) else { return };
        let body = answer.as_ref().map(|answer| Some(answer.to_json())).map_err(Clone::clone);
        serving.told = Some(Rc::new(answer));
        let host = &mut self.spaces[space].host;
        let effect =
            host.step_exchange(&mut serving.exchange, Event::Called(body, Usage::default()), self.now);
        let socket = serving.socket;
        self.connections.serving.insert(number, (space, serving));
        if self.exchange(number, effect) {
            self.serve(number, space, socket);
        }
    }

    fn message_is_answered(&mut self, number: u64, space: usize, serving: Serving, text: String) {
        let Serving { socket, message, exchange, told } = serving;
        let host = &mut self.spaces[space].host;
        let is_open = host.has_socket(socket, number) || planted!(SaidBeforeDurable);
        let sender = (socket, &exchange.caller().user);
        host.message_is_served(sender, &message, Some(&exchange), self.now);
        let Some(connection) = self.connections.all.get_mut(&number).filter(|_| is_open) else { return };
        let client = &self.clients[connection.client];
        let said: Value = serde_json::from_str(&text).expect("an answer is JSON");
        if let Some(ends_in_ms) = said["body"]["grantExpiresIn"].as_u64() {
            let ends = self.now.plus(ends_in_ms);
            self.spaces[space].oracle.learn_grant(client.user, ends, self.now);
        }
        connection.told.push_back((text, told));
        self.network.send(Moving::Told(number), self.now);
    }

    /// The next answer of a connection comes to the client: it is to the message that has waited longest. I2, I12.
    pub(super) fn client_is_told(&mut self, number: u64) {
        let Some(connection) = self.connections.all.get_mut(&number) else { return };
        let Some((text, told)) = connection.told.pop_front() else { return };
        let client = connection.client;
        let said: Value = serde_json::from_str(&text).expect("an answer is JSON");
        let n = said["n"].as_u64().expect("an answer has a number");
        let (first, asks) = connection.awaited.pop_front().unwrap_or((u64::MAX, Asks::Token));
        assert!(n >= first, "I2: message {n} is answered that was answered before, or was never sent");
        assert!(n == first, "I12: the answer to message {n} comes before that to message {first}");
        self.note(|| format!("client {client} is told {text}"));
        match asks {
            Asks::Push(sender, sent) => self.push_is_told(&sender, &sent, &said, &text, told.as_deref()),
            Asks::Pull(sender, asked) => self.pull_is_told(&sender, &asked, &said, &text),
            Asks::Token => {}
        }
    }

    /// I12: what is said of a push over a socket is said of this push, and is what HTTP would say.
    fn push_is_told(
        &mut self,
        sender: &Sender,
        sent: &SentPush,
        said: &Value,
        text: &str,
        told: Option<&Result<PushAnswer, ApiError>>,
    ) {
        let refused = Err(refusal(said));
        let answer = told.unwrap_or(&refused);
        match answer {
            Ok(answer) => {
                let body = answer.to_json();
                let is_said = text.contains(&body[..body.len() - 1]);
                assert!(is_said, "I12: a socket says {text} of a push, where HTTP says {body}");
                let mut ids = answer.results.iter().map(|result| result.id).zip(&sent.marks);
                assert!(ids.all(|(id, (sent, _))| id == *sent), "I12: an answer is of another push: {text}");
            }
            Err(error) => assert_eq!(said["body"]["code"], error.code(), "I12: a socket says {text}"),
        }
        self.note(|| format!("{} learns {}", sent.name, brief(answer)));
        if !self.is_awaited(sender) {
            return;
        }
        if let Some(grant) = said["body"]["grant"].as_str() {
            self.clients[sender.client].grant = Some(grant.to_owned());
        }
        self.receive_push_answer(sender.client, sent, answer);
    }

    fn pull_is_told(&mut self, sender: &Sender, asked: &Asked, said: &Value, text: &str) {
        if !self.is_awaited(sender) {
            return;
        }
        let body = match (said["type"].as_str(), said["status"].as_u64(), &asked.since) {
            (Some("use_http"), ..) => {
                let Asked { location, format, chunks, .. } = *asked;
                return self.send_pull_by_http((sender.client, sender.tab), location, format, chunks);
            }
            (_, Some(200), _) => Ok(Wire::Json(body_of(text))),
            (_, Some(304), Some(since)) => Ok(Wire::Json(format!(
                r#"{{"epoch":"{}","version":{},"reset":false,"more":false,"cursor":null,"changes":[]}}"#,
                since.epoch, since.version
            ))),
            _ => Err(refusal(said)),
        };
        self.pull_answer_arrives(sender, asked, body);
    }
}

fn refusal(said: &Value) -> ApiError {
    let status = said["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    ApiError::of_object(status.unwrap_or_default(), &said["body"].to_string())
}

/// The body of an answer, as it was written.
fn body_of(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        body: &'a RawValue,
    }
    let answer: Answer<'_> = serde_json::from_str(text).expect("an answer has a body");
    answer.body.get().to_owned()
}
