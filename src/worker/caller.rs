//! Who is calling, where that cannot be said at once: signatures that the platform verifies, and the issuer's keys.

use headwater::{
    edge::authorize::{Caller, Step},
    limits,
    protocol::error::ApiError,
};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use worker::Env;

use crate::{http::Incoming, isolate, location};

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(js_name = fetchKeys)]
    fn fetch_keys(url: &str, limit: usize, timeout_ms: u32, context: &JsValue) -> Promise;
    #[wasm_bindgen(js_name = verifySignature)]
    fn verify_signature(algorithm: &str, jwk: &str, signed: &str, signature: Uint8Array) -> Promise;
}

/// The caller of a request whose token came to `step`.
pub(crate) async fn find(
    incoming: &Incoming,
    mut step: Step,
    env: &Env,
    context: &JsValue,
) -> Result<Caller, ApiError> {
    let mut has_fetched = false;
    loop {
        let promise = match &step {
            Step::Caller(caller) => return Ok(caller.clone()),
            Step::Verify(claimed) => {
                let (key, signature) = (&claimed.key, Uint8Array::from(claimed.signature.as_slice()));
                verify_signature(key.algorithm.as_str(), &key.jwk, claimed.signed(), signature)
            }
            Step::FetchKeys if has_fetched => return Err(ApiError::Upstream),
            Step::FetchKeys => {
                let url = isolate::jwks_url(env);
                fetch_keys(&url, limits::KEYS_BYTES_MAX, limits::KEYS_TIMEOUT_MS, context)
            }
        };
        let answer = JsFuture::from(promise).await;
        if let Step::Verify(claimed) = step {
            let is_good = answer.ok().map(|is_good| is_good.is_truthy());
            return isolate::learn_signature(env, claimed, is_good, incoming.now);
        }
        let document = answer.ok().and_then(|text| text.as_string());
        isolate::learn_keys(env, document.as_deref(), location::now());
        has_fetched = true;
        step = isolate::decide(env, &incoming.authorization, incoming.now)?;
    }
}
