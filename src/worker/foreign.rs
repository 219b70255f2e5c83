//! Sockets of an object over which the client of Dexie Cloud speaks.

use std::rc::Rc;

use headwater::{
    call::live::News,
    coordinator::{
        live::Listener,
        object::{Answer, Said, Task},
    },
    edge::live::{CatchUp, CatchUpStep},
    fronts::dexie::live::Peer,
    limits,
    version::Position,
};
use wasm_bindgen::prelude::*;

use crate::{
    now,
    object::{Body, Instance},
};

#[wasm_bindgen(module = "/js/live.js")]
extern "C" {
    #[wasm_bindgen(js_name = shortText)]
    fn short_text(message: &JsValue, limit: usize) -> Option<String>;
}

pub(crate) use headwater::fronts::dexie::live::closing;

impl Instance {
    /// Tells those of these sockets over which this client speaks, each what it waits for. Gives back the others.
    pub(crate) fn tell_foreign(&self, numbers: Vec<u32>, news: &News) -> Vec<u32> {
        let is_foreign = |number: &u32| self.object.borrow_mut().live().peer(*number).is_some();
        let (foreign, ours) = numbers.into_iter().partition::<Vec<_>, _>(is_foreign);
        for number in foreign {
            self.tell_peer(number, |peer| peer.news(news));
        }
        ours
    }

    fn tell_peer(&self, number: u32, news: impl FnOnce(&mut Peer) -> Option<String>) {
        let peer = self.peer(number);
        let Some(mut peer) = peer else { return };
        if let Some(text) = news(&mut peer) {
            self.object.borrow_mut().live().keep(number, peer.to_text());
            self.sockets.send(&[number], &text);
        }
    }

    fn peer(&self, number: u32) -> Option<Peer> {
        self.object.borrow_mut().live().peer(number).and_then(Peer::parse)
    }

    /// A message has come. A client that says where it stands is told what it is missing, now or with the next commit.
    pub(crate) async fn hear_foreign(self: &Rc<Self>, number: u32, message: &JsValue) {
        let Some(text) = short_text(message, limits::DEXIE_MESSAGE_MAX) else { return };
        let Some(mut peer) = self.peer(number) else { return };
        if !peer.hear(&text) {
            return;
        }
        let own = peer.at().cloned();
        let sent_to_pull = peer.sent_to_pull();
        let is_told = {
            let mut object = self.object.borrow_mut();
            object.live().keep(number, peer.to_text());
            object.live().told() == own.as_ref()
        };
        self.carry_out_live();
        if let Some(text) = sent_to_pull {
            self.sockets.send(&[number], text);
            return;
        }
        let Some(own) = own.filter(|_| !is_told) else { return };
        match self.catch_up(number, &own).await {
            Ok(None) => return,
            Ok(Some(news)) => self.tell_peer(number, |peer| peer.news(&news)),
            Err(()) => self.tell_peer(number, Peer::something),
        }
        self.carry_out_live();
    }

    /// What a client is missing; an error if nobody can say.
    async fn catch_up(self: &Rc<Self>, number: u32, own: &Position) -> Result<Option<News>, ()> {
        let mut step = CatchUp::begin(own, now());
        loop {
            match step {
                CatchUpStep::Done(news) => return Ok(news),
                CatchUpStep::Failed => return Err(()),
                CatchUpStep::Ask(looks, call) => {
                    let caller = self.object.borrow_mut().live().listener(number).map(Listener::as_caller);
                    let Some(caller) = caller else { return Ok(None) };
                    let body = call.body();
                    let task = Task::message(call.name(), caller, || body.len());
                    let answer = self.run(task, Body::Text(body.clone())).await;
                    let said = answer.unwrap_or_else(Answer::unreadable).result.map(Said::into_text);
                    step = looks.answered(said, now());
                }
            }
        }
    }
}
