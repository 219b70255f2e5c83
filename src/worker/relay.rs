//! Sockets of a client that has several spaces: carries out what `headwater::fronts::dexie::relay` says.

use headwater::{
    edge::visit::{
        Outgoing,
        dexie::{Holder, Relaying},
    },
    fronts::dexie::relay::{FAILED, HOME, Relayed},
};
use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;

use crate::{edge::Carrier, isolate, now};

#[wasm_bindgen(module = "/js/relay.js")]
extern "C" {
    #[wasm_bindgen(js_name = relay)]
    fn relay(env: &JsValue, calls: &Array, hear: &JsValue, failed: u16) -> Promise;
}

/// Asks for the sockets. What comes over them is heard by a closure that lives as long as they do: it is called in the turn of the
/// message, and nothing waits.
pub(crate) fn open(carrier: Carrier, home: &Outgoing, relaying: &Relaying) -> Promise {
    let calls: Array = std::iter::once((HOME, home))
        .chain(relaying.realms.iter().map(|(number, call)| (*number, call)))
        .map(|(number, call)| as_array(number, call))
        .collect();
    let env: JsValue = carrier.env.clone().into();
    let mut holder = relaying.holder.clone();
    let hear = move |socket: i32, said: JsValue| hear(&carrier, &mut holder, socket, &said);
    relay(&env, &calls, &Closure::<dyn FnMut(i32, JsValue) -> Array>::new(hear).into_js_value(), FAILED)
}

fn as_array(number: usize, Outgoing { object, call, caller, timeout_ms, .. }: &Outgoing) -> JsValue {
    let [object, name, caller] = [object.as_str(), call.name(), &caller.to_text()].map(JsValue::from_str);
    let body = JsValue::from_str(&call.body());
    Array::of5(&JsValue::from(number as u32), &object, &name, &caller, &body)
        .concat(&Array::of1(&JsValue::from(*timeout_ms)))
        .into()
}

/// What a socket has said, the client's (-1) or that to a space: a text, the code of its end, or why there is none.
fn hear(carrier: &Carrier, holder: &mut Holder, socket: i32, said: &JsValue) -> Array {
    let relay = &mut holder.relay;
    let code = said.as_f64().map(|code| code as u16);
    match (usize::try_from(socket), said.as_string()) {
        (Err(_), Some(text)) => relay.client_says(&text),
        (Err(_), None) if code.is_some() => relay.client_left(),
        (Ok(number), Some(text)) => relay.space_says(number, &text),
        (Ok(number), None) => match code {
            Some(status @ ..1000) => relay.space_refused(number, Some(status)),
            Some(code) => relay.space_closed(number, code),
            None if said.is_null() => relay.space_refused(number, None),
            None => {}
        },
        (Err(_), None) => {}
    }
    let told = relay.take();
    told.into_iter().filter_map(|what| carry_out(carrier, holder, what)).collect()
}

/// What is left to JavaScript: `[socket, text]`, or `[code]` with which all is closed.
fn carry_out(carrier: &Carrier, holder: &Holder, what: Relayed) -> Option<JsValue> {
    let say = |socket: i32, text: &str| Array::of2(&JsValue::from(socket), &JsValue::from_str(text)).into();
    match what {
        Relayed::Tell(text) => Some(say(-1, &text)),
        Relayed::Say(number, text) => Some(say(number as i32, &text)),
        Relayed::Close(code) => Some(Array::of1(&JsValue::from(code)).into()),
        Relayed::Stands(number, position) => {
            isolate::with(&carrier.env, |isolate| isolate.relay_hears(holder, number, position, now()));
            carrier.run_errands();
            None
        }
    }
}
