//! What the platform verifies and counts, for requests and for sockets.

use headwater::{
    edge::identity::{TokenEffect, TokenEvent},
    limits,
};
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/js/tokens.js")]
extern "C" {
    #[wasm_bindgen(js_name = fetchKeys)]
    fn fetch_keys(url: &str, limit: usize, timeout_ms: u32, looks: u32, context: &JsValue) -> Promise;
    #[wasm_bindgen(js_name = verifySignature)]
    fn verify_signature(
        algorithm: &str,
        jwk: &str,
        signed: &str,
        signature: Uint8Array,
        keys_max: usize,
    ) -> Promise;
    #[wasm_bindgen(js_name = mayPass)]
    pub(crate) fn may_pass(env: &JsValue, key: &str) -> Promise;
}

/// Begins to find out what is asked about a token.
pub(crate) fn ask(effect: &TokenEffect, context: &JsValue) -> Promise {
    match effect {
        TokenEffect::Verify { algorithm, jwk, signed, signature } => {
            let signature = Uint8Array::from(&signature[..]);
            verify_signature(algorithm.as_str(), jwk, signed, signature, limits::KEYS_IMPORTED_MAX)
        }
        TokenEffect::FetchKeys { url } => {
            let (bytes, ms) = (limits::KEYS_BYTES_MAX, limits::KEYS_TIMEOUT_MS);
            fetch_keys(url, bytes, ms, limits::KEYS_LOOKS, context)
        }
    }
}

/// What has been found out.
pub(crate) fn found(effect: &TokenEffect, done: Result<JsValue, JsValue>) -> TokenEvent {
    match effect {
        TokenEffect::Verify { .. } => TokenEvent::Verified(done.ok().map(|is_good| is_good.is_truthy())),
        TokenEffect::FetchKeys { .. } => {
            let read = done.map(|read| Array::from(&read)).unwrap_or_default();
            TokenEvent::Keys(read.get(0).as_string(), read.get(1).as_string().unwrap_or_default())
        }
    }
}
