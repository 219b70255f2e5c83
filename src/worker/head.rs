//! Heads as KV and the location's cache hand them out: metadata, and a value whose bytes come only if they are wanted.

use headwater::edge::{known::Wanted, visit::Effect};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, prelude::*};
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(module = "/js/kv.js")]
extern "C" {
    #[wasm_bindgen(js_name = textOf)]
    fn text_of(stream: &JsValue) -> Promise;
    /// Of a body that nobody wants.
    #[wasm_bindgen(js_name = drop)]
    pub(crate) fn drop_stream(stream: &JsValue);
}

/// The value of the head that an effect has read, if it is wanted. Where it cannot be read, what was read of KV is an error.
pub(crate) async fn read_value(effect: &Effect, done: &mut Result<JsValue, JsValue>) -> Option<String> {
    let (Some(wanted), Ok(read)) = (wanted(effect), &done) else { return None };
    let (metadata, stream) = parts_of(read);
    if stream.is_null() || !metadata.is_some_and(|metadata| wanted.wants_of(&metadata)) {
        drop_stream(&stream);
        return None;
    }
    match JsFuture::from(text_of(&stream)).await {
        Ok(text) => text.as_string(),
        // A cache that has lost a value still says the rest.
        Err(_) if matches!(effect, Effect::LookIntoCache { .. }) => None,
        Err(error) => {
            *done = Err(error);
            None
        }
    }
}

fn wanted(effect: &Effect) -> Option<&Wanted> {
    match effect {
        Effect::LookIntoCache { wanted, .. } | Effect::ReadHead { wanted, .. } => Some(wanted),
        _ => None,
    }
}

/// The metadata of a head that was read, and its value as a stream.
pub(crate) fn parts_of(read: &JsValue) -> (Option<String>, JsValue) {
    let read: &Array = read.unchecked_ref();
    (read.get(0).as_string(), read.get(1))
}
