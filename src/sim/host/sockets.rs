//! The platform's side of sockets: they sleep with the object, and end with its instance. Checks what they are told, where it is told.

use std::collections::BTreeMap;

use super::{
    Host,
    tasks::{Died, Means},
};
use crate::{
    call::{
        Call,
        live::{Closing, News},
    },
    coordinator::{
        Coordinator,
        live::{Listener, Outlet},
        object::{Effect, Event, Moment, Object, Said, Task},
    },
    edge::{isolate::Isolate, live::Conversations},
    error::ApiError,
    ids::UserHash,
    role::Role,
    sim::{
        location::{granter, new_isolate},
        messages::Spoken,
    },
    time::Millis,
    version::Position,
};

/// A socket that is open.
#[derive(Debug)]
pub(super) struct Socket {
    /// Whose it is, by the place in the world.
    pub(super) client: usize,
    /// The connection whose end it is, of which there is one in the world.
    pub(super) connection: u64,
    /// What is kept with it.
    pub(super) note: String,
    /// Where its client knows the space to stand.
    pub(super) told: Position,
}

/// The sockets of an object.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) open: BTreeMap<u32, Socket>,
    /// A task that waits until more may be told, and until when.
    gathering: Option<(Task, Millis)>,
    /// What clients were told since the last look.
    told: Vec<(usize, News)>,
    /// What clients of Dexie Cloud were told since the last look, and over which connections.
    pub(super) said: Vec<(usize, u64, String)>,
    /// Whose clients have said where they stand, and have yet to be told what they are missing.
    pub(super) catching_up: BTreeMap<u32, Position>,
    /// What is said over them.
    pub(super) conversations: Option<Conversations<Spoken>>,
    /// The isolate in which the object runs. It outlives instances.
    pub(super) isolate: Option<Isolate>,
}

impl Host {
    /// A client opens a socket, unless that is refused: the end of a connection of which there is one in the world. Says its number,
    /// and where the space stands, as its greeting does.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open_socket(
        &mut self,
        (client, connection): (usize, u64),
        user: &UserHash,
        expires: Millis,
        now: Millis,
    ) -> Result<(u32, Position), ApiError> {
        self.requests += 1;
        if self.is_unreachable {
            return Err(ApiError::Upstream);
        }
        let (call, caller) =
            (Call::Listen { expires, tells_usage: false, peer: None }, self.caller(user, None));
        let granter = granter();
        let means = Means { granter: Some(&granter), ..Means::announced(0) };
        let called = self.call_as(&call, &caller, means, now);
        let Said::Listening(applicant) = called.told()? else { panic!("BUG: a listener is told otherwise") };
        let at = Moment { now, random: self.rng.any() };
        let object = self.object.as_mut().expect("it has just answered");
        match object.join(*applicant, at) {
            Ok(joined) => {
                let told = joined.greeting.at.clone();
                assert_eq!(
                    Some(&told),
                    self.running().map(Coordinator::position).as_ref(),
                    "I8: a greeting is old"
                );
                let socket = Socket { client, connection, note: joined.note, told: told.clone() };
                self.sockets.open.insert(joined.socket, socket);
                self.carry_out_live(now);
                Ok((joined.socket, told))
            }
            Err(Closing::Lost(error)) => Err(error),
            Err(_) => Err(ApiError::Overloaded),
        }
    }

    /// A client's sockets end, from its side or on the way.
    pub fn lose_sockets(&mut self, client: usize) {
        let lost: Vec<_> = self
            .sockets
            .open
            .iter()
            .filter(|(_, socket)| socket.client == client)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            self.sockets.open.remove(&number);
            self.sockets.forget_conversation(number);
            if let Some(object) = &mut self.object {
                object.live().left(number);
            }
        }
    }

    /// The object falls asleep, if it may: with nothing under way. Its sockets stay.
    pub fn sleep(&mut self) {
        let is_busy =
            self.in_turn() || self.held() != (0, 0) || self.has_pushes() || self.sockets.gathering.is_some();
        let is_busy = is_busy || !self.sockets.catching_up.is_empty();
        if self.object.is_some() && !is_busy {
            self.check_used();
            self.rows = self.take_rows();
            self.object = None;
            self.sockets.conversations = None;
        }
    }

    /// Whether an instance runs.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.object.is_some()
    }

    /// Whether a socket is the end of this connection.
    #[must_use]
    pub fn has_socket(&self, socket: u32, connection: u64) -> bool {
        self.sockets.open.get(&socket).is_some_and(|socket| socket.connection == connection)
    }

    /// What clients were told since the last look, in order.
    pub fn take_told(&mut self) -> Vec<(usize, News)> {
        std::mem::take(&mut self.sockets.told)
    }

    /// Whether a client has a socket.
    #[must_use]
    pub fn listens(&self, client: usize) -> bool {
        self.sockets.open.values().any(|socket| socket.client == client)
    }

    /// An instance has ended, and its sockets with it.
    pub(super) fn end_sockets(&mut self) {
        self.sockets.open.clear();
        self.sockets.gathering = None;
        self.sockets.catching_up.clear();
        self.sockets.conversations = None;
    }

    /// An instance begins: it hears which sockets are there. I8: nothing is held any more of those before it.
    pub(super) fn wake_sockets(&mut self, now: Millis) {
        let isolate = self.sockets.isolate.get_or_insert_with(|| new_isolate(false));
        self.sockets.conversations = Some(Conversations::begin(isolate, "object"));
        let held = isolate.messages_held();
        assert!(held == 0, "I8: {held} bytes of messages are held that nobody will answer");
        let object = self.object.as_mut().expect("it begins");
        let open = &self.sockets.open;
        object.sockets_remain(open.iter().map(|(number, socket)| (*number, socket.note.as_str())));
        self.carry_out_live(now);
    }

    /// A task that waits tells more, if it may by now.
    pub fn gather(&mut self, now: Millis) {
        self.catch_up_all(now);
        let Some((mut task, _)) = self.sockets.gathering.take_if(|(_, until)| *until <= now) else { return };
        let ended: Result<Effect, Died> = self.step_task(&mut task, Event::Resumed, &mut |_| {}, now);
        assert!(matches!(ended, Ok(Effect::Rest) | Err(_)), "it has nothing else to do");
    }

    /// Something was changed past all calls, which is told as if a step had changed it.
    pub(super) fn tell_past_calls(&mut self, now: Millis) {
        if let Some(object) = &mut self.object {
            object.tell_live(Moment { now, random: 0 });
            self.carry_out_live(now);
        }
    }

    /// Does with sockets what the object has decided in a step.
    pub(super) fn carry_out_live(&mut self, now: Millis) {
        loop {
            let outlets = self.object.as_mut().map(|object| object.live().take()).unwrap_or_default();
            if outlets.is_empty() {
                return self.check_told();
            }
            self.carry_out_outlets(outlets, now);
        }
    }

    fn carry_out_outlets(&mut self, outlets: Vec<Outlet>, now: Millis) {
        for outlet in outlets {
            match outlet {
                Outlet::Tell(numbers, news) => self.tell(&numbers, &news, now),
                Outlet::CloseForeign(numbers, why) => self.close_peers(&numbers, &why),
                Outlet::Close(numbers, why) => {
                    assert!(why != Closing::Restart, "I8: a socket that has slept is not known any more");
                    for number in numbers {
                        self.sockets.open.remove(&number);
                        self.sockets.forget_conversation(number);
                    }
                }
                Outlet::Note(number, note) => {
                    if let Some(socket) = self.sockets.open.get_mut(&number) {
                        socket.note = note;
                    }
                }
                Outlet::AnswerPings(_) => {}
                Outlet::Coalesce => {
                    let mut task = Task::news();
                    // No section: it writes nothing.
                    let at = Moment { now, random: 0 };
                    let object = self.object.as_mut().expect("it runs");
                    let Effect::Pause(ms) = object.step(&mut task, Event::Begun, at) else {
                        panic!("BUG: it waits first")
                    };
                    self.sockets.gathering = Some((task, now.plus(ms)));
                }
            }
        }
    }

    /// I9: only who may read at this moment is told, and only while the token is good.
    fn tell(&mut self, numbers: &[u32], news: &News, now: Millis) {
        let (News::Version(at) | News::Changes { at, .. }) = news;
        for number in numbers {
            let Some(socket) = self.sockets.open.get_mut(number) else { continue };
            let listener = Listener::parse(&socket.note).expect("a note of ours");
            let core = self.object.as_mut().and_then(Object::core_mut);
            let admitted = core.expect("it has told").admit(&listener.user, Role::Reader);
            assert!(admitted.is_ok(), "I9: {:?} hears news, who is refused: {admitted:?}", listener.user);
            assert!(listener.expires > now, "I9: somebody hears news whose token has ended");
            if let News::Changes { from, .. } = news {
                assert!(socket.told.version >= *from, "I7: news begin above what a socket was told");
            }
            socket.told = at.clone();
            match listener.peer {
                Some(_) => self.tell_peer(*number, |peer| peer.news(news)),
                None => self.sockets.told.push((socket.client, news.clone())),
            }
        }
    }

    /// I8: after each step everybody who listens was told of all that is committed, unless a task waits for that.
    fn check_told(&self) {
        let Some(here) = self.running().map(Coordinator::position) else { return };
        let is_told =
            |socket: &Socket| Self::is_peer_told(socket, &here).unwrap_or_else(|| socket.told == here);
        let waits = |number: &u32| !self.sockets.catching_up.contains_key(number);
        let mut open = self.sockets.open.iter().filter(|(number, _)| waits(number));
        let all = self.sockets.gathering.is_some() || open.all(|(_, socket)| is_told(socket));
        assert!(all, "I8: a socket was not told of a commit");
    }
}
