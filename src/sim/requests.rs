//! Requests of clients and what becomes of the answers, without a network between: they take no time and lose nothing.

use std::rc::Rc;

use super::{
    World,
    client::{Client, Outcome, Taken},
    host::ToldPush,
    location::{Reader, Response, Wire},
    network::{Message, SentPush},
    space::{Awaited, Space, Waiting},
    traffic, user_hash,
    visits::{self, Around, Driven},
};
use crate::{
    call::{Ask, Call, Caller, PullReply, PushAnswer, decode_reply},
    coordinator::push::queue::Ticket,
    edge::visit::{Effect, Event},
    error::ApiError,
    fronts::headwater::{answer::Format, pull::PullRequest},
    version::{Position, Version},
};

impl World {
    /// Sends what `client` has queued. The oracle learns the answer even if `answer_is_lost`.
    ///
    /// # Errors
    /// What the coordinator refuses with.
    pub fn push(&mut self, client: usize, answer_is_lost: bool) -> Result<(), ApiError> {
        let sent = Rc::new(self.compose(client));
        let space = self.clients[client].space;
        let mut answer = Err(ApiError::Upstream);
        match self.push_arrives(space, &sent) {
            Err(refused) => answer = Err(refused),
            Ok(ticket) => {
                while self.spaces[space].host.holds(ticket) {
                    let told = self.settle_slice(space).into_iter().find(|(told, _)| *told == ticket);
                    answer = told.map_or(answer, |(_, answer)| answer);
                }
            }
        }
        self.note(|| format!("{} pushes {:?}: {}", sent.name, sent.marks, traffic::brief(&answer)));
        if !answer_is_lost {
            self.receive_push_answer(client, &sent, &answer);
        }
        answer.map(drop)
    }

    /// What `client` would send now.
    pub(super) fn compose(&self, client: usize) -> SentPush {
        let client = &self.clients[client];
        let marks = client.next_push().map(|queued| (queued.id, queued.mark));
        let (name, since) = (client.name.clone(), client.position.clone());
        let (user, body) = (client.user, client.push_body());
        SentPush { name, user, since, body, call: Call::Push, marks: marks.collect() }
    }

    /// A push reaches the coordinator, where it waits.
    ///
    /// # Errors
    /// When it is refused at once.
    pub(super) fn push_arrives(&mut self, space: usize, sent: &Rc<SentPush>) -> Result<Ticket, ApiError> {
        let caller = self.spaces[space].host.caller(&user_hash(sent.user), None);
        let number = self.begin_push(space, &caller, sent)?;
        self.body_comes(space, number, None, sent).map_err(|(error, _)| error)
    }

    /// A push reaches the coordinator before its body. I9: whose body is read may push.
    ///
    /// # Errors
    /// When it is refused at once.
    pub(super) fn begin_push(
        &mut self,
        space: usize,
        caller: &Caller,
        sent: &Rc<SentPush>,
    ) -> Result<u64, ApiError> {
        let Space { host, oracle, .. } = &mut self.spaces[space];
        let begun = host.begin_push(&sent.call, caller, sent.body.len(), self.now);
        oracle.check_pusher((sent.user, sent.call.role_of_push()), &begun);
        begun
    }

    /// The body of a push reaches the coordinator, where `waiting` waits for the answer. I9: nobody makes an epoch begin who may
    /// not push any more.
    ///
    /// # Errors
    /// When it is refused, with whoever waits.
    #[expect(clippy::result_large_err, reason = "whoever waits is moved on, not copied")]
    pub(super) fn body_comes(
        &mut self,
        space: usize,
        number: u64,
        waiting: Option<Waiting>,
        sent: &Rc<SentPush>,
    ) -> Result<Ticket, (ApiError, Option<Waiting>)> {
        let Space { host, oracle, awaited, .. } = &mut self.spaces[space];
        let before = host.core(self.now).position().epoch;
        let arrived = host.body_comes(number, &sent.body, self.now);
        // What it claims may have begun an epoch.
        let epoch = host.core(self.now).position().epoch;
        if epoch != before {
            oracle.check_pusher((sent.user, sent.call.role_of_push()), &Ok::<_, ApiError>(()));
        }
        oracle.learn_epoch(&epoch);
        match arrived {
            Ok(ticket) => {
                let push = host.push_of(ticket).expect("it waits").clone();
                awaited.insert(ticket, Awaited { waiting, sent: Rc::clone(sent), push });
                Ok(ticket)
            }
            Err(error) => {
                oracle.check_pusher((sent.user, sent.call.role_of_push()), &Err::<(), _>(error.clone()));
                Err((error, waiting))
            }
        }
    }

    /// The oldest body that is on its way to a space has come, if there is one.
    pub fn late_body_comes(&mut self, space: usize) {
        let receiving = &mut self.spaces[space].receiving;
        if receiving.is_empty() {
            return;
        }
        let (number, waiting, sent) = receiving.remove(0);
        if let Err((refused, Some(waiting))) = self.body_comes(space, number, waiting, &sent) {
            self.answer_push(waiting, sent, Err(refused), None);
        }
    }

    /// The answer to a push leaves for the client: that to a request passes the edge.
    pub(super) fn answer_push(
        &mut self,
        waiting: Waiting,
        sent: Rc<SentPush>,
        answer: Result<PushAnswer, ApiError>,
        at: Option<&Position>,
    ) {
        self.note(|| format!("the coordinator answers {}: {}", sent.name, traffic::brief(&answer)));
        match waiting {
            Waiting::Request { sender, mut driven } => {
                self.pass_push(&mut driven, answer.as_ref().err(), at);
                self.network.send(Message::Pushed(sender, sent, Rc::new(answer)), self.now);
            }
            Waiting::Message(connection) => self.push_is_done(connection, answer),
            Waiting::Sync { syncing, mut driven } => {
                self.pass_push(&mut driven, answer.as_ref().err(), at);
                let stood = answer.as_ref().ok().map(|answer| answer.position.clone());
                let answer = answer.map(|answer| answer.to_json());
                self.network.send(Message::Synced(syncing, Rc::new(answer), stood), self.now);
            }
        }
    }

    /// The answer to a push passes the edge where it was asked for.
    pub(super) fn pass_push(
        &mut self,
        driven: &mut Driven,
        refused: Option<&ApiError>,
        position: Option<&Position>,
    ) {
        let told = refused.map_or_else(|| Ok(Some(String::new())), |error| Err(error.clone()));
        let passed = visits::passed(&told, position, None);
        let effect = self.step_visit(driven, Event::Passed(Ok(passed)));
        assert!(effect.is_end(), "BUG: a push goes on after its answer");
        let object = driven.visit.target().hash.clone();
        self.learn_refusal(driven, &object, refused);
        if let Some(position) = position {
            let hash = &self.spaces[driven.space].hash;
            self.locations[driven.location].learn_written(&driven.isolate, hash, position, self.now);
        }
    }

    /// A push comes to a location. An error if it does not get past the edge.
    pub(super) fn begin_push_visit(
        &mut self,
        location: usize,
        user: usize,
        space: usize,
    ) -> Result<(Driven, Caller), ApiError> {
        let path = match &self.spaces[space].id {
            Some(id) => format!("/sync/push?space={id}"),
            None => "/sync/push".to_owned(),
        };
        let begun = self.begin_visit(location, (user, space), ("POST", &path), Format::Json, "");
        let (mut driven, mut effect) = begun;
        loop {
            let event = match effect {
                Effect::Pass(call, _) => {
                    self.check_waits(&driven, &call);
                    return Ok((driven, call.caller));
                }
                Effect::Answer(answer) => return Err(answer.err().expect("only the object answers a push")),
                effect => self.carry_out(&mut driven, effect, &mut Around::default()),
            };
            effect = self.step_visit(&mut driven, event);
        }
    }

    /// The answer to a write in a space passes a location, after which the space stood at `position`.
    pub fn pass_write(&mut self, location: usize, space: usize, position: &Position) {
        let (mut driven, _) = self.begin_push_visit(location, 0, space).expect("nobody was refused");
        self.pass_push(&mut driven, None, Some(position));
    }

    /// The next slice of the pushes that wait, which is checked. Whoever is told is sent the answer. I8: the push that has waited
    /// longest gets on.
    pub fn settle_slice(&mut self, space: usize) -> Vec<(Ticket, Result<PushAnswer, ApiError>)> {
        let Space { host, oracle, awaited, .. } = &mut self.spaces[space];
        awaited.retain(|ticket, _| host.holds(*ticket));
        let oldest = host.oldest();
        let slice = host.settle(self.now);
        let horizon = host.core(self.now).horizon();
        let here = host.core(self.now).position();
        oracle.learn_epoch(&here.epoch);
        for (ticket, results) in &slice.settled {
            let Awaited { sent, push, .. } = &awaited[ticket];
            oracle.learn_results(sent.user, push, &sent.marks, results, horizon, self.now);
        }
        for (ticket, answer) in &slice.answers {
            let Awaited { sent, push, .. } = &awaited[ticket];
            oracle.check_pusher((sent.user, sent.call.role_of_push()), answer);
            let _ = answer.as_ref().map(|answer| oracle.check_answer(sent.user, push, answer));
        }
        oracle.check_position(&here);
        let results = |of: &Ticket| slice.settled.iter().find(|(settled, _)| settled == of);
        let waited = awaited.iter().map(|(ticket, Awaited { push, .. })| {
            (push, results(ticket).map_or(&[][..], |(_, results)| results))
        });
        oracle.check_storage(waited, host, self.now);
        let is_answered = |oldest| slice.answers.iter().any(|(answered, _)| *answered == oldest);
        let got_on =
            |oldest| is_answered(oldest) || slice.settled.iter().any(|(settled, _)| *settled == oldest);
        let is_lost = slice.settled.is_empty() && slice.answers.is_empty();
        assert!(is_lost || oldest.is_none_or(got_on), "I8: a slice passes over the push that came first");
        for ToldPush { ticket, answer, at } in &slice.told {
            let Some(Awaited { waiting, sent, .. }) = self.spaces[space].awaited.get_mut(ticket) else {
                continue;
            };
            if let (Some(waiting), sent) = (waiting.take(), Rc::clone(sent)) {
                self.answer_push(waiting, sent, answer.clone(), at.as_ref());
            }
        }
        self.tell_live(space);
        slice.told.into_iter().map(|told| (told.ticket, told.answer)).collect()
    }

    /// Slices until no push waits.
    pub fn settle_pushes(&mut self, space: usize) {
        while self.spaces[space].host.has_pushes() {
            self.settle_slice(space);
        }
    }

    /// A user asks for the open conflicts of a space, which is checked.
    pub fn list_conflicts(&mut self, user: usize, space: usize) {
        let Space { host, oracle, .. } = &mut self.spaces[space];
        let listed = host.core(self.now).conflicts(&user_hash(user), Version::ZERO);
        oracle.check_listed(user, &listed);
        let told = host.conflicts(&user_hash(user), self.now);
        let text = listed.map(|page| page.to_json());
        let is_late =
            matches!(told, Err(ApiError::RateLimited { .. } | ApiError::Upstream | ApiError::Internal));
        assert!(is_late || told == text, "I12: the list of conflicts is told as {told:?}");
    }

    pub(super) fn receive_push_answer(
        &mut self,
        client: usize,
        sent: &SentPush,
        answer: &Result<PushAnswer, ApiError>,
    ) {
        let mut outcome = Outcome::default();
        let receiver = &mut self.clients[client];
        let space = &self.spaces[receiver.space];
        match answer {
            Ok(answer) => {
                if let Some(position) = receiver.take_push_answer(sent, answer, &mut outcome) {
                    space.oracle_at(&position.epoch).check_client(receiver, &position);
                }
            }
            Err(error) => receiver.take_push_error(&sent.name, error, &mut outcome),
        }
        self.spaces[receiver.space].oracle.learn_outcome(&outcome);
        if outcome.is_renumbered {
            self.renumbered(client, &sent.name);
        }
    }

    /// A client that numbers its outbox anew must not have in it what is settled already, or it would be applied twice.
    /// Only of what was copied to another device nobody can know, and then it is another mutation. So is what was sent under the
    /// `name` of a copied database: its number is refused until another copy sends those before it, and it may be on its way until then.
    fn renumbered(&mut self, client: usize, name: &str) {
        let client = &mut self.clients[client];
        let oracle = &mut self.spaces[client.space].oracle;
        for queued in &mut client.outbox {
            let is_copied = oracle.copied.contains(&queued.mark);
            let is_settled = !is_copied && oracle.is_settled(queued.mark);
            assert!(!is_settled, "I2: mutation {} is settled and numbered anew", queued.mark);
            if is_copied || oracle.copied_names.contains(name) {
                queued.mark = oracle.plan_again(queued.mark);
            }
        }
    }

    /// A pull of the first space as the location answers it, without a client that would apply it.
    pub fn ask(&mut self, location: usize, body: &str, format: Format) -> Response {
        let asked = PullRequest::from_body(body.as_bytes(), self.space()).expect("a pull");
        let reader = Reader { user: 0, space: 0, grant: None };
        self.answer(&reader, location, (body, &asked), format, None)
    }

    /// What the first space's coordinator answers to an edge that asks for its user.
    ///
    /// # Errors
    /// What it refuses with.
    pub fn ask_coordinator(&mut self, ask: &Ask) -> Result<(PullReply, String), ApiError> {
        let Space { host, scope, .. } = &mut self.spaces[0];
        let body = host.pull(&user_hash(0), scope, ask, self.now)?;
        let (reply, lines) = decode_reply(&body).expect("a reply");
        Ok((reply, lines.to_owned()))
    }

    /// One request of a pull by `client`, which goes on where its last one ended. Returns whether the pull is complete.
    /// The stream ends early behind `chunks` objects or pages.
    pub fn pull_once(
        &mut self,
        client: usize,
        location: usize,
        format: Format,
        chunks: Option<usize>,
    ) -> Result<bool, ApiError> {
        let (body, asked) = self.compose_pull(client, 0);
        let since = self.clients[client].position.clone();
        let response = self.answer(&self.reader(client), location, (&body, &asked), format, chunks);
        let taken = self.receive_pull_answer(client, 0, since.as_ref(), &asked, response.body)?;
        Ok(matches!(taken, Taken::Complete { .. }))
    }

    /// What a tab would ask for now: as text, and what that says.
    pub(super) fn compose_pull(&self, client: usize, tab: usize) -> (String, PullRequest) {
        let client = &self.clients[client];
        let (body, space) = (client.pull_body(tab), &self.spaces[client.space].hash);
        let asked = PullRequest::from_body(body.as_bytes(), space).expect("a client's pull is well-formed");
        (body, asked)
    }

    pub(super) fn receive_pull_answer(
        &mut self,
        client: usize,
        tab: usize,
        since: Option<&Position>,
        asked: &PullRequest,
        body: Result<Wire, ApiError>,
    ) -> Result<Taken, ApiError> {
        let client = &mut self.clients[client];
        let taken = match body {
            Err(error) => {
                client.take_pull_error(tab, &error);
                return Err(error);
            }
            Ok(Wire::Json(text)) => client.take_page(tab, since, &text),
            Ok(Wire::Stream(text)) => client.take_stream(tab, since, &text),
        };
        if let Taken::Complete { before, after } = &taken {
            let oracle = self.spaces[client.space].oracle_at(&after.epoch);
            oracle.check_pull(asked, before.as_ref(), after);
            oracle.check_client(client, after);
        }
        Ok(taken)
    }

    /// A whole pull by `client`, page after page.
    pub fn pull(&mut self, client: usize, location: usize, format: Format) -> Result<(), ApiError> {
        for _ in 0..200 {
            if self.pull_once(client, location, format, None)? {
                return Ok(());
            }
        }
        panic!("I8: a pull did not end after 200 requests");
    }

    /// Who asks when a client does.
    pub(super) fn reader(&self, client: usize) -> Reader {
        let Client { user, space, grant, .. } = &self.clients[client];
        Reader { user: *user, space: *space, grant: grant.clone() }
    }
}
