//! What the shell does about panics, beside `js/panic.js`: a panic ends the instance of the module, and the promises that wait in
//! it would wait for ever. Both files can go when workers-rs unwinds on stable Rust.

use headwater::fronts::headwater::reply::{AllHeaders, Reply};
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::{http, isolate};

#[wasm_bindgen(module = "/js/panic.js")]
extern "C" {
    #[wasm_bindgen(js_name = breakOff)]
    fn break_off();
    #[wasm_bindgen(js_name = orElse)]
    fn or_else(promise: &Promise, status: u16, body: &JsValue, headers: &str) -> Promise;
    pub(crate) type Events;
    #[wasm_bindgen(constructor)]
    pub(crate) fn new(state: &JsValue) -> Events;
    #[wasm_bindgen(method)]
    fn begin(this: &Events);
    #[wasm_bindgen(method)]
    fn end(this: &Events);
}

/// A panic ends what waits. So does an instance that begins, because a stack that overflows ends the one before without a word.
pub(crate) fn end_what_waits() {
    break_off();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        break_off();
    }));
}

/// `served`, or the reply that the request may be repeated, should the module break off before. Written beforehand, because
/// nothing that runs in the module can write it then.
pub(crate) fn or_repeat(served: &Promise, repeat: &Reply, headers: AllHeaders) -> Promise {
    let AllHeaders::Named(headers) = headers else { panic!("BUG: a problem is not a pull's answer") };
    or_else(served, repeat.status, &http::body(&repeat.body), &headers)
}

/// An event of an object that is under way: if the module breaks off before it ends, so does the object.
pub(crate) struct UnderWay<'a>(&'a Events);

impl<'a> UnderWay<'a> {
    pub(crate) fn begin(events: &'a Events, env: &Env) -> Self {
        // First of all, because an instance of the module that begins ends what an older one has left behind.
        isolate::with(env, |_| ());
        events.begin();
        Self(events)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
