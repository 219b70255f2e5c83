//! Sockets of an object: carries out what its listeners and the exchanges of `headwater::edge::live` ask for.

use std::rc::Rc;

use headwater::{
    call::{Aside, Call, live::Closing},
    coordinator::{
        live::{Listener, Outlet},
        object::{Answer, Applicant, Moment, Said, Task},
    },
    edge::{
        isolate::Isolate,
        live::{Effect, Event, Exchange, Message, Sender},
    },
    fronts::headwater::live,
    ids::UserHash,
    limits,
};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{
    analytics, foreign, isolate, now,
    object::{Body, Instance, random},
    panic::UnderWay,
    tokens,
};

#[wasm_bindgen(module = "/js/live.js")]
extern "C" {
    pub(crate) type Sockets;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(state: &JsValue) -> Sockets;
    #[wasm_bindgen(method)]
    pub(crate) fn remaining(this: &Sockets) -> String;
    #[wasm_bindgen(method)]
    fn accept(
        this: &Sockets,
        number: u32,
        note: &str,
        greeting: &str,
        protocol: &str,
        aside: Option<&str>,
    ) -> Option<web_sys::Response>;
    #[wasm_bindgen(method)]
    fn refuse(
        this: &Sockets,
        text: Option<&str>,
        code: u16,
        why: &str,
        protocol: &str,
    ) -> Option<web_sys::Response>;
    #[wasm_bindgen(method)]
    fn keep(this: &Sockets, number: u32, note: &str);
    #[wasm_bindgen(method, js_name = numberOf)]
    fn number_of(this: &Sockets, socket: &JsValue) -> i32;
    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Sockets, numbers: &[u32], text: &str);
    #[wasm_bindgen(method)]
    fn close(this: &Sockets, numbers: &[u32], text: Option<&str>, code: u16, why: &str);
    #[wasm_bindgen(method)]
    fn ended(this: &Sockets, socket: &JsValue) -> i32;
    #[wasm_bindgen(method, js_name = answerPings)]
    fn answer_pings(this: &Sockets, ping: &str, pong: &str);
    #[wasm_bindgen(js_name = edges)]
    fn edges(message: &JsValue, characters: usize) -> Option<String>;
    #[wasm_bindgen(js_name = bytesOf)]
    fn bytes_of(message: &JsValue, limit: usize) -> Option<Uint8Array>;
}

impl Instance {
    /// The answer to a request for a socket, with what is for the edge alone. None where the platform takes no more sockets.
    pub(crate) fn accept(
        self: &Rc<Self>,
        applicant: Applicant,
        aside: Option<&Aside>,
    ) -> Option<web_sys::Response> {
        let joined = self.object.borrow_mut().join(applicant, Moment { now: now(), random: random() });
        let response = match joined {
            Ok(joined) => {
                let (greeting, protocol) = match joined.is_foreign {
                    false => {
                        (live::greeting(self.object.borrow().space_id(), &joined.greeting), live::PROTOCOL)
                    }
                    true => (String::new(), ""),
                };
                let aside = aside.map(Aside::to_text);
                let (socket, note) = (joined.socket, &joined.note);
                let accepted = self.sockets.accept(socket, note, &greeting, protocol, aside.as_deref());
                if accepted.is_none() {
                    self.object.borrow_mut().live().left(socket);
                }
                accepted
            }
            Err(why) => {
                let (text, code, why) = live::closing(&why);
                self.sockets.refuse(text.as_deref(), code, why, live::PROTOCOL)
            }
        };
        self.carry_out_live();
        response
    }

    /// Does with sockets what the object has decided.
    pub(crate) fn carry_out_live(self: &Rc<Self>) {
        loop {
            let outlets = self.object.borrow_mut().live().take();
            if outlets.is_empty() {
                return;
            }
            self.carry_out_outlets(outlets);
        }
    }

    fn carry_out_outlets(self: &Rc<Self>, outlets: Vec<Outlet>) {
        for outlet in outlets {
            let object = self.object.borrow();
            match outlet {
                Outlet::Tell(numbers, news) => {
                    let text = live::news(object.space_id(), &news);
                    drop(object);
                    let ours = self.tell_foreign(numbers, &news);
                    self.sockets.send(&ours, &text);
                }
                Outlet::Close(numbers, why) => {
                    drop(object);
                    let (text, code, why) = live::closing(&why);
                    self.sockets.close(&numbers, text.as_deref(), code, why);
                    for number in numbers {
                        self.forget_conversation(number);
                    }
                }
                Outlet::CloseForeign(numbers, why) => {
                    let (text, code, why) = foreign::closing(&why);
                    self.sockets.close(&numbers, text, code, why);
                }
                Outlet::Note(number, note) => self.sockets.keep(number, &note),
                Outlet::AnswerPings(at) => {
                    self.sockets.answer_pings(live::PING, &live::pong(object.space_id(), &at));
                }
                Outlet::Coalesce => {
                    let instance = Rc::clone(self);
                    spawn_local(async move {
                        let _event = UnderWay::begin(&instance.events, &instance.env);
                        instance.run(Task::news(), Body::None).await;
                    });
                }
            }
        }
    }

    fn forget_conversation(&self, number: u32) {
        let mut conversations = self.conversations.borrow_mut();
        isolate::with(&self.env, |isolate| conversations.ended(isolate, number));
    }

    /// A message has come.
    pub(crate) async fn hear(self: &Rc<Self>, socket: &JsValue, message: &JsValue) {
        self.object.borrow_mut().message_came(now());
        let Ok(number) = u32::try_from(self.sockets.number_of(socket)) else { return };
        let heard = self.object.borrow_mut().live().hear(number, now()).map(|listener| listener.user.clone());
        if self.object.borrow_mut().live().peer(number).is_some() {
            self.hear_foreign(number, message).await;
            return;
        }
        if let Ok(user) = &heard
            && let Err(why) = self.take_in(number, user, message)
        {
            self.object.borrow_mut().live().close(vec![number], why);
        }
        self.carry_out_live();
        if let Ok(user) = heard {
            self.serve(number, &user).await;
        }
    }

    fn take_in(&self, number: u32, user: &UserHash, message: &JsValue) -> Result<(), Closing> {
        let edges = edges(message, limits::MESSAGE_HEAD);
        let text = edges.as_ref().and_then(|_| bytes_of(message, limits::MESSAGE_BYTES_MAX));
        let text = text.map(|text| {
            let length = text.length() as usize;
            (text, length)
        });
        let mut conversations = self.conversations.borrow_mut();
        isolate::with(&self.env, |isolate| {
            conversations.hear(isolate, (number, user), edges.as_deref(), text)
        })
    }

    /// Serves the messages of a socket, one after the other, unless that is being done already.
    async fn serve(self: &Rc<Self>, number: u32, user: &UserHash) {
        loop {
            let next = self.conversations.borrow_mut().next(number, now());
            let Some(message) = next else { return };
            let exchange = self.exchange(number, &message).await;
            let served = {
                let mut conversations = self.conversations.borrow_mut();
                let exchange = exchange.as_ref();
                isolate::with(&self.env, |isolate| {
                    conversations.served(isolate, (number, user), &message, exchange)
                })
            };
            if let Err(why) = served {
                self.object.borrow_mut().live().close(vec![number], why);
                self.carry_out_live();
            }
        }
    }

    /// One message, from its turn to its answer. None if its socket may not be answered any more.
    async fn exchange(self: &Rc<Self>, number: u32, message: &Message<Uint8Array>) -> Option<Exchange> {
        let sender = {
            let mut object = self.object.borrow_mut();
            let heard = object.live().hear(number, now());
            let sender = |listener: &Listener| Sender {
                caller: listener.as_caller(),
                role: listener.role,
                tells_usage: listener.tells_usage,
            };
            heard.map(sender).ok()
        };
        self.carry_out_live();
        let sender = sender?;
        let begin = |isolate: &mut Isolate| isolate.begin_exchange(message, number, sender, now());
        let (mut exchange, mut effect) = isolate::with(&self.env, begin);
        loop {
            let event = match effect {
                Effect::Say(answer) => {
                    self.sockets.send(&[number], &answer);
                    if analytics::is_on() {
                        let (about, status, ms) = exchange.ended(now());
                        let ended = ("message", about, &*status);
                        analytics::point(&self.env, exchange.space().as_str(), ended, ms, exchange.used());
                    }
                    return Some(exchange);
                }
                effect => self.carry_out_exchange(number, &exchange, effect, message).await,
            };
            effect = isolate::with(&self.env, |isolate| isolate.step_exchange(&mut exchange, event, now()));
        }
    }

    async fn carry_out_exchange(
        self: &Rc<Self>,
        number: u32,
        exchange: &Exchange,
        effect: Effect,
        message: &Message<Uint8Array>,
    ) -> Event {
        let body =
            || message.text.as_ref().map(|text| text.subarray(message.body_at as u32, text.length() - 1));
        match effect {
            Effect::Admit => {
                let at = Moment { now: now(), random: random() };
                Event::Admitted(self.object.borrow_mut().admit_message(number, at))
            }
            Effect::ReadBody { limit } => {
                let body = body().filter(|body| body.length() as usize <= limit);
                Event::Body(body.and_then(|body| String::from_utf8(body.to_vec()).ok()))
            }
            Effect::Token(effect) => {
                let done = JsFuture::from(tokens::ask(&effect, &self.state)).await;
                Event::Token(tokens::found(&effect, done))
            }
            Effect::Renew(expires) => {
                let ends_in_ms = self.object.borrow_mut().live().renew(number, expires, now());
                self.carry_out_live();
                Event::Renewed(ends_in_ms)
            }
            Effect::Call(call) => {
                let body = match &call {
                    Call::Push | Call::Resolve => body().map_or(Body::None, Body::Bytes),
                    call => Body::Text(call.body()),
                };
                let task = Task::message(call.name(), exchange.caller().clone(), || body.length());
                let answer = self.run(task, body).await.unwrap_or_else(Answer::unreadable);
                Event::Called(answer.result.map(Said::into_text), answer.used)
            }
            Effect::Say(_) => panic!("BUG: the message is answered"),
        }
    }

    /// A socket has ended.
    pub(crate) fn has_ended(self: &Rc<Self>, socket: &JsValue) {
        let Ok(number) = u32::try_from(self.sockets.ended(socket)) else { return };
        self.object.borrow_mut().live().left(number);
        self.forget_conversation(number);
    }
}
