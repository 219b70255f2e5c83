//! The bucket of files, whose bytes pass through neither wasm nor JavaScript.

use headwater::edge::blobs::{BlobEffect, BlobEvent};
use js_sys::{Array, Promise};
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::Request;

#[wasm_bindgen(module = "/js/blobs.js")]
extern "C" {
    #[wasm_bindgen(js_name = hasBlobs)]
    pub(crate) fn has_blobs(env: &JsValue) -> bool;
    #[wasm_bindgen(js_name = putBlob)]
    fn put_blob(env: &JsValue, request: &Request, key: &str, media_type: &str) -> Promise;
    #[wasm_bindgen(js_name = openBlob)]
    fn open_blob(env: &JsValue, key: &str) -> Promise;
    #[wasm_bindgen(js_name = listBlobs)]
    fn list_blobs(env: &JsValue, prefix: &str, behind: &str) -> Promise;
    #[wasm_bindgen(js_name = deleteEach)]
    fn delete_each(env: &JsValue, keys: &str) -> Promise;
    #[wasm_bindgen(js_name = deleteBlobs)]
    fn delete_blobs(env: &JsValue, prefix: &str, behind: &str, before: f64) -> Promise;
}

/// Begins what is asked for.
pub(crate) fn ask(env: &JsValue, request: Option<&Request>, effect: &BlobEffect) -> Promise {
    match effect {
        BlobEffect::Put { key, media_type } => {
            put_blob(env, request.expect("BUG: an errand has no file"), key, media_type)
        }
        BlobEffect::Open { key } => open_blob(env, key),
        BlobEffect::List { prefix, behind } => list_blobs(env, prefix, behind),
        BlobEffect::DeleteEach { keys } => delete_each(env, &keys.join("\n")),
        BlobEffect::Delete { prefix, behind, before } => delete_blobs(env, prefix, behind, before.0 as f64),
    }
}

/// What has come of it. The stream of a file that is open is kept with `keep`, which says whether it is one.
pub(crate) fn found(
    effect: &BlobEffect,
    done: Result<JsValue, JsValue>,
    keep: impl FnOnce(JsValue) -> bool,
) -> BlobEvent {
    match effect {
        BlobEffect::Put { .. } => BlobEvent::Put(done.map(drop).map_err(drop)),
        BlobEffect::Open { .. } => BlobEvent::Opened(done.map_err(drop).map(|file| {
            let file: Array = file.dyn_into().ok()?;
            keep(file.get(1)).then(|| file.get(0).as_string().unwrap_or_default())
        })),
        BlobEffect::List { .. } => BlobEvent::Listed(done.map_err(drop).and_then(|listed| {
            let listed: Array = listed.dyn_into().map_err(drop)?;
            let text = |at| listed.get(at).as_string().ok_or(());
            Ok((text(0)?, text(1)?))
        })),
        BlobEffect::Delete { .. } | BlobEffect::DeleteEach { .. } => {
            BlobEvent::Deleted(done.ok().and_then(|behind| behind.as_string()))
        }
    }
}
