//! Requests and answers over the network: what happens when one is sent, and when it arrives.

use std::rc::Rc;

use super::{
    World,
    client::{Client, OUTBOX, Queued, Taken},
    location::Wire,
    messages::Asks,
    network::{Asked, Message, Sender, SentPush},
    space::Waiting,
};
use crate::{
    call::{Call, PushAnswer, live::News},
    error::ApiError,
    fronts::headwater::{answer::Format, pull::Min},
    mutation::{MutationResult, Settled},
    version::Position,
};

impl World {
    /// A tab sends what the client has queued, unless it has nothing to send.
    pub fn send_push(&mut self, client: usize, tab: usize) {
        let waits = if planted!(TabsPushApart) { tab } else { OUTBOX };
        // Without an epoch a push that is delayed could be applied after the client has taken another name.
        if self.clients[client].position.is_none() || self.clients[client].outbox.is_empty() {
            return;
        }
        let sender = self.next_request(client, waits);
        let mut composed = self.compose(client);
        if let Some(connection) = self.connection_of(client).filter(|_| self.rng.chance(70)) {
            if let Some(body) = self.clients[client].resolution_body() {
                composed = SentPush { body, call: Call::Resolve, ..composed };
            }
            return self.say(connection, Asks::Push(sender, Rc::new(composed)));
        }
        self.note(|| format!("{} pushes {:?}", composed.name, composed.marks));
        self.network.send(Message::Push(sender, Rc::new(composed)), self.now);
    }

    /// A tab asks for what is new, or for the next page: over its socket, or a location.
    pub fn send_pull(
        &mut self,
        (client, tab): (usize, usize),
        location: usize,
        format: Format,
        chunks: Option<usize>,
    ) {
        match self.connection_of(client).filter(|_| self.rng.chance(40)) {
            Some(connection) => {
                let (sender, asked) = self.compose_request((client, tab), location, format, chunks);
                self.say(connection, Asks::Pull(sender, asked));
            }
            None => self.send_pull_by_http((client, tab), location, format, chunks),
        }
    }

    /// The same, of a location.
    pub(super) fn send_pull_by_http(
        &mut self,
        from: (usize, usize),
        location: usize,
        format: Format,
        chunks: Option<usize>,
    ) {
        let (sender, asked) = self.compose_request(from, location, format, chunks);
        self.network.send(Message::Pull(sender, asked), self.now);
    }

    fn compose_request(
        &mut self,
        (client, tab): (usize, usize),
        location: usize,
        format: Format,
        chunks: Option<usize>,
    ) -> (Sender, Asked) {
        self.renew_grant(client);
        let sender = self.next_request(client, tab);
        let (body, request) = self.compose_pull(client, tab);
        let since = self.clients[client].pull_began_at(tab);
        self.note(|| {
            let min = match &request.min {
                Some(Min::Position(min)) => at(Some(min)),
                _ => at(None),
            };
            let since = at(since.as_ref());
            let goes_on = if request.cursor.is_some() { ", with a cursor" } else { "" };
            format!("client {client}.{tab} pulls {format:?} at {location} since {since}, min {min}{goes_on}")
        });
        let reader = self.reader(client);
        let (body, request) = (body.into(), Rc::new(request));
        (sender, Asked { reader, location, format, chunks, since, body, request })
    }

    pub(super) fn next_request(&mut self, client: usize, tab: usize) -> Sender {
        let client_state = &mut self.clients[client];
        client_state.requests += 1;
        client_state.waits_for[tab] = client_state.requests;
        Sender { client, tab, request: client_state.requests }
    }

    /// Whether a tab waits for this answer. It does so for one: what comes later is as good as lost.
    pub(super) fn is_awaited(&mut self, sender: &Sender) -> bool {
        let waits_for = &mut self.clients[sender.client].waits_for[sender.tab];
        let is_awaited = *waits_for == sender.request;
        if is_awaited {
            *waits_for = 0;
        }
        is_awaited
    }

    /// The next message arrives, if one has to by now. Returns whether one did.
    pub fn deliver(&mut self) -> bool {
        let Some(message) = self.network.arrived(self.now) else { return false };
        match message {
            Message::Push(sender, _) => {
                let space = self.clients[sender.client].space;
                self.pushes_arrive(space, message);
            }
            Message::Pushed(sender, sent, answer) => {
                self.note(|| format!("{} learns {}", sent.name, brief(&answer)));
                if self.is_awaited(&sender) {
                    self.receive_push_answer(sender.client, &sent, &answer);
                }
            }
            Message::Pull(sender, asked) => {
                // Requests come to either isolate of a location.
                if sender.request % 3 == 0 {
                    self.locations[asked.location].switch_isolate();
                }
                let request = (&*asked.body, &*asked.request);
                let response =
                    self.answer(&asked.reader, asked.location, request, asked.format, asked.chunks);
                self.note(|| format!("location {} answers from {:?}", asked.location, response.source));
                self.network.send(Message::Pulled(sender, asked, Rc::new(response.body)), self.now);
            }
            Message::Pulled(sender, asked, body) => {
                if self.is_awaited(&sender) {
                    self.note(|| {
                        let text = body
                            .as_ref()
                            .as_ref()
                            .map_or_else(|error| format!("{error:?}"), |wire| wire.text().to_owned());
                        format!("client {}.{} gets {}", sender.client, sender.tab, text.replace('\n', " "))
                    });
                    self.pull_answer_arrives(&sender, &asked, (*body).clone());
                }
            }
            Message::Sync(syncing) => self.sync_comes(syncing),
            Message::Synced(syncing, answer, stood) => self.sync_is_answered(&syncing, &answer, stood),
            Message::AddonSays(client) => self.addon_says(client),
            Message::AddonHears(client) => self.addon_hears(client),
            Message::Said(connection) => self.message_comes(connection),
            Message::Told(connection) => self.client_is_told(connection),
            Message::Live(client, from, at, lines) => {
                let changes = if lines.is_some() { "the changes" } else { "that there is something" };
                self.note(|| format!("client {client} hears live {changes} from {from} to {at}"));
                let receiver = &mut self.clients[client];
                if let Some(position) = receiver.take_live(from, &at, lines.as_deref()) {
                    let oracle = self.spaces[receiver.space].oracle_at(&position.epoch);
                    oracle.check_client(receiver, &position);
                }
            }
        }
        true
    }

    pub(super) fn pull_answer_arrives(
        &mut self,
        sender: &Sender,
        asked: &Asked,
        body: Result<Wire, ApiError>,
    ) {
        let taken =
            self.receive_pull_answer(sender.client, sender.tab, asked.since.as_ref(), &asked.request, body);
        self.note(|| {
            let end = match &taken {
                Ok(Taken::Complete { after, .. }) => format!("comes to {after}"),
                other => format!("takes {other:?}"),
            };
            format!("client {}.{} {end}", sender.client, sender.tab)
        });
        if matches!(taken, Ok(Taken::Incomplete)) && self.clients[sender.client].is_pulling_in(sender.tab) {
            // Tabs go on by themselves, as a loop in the client does.
            let from = (sender.client, sender.tab);
            self.send_pull(from, asked.location, asked.format, asked.chunks);
        }
    }

    /// A push reaches the coordinator, with those that arrive in the next moments, and readers hear of it.
    fn pushes_arrive(&mut self, space: usize, first: Message) {
        let mut group = vec![first];
        while group.len() < 4 && self.rng.chance(40) {
            let is_of_it = |client: usize| self.clients[client].space == space;
            let Some(next) = self.network.next_push(self.now.plus(50), is_of_it) else { break };
            group.push(next);
        }
        for message in group {
            let Message::Push(sender, push) = message else { continue };
            self.push_comes(space, sender, push);
        }
        self.settle_slice(space);
    }

    /// A push comes to a location, and, unless that refuses it, to the coordinator. Each client pushes at a location of its own,
    /// through either isolate, and pulls at any.
    fn push_comes(&mut self, space: usize, sender: Sender, push: Rc<SentPush>) {
        let location = sender.client % self.locations.len();
        if sender.request.is_multiple_of(2) {
            self.locations[location].switch_isolate();
        }
        let (driven, caller) = match self.begin_push_visit(location, push.user, space) {
            Ok((driven, caller)) => (Box::new(driven), caller),
            Err(refused) => {
                self.note(|| format!("location {location} refuses {}: {refused:?}", push.name));
                return self.network.send(Message::Pushed(sender, push, Rc::new(Err(refused))), self.now);
            }
        };
        let waiting = Waiting::Request { sender, driven };
        let (refused, waiting) = match self.begin_push(space, &caller, &push) {
            Err(refused) => (refused, waiting),
            Ok(number) if self.rng.chance(10) => {
                self.note(|| format!("the body of {} is on its way", push.name));
                return self.spaces[space].receiving.push((number, Some(waiting), push));
            }
            Ok(number) => match self.body_comes(space, number, Some(waiting), &push) {
                Err((refused, Some(waiting))) => (refused, waiting),
                Ok(_) | Err((_, None)) => return,
            },
        };
        self.answer_push(waiting, push, Err(refused), None);
    }

    /// A client opens a socket, which hears of commits from then on, or loses it, or sends a new token over it; or the object falls
    /// asleep with all of them.
    pub fn change_sockets(&mut self, client: usize) {
        let space = self.clients[client].space;
        match self.rng.below(6) {
            0..=2 if !self.spaces[space].host.listens(client) => self.connect(client),
            3 => self.disconnect(client),
            4 => self.spaces[space].host.sleep(),
            5 => {
                if let Some(connection) = self.connection_of(client) {
                    self.say(connection, Asks::Token);
                }
            }
            _ => {}
        }
    }

    /// What sockets were told is on its way to their clients.
    pub(super) fn tell_live(&mut self, space: usize) {
        for (client, news) in self.spaces[space].host.take_told() {
            let message = match news {
                News::Version(at) => Message::Live(client, at.version, at, None),
                News::Changes { from, at, lines } => {
                    self.spaces[space].oracle.check_brand(&lines, "a live message");
                    Message::Live(client, from, at, Some(lines.into()))
                }
            };
            self.network.send(message, self.now);
        }
        self.tell_addons(space);
    }

    /// A copy of a client's database. From now on the same mutations may stand in several outboxes.
    pub fn copy_client(&mut self, client: usize) -> Client {
        let copy = self.clients[client].clone();
        let marks = copy.outbox.iter().flat_map(Queued::marks);
        let oracle = &mut self.spaces[copy.space].oracle;
        oracle.copied.extend(marks);
        oracle.copied_names.insert(copy.name.clone());
        copy
    }

    /// A copy takes the place of a client's database of the same space. Another user does not send what stands in its
    /// outbox, but goes on under its name and numbers.
    pub fn restore_client(&mut self, client: usize, copy: &Client) {
        let client = &mut self.clients[client];
        client.restore(copy);
        if client.user != copy.user {
            client.outbox.clear();
        }
    }
}

/// The answer to a push, for the trace.
pub(super) fn brief(answer: &Result<PushAnswer, ApiError>) -> String {
    let results = |results: &[MutationResult]| -> String {
        let one = |result: &MutationResult| {
            let again = if result.duplicate { " again" } else { "" };
            match &result.settled {
                Settled::Applied(version) => format!("{}{again} at {version}", result.id),
                Settled::Missing(version) => format!("{}{again} missing at {version}", result.id),
                Settled::Conflict { .. } => format!("{}{again} conflict", result.id),
                Settled::Rejected(rejection) => format!("{}{again} {}", result.id, rejection.code.as_str()),
                Settled::Done => format!("{}{again} done", result.id),
            }
        };
        results.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    match answer {
        Ok(answer) => format!("{} [{}] more {}", answer.position, results(&answer.results), answer.more),
        Err(ApiError::EpochMismatch { position, last, settled, more }) => {
            format!("epoch_mismatch {position} last {last} [{}] more {more}", results(settled))
        }
        Err(ApiError::ClientForked { last, settled }) => {
            format!("client_forked last {last} [{}]", results(settled))
        }
        Err(error) => format!("{error:?}"),
    }
}

/// A position as the wire has it.
fn at(position: Option<&Position>) -> String {
    position.map_or_else(|| "nothing".to_owned(), Position::to_string)
}
