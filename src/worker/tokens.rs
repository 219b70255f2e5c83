//! What the platform verifies and counts, for requests and for sockets.

use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/js/tokens.js")]
extern "C" {
    #[wasm_bindgen(js_name = fetchKeys)]
    pub(crate) fn fetch_keys(
        url: &str,
        limit: usize,
        timeout_ms: u32,
        looks: u32,
        context: &JsValue,
    ) -> Promise;
    #[wasm_bindgen(js_name = verifySignature)]
    pub(crate) fn verify_signature(
        algorithm: &str,
        jwk: &str,
        signed: &str,
        signature: Uint8Array,
        keys_max: usize,
    ) -> Promise;
    #[wasm_bindgen(js_name = mayPass)]
    pub(crate) fn may_pass(env: &JsValue, key: &str) -> Promise;
}
