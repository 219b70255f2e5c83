//! The layers between the isolate's memory and the coordinator: the location's cache, and KV.

use std::rc::Rc;

use headwater::{
    call::{Reply, decode_reply, encode_reply},
    edge::{
        pull::LOCATION_MS,
        state::{Known, KnownHead, Overlay},
        writes::{WRITTEN_MS, to_tell},
    },
    ids::{ContentHash, SpaceHash},
    snapshot::{head::HeadMetadata, keys::Scope, lines::are_lines},
    time::Millis,
    version::Position,
};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};
use web_sys::ReadableStream;
use worker::Env;

/// `cacheTtl` of heads, in seconds: the least that KV takes (kv/api/read-key-value-pairs).
const HEAD_TTL_S: u32 = 30;
/// `cacheTtl` of objects, which never change, in seconds.
pub(crate) const OBJECT_TTL_S: u32 = 86_400;

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = readHead)]
    async fn read_head(env: &JsValue, key: &str, cache_ttl: u32) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = readObject)]
    async fn read_object(env: &JsValue, key: &str, cache_ttl: u32) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = textOf)]
    async fn text_of(stream: &JsValue) -> Result<JsValue, JsValue>;
    /// Of a body that nobody wants.
    #[wasm_bindgen(js_name = drop)]
    pub(crate) fn drop_stream(stream: &JsValue);
    #[wasm_bindgen(catch, js_name = readCache)]
    async fn read_cache(base: &str, writes: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = cacheHead)]
    async fn cache_head(
        base: &str,
        metadata: &str,
        read_at: &str,
        value: &JsValue,
        ttl: u32,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(js_name = pause)]
    pub(crate) async fn pause(ms: u32);
    #[wasm_bindgen(catch, js_name = cachedText)]
    async fn cached_text(url: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch, js_name = cacheText)]
    async fn cache_text(url: &str, text: &str, ttl: u32) -> Result<JsValue, JsValue>;
}

/// The present.
pub(crate) fn now() -> Millis {
    Millis(js_sys::Date::now() as u64)
}

/// Reads the head, and its body if `wants_body` says so of its metadata. `Err` when KV failed; a value that is no head of
/// this space counts as none.
pub(crate) async fn head_in_kv(
    env: &Env,
    scope: &Scope,
    wants_body: impl FnOnce(&HeadMetadata) -> bool,
) -> Result<Option<KnownHead>, ()> {
    let read = read_head(env, &scope.head_key(), HEAD_TTL_S).await.map_err(|_| ())?;
    let read: Array = read.unchecked_into();
    let stream = read.get(1);
    let metadata = read.get(0).as_string();
    let Some(metadata) = metadata.as_ref().map(|text| HeadMetadata::parse(text)) else {
        drop_stream(&stream);
        return Ok(None);
    };
    // A head of another format, as while a deployment is under way: it is not missing, it only says nothing here.
    let Some(metadata) = metadata else {
        drop_stream(&stream);
        return Err(());
    };
    let value = if wants_body(&metadata) {
        text_of(&stream).await.map_err(|_| ())?.as_string()
    } else {
        drop_stream(&stream);
        None
    };
    Ok(KnownHead::new(metadata, value, scope, now()))
}

/// Reads the metadata of a head. `Err` when KV failed.
pub(crate) async fn head_metadata(env: &Env, key: &str) -> Result<Option<HeadMetadata>, ()> {
    let read: Array = read_head(env, key, HEAD_TTL_S).await.map_err(|_| ())?.unchecked_into();
    drop_stream(&read.get(1));
    Ok(read.get(0).as_string().and_then(|text| HeadMetadata::parse(&text)))
}

/// Opens an object; none if KV does not have it. `Err` when KV failed.
pub(crate) async fn object_in_kv(
    env: &Env,
    scope: &Scope,
    hash: &ContentHash,
) -> Result<Option<ReadableStream>, ()> {
    let stream = read_object(env, &scope.object_key(hash), OBJECT_TTL_S).await.map_err(|_| ())?;
    Ok(stream.dyn_into().ok())
}

/// Where a space's entries stand in the location's cache: under our own host, on a path that answers 404 from outside.
fn cache_base(origin: &str, scope: &Scope) -> String {
    format!("{origin}/.headwater/{scope}")
}

/// Where it stands there what was written last in a space. Under its object's name: whoever writes in a shared space need not know
/// its incarnation.
fn writes_url(origin: &str, space: &SpaceHash) -> String {
    format!("{origin}/.headwater/{}/written", space.as_str())
}

/// What the location's cache holds, and where the space stood after the last write that passed this location. Nothing when there
/// is no cache, as on workers.dev, or when it fails.
pub(crate) async fn known_in_cache(
    origin: &str,
    space: &SpaceHash,
    scope: &Scope,
    wants_body: impl FnOnce(&HeadMetadata) -> bool,
) -> (Known, Option<Position>) {
    let read = read_cache(&cache_base(origin, scope), &writes_url(origin, space)).await;
    let Ok(read) = read else { return (Known::default(), None) };
    let read: Array = read.unchecked_into();
    let mut known = Known::default();
    let metadata = read.get(0).as_string().and_then(|text| HeadMetadata::parse(&text));
    let read_at = read.get(1).as_string().and_then(|text| text.parse().ok()).map(Millis);
    let stream = read.get(2);
    if let (Some(metadata), Some(read_at)) = (metadata, read_at) {
        let value = match !stream.is_null() && wants_body(&metadata) {
            true => text_of(&stream).await.ok().and_then(|text| text.as_string()),
            false => None,
        };
        known.head = KnownHead::new(metadata, value, scope, read_at).map(Rc::new);
    }
    if let Some(text) = read.get(3).as_string()
        && let Some((Reply::Overlay { epoch, from, version, horizon, asked_at }, lines)) = decode_reply(&text)
        && are_lines(lines)
    {
        let lines = lines.to_owned();
        known.overlay = Some(Rc::new(Overlay { epoch, from, version, horizon, asked_at, lines }));
    }
    (known, read.get(4).as_string().and_then(|text| Position::parse(&text)))
}

/// Tells the other isolates of the location where the space stood after the last write, unless they have been told of a later one.
pub(crate) async fn tell_written(origin: &str, space: &SpaceHash, position: Position) {
    let (url, ttl_s) = (writes_url(origin, space), u32::try_from(WRITTEN_MS / 1000).unwrap_or(u32::MAX));
    let told = cached_text(&url).await.ok().and_then(|text| Position::parse(&text.as_string()?));
    // Also the same again: it has to be known for as long after this write. Where it fails they go on as without a cache.
    let _ = cache_text(&url, &to_tell(told, position).to_string(), ttl_s).await;
}

/// Hands what a request has learnt to the others of its location.
pub(crate) async fn tell_location(origin: &str, scope: &Scope, before: &Known, after: &Known) {
    let base = cache_base(origin, scope);
    let ttl_s = u32::try_from(LOCATION_MS / 1000).unwrap_or(30);
    if let Some(head) = after.head.as_ref().filter(|head| before.head.as_ref() != Some(head)) {
        let metadata = serde_json::to_string(&head.metadata).unwrap_or_default();
        let value = head.body.as_ref().map_or(JsValue::NULL, |body| JsValue::from_str(&body.value));
        // A cache that fails costs a read of KV, nothing else.
        let _ = cache_head(&base, &metadata, &head.read_at.0.to_string(), &value, ttl_s).await;
    }
    if let Some(overlay) = after.overlay.as_ref().filter(|overlay| before.overlay.as_ref() != Some(overlay)) {
        let reply = Reply::Overlay {
            epoch: overlay.epoch.clone(),
            from: overlay.from,
            version: overlay.version,
            horizon: overlay.horizon,
            asked_at: overlay.asked_at,
        };
        // Longer than it is fresh: until the next confirmation it is what keeps this location from going back.
        let fresh = encode_reply(&reply, &overlay.lines);
        let _ = cache_text(&format!("{base}/fresh"), &fresh, 20 * ttl_s).await;
    }
}
