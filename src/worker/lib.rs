//! The shell: carries the core onto Cloudflare Workers. No sync rule lives here.
//!
//! Two places run, each a loop that carries out what the core asks for: `edge` at every location
//! (`headwater::edge::visit`), and `object` once per space or directory (`headwater::coordinator::object`).

mod analytics;
mod blobs;
mod edge;
#[cfg_attr(not(feature = "dexie"), path = "foreign_none.rs")]
mod foreign;
mod head;
mod http;
mod isolate;
mod live;
mod log;
mod object;
mod panic;
#[cfg(feature = "dexie")]
mod relay;
mod several;
mod sql;
mod tokens;

use headwater::time::Millis;
use wasm_bindgen::prelude::*;
use worker::{Env, worker_sys::Context};

/// Where every request begins. `worker`'s own macro would always make a promise.
///
/// # Errors
/// When the platform refuses to make a response.
#[wasm_bindgen]
pub fn fetch(request: web_sys::Request, env: Env, context: Context) -> Result<JsValue, JsValue> {
    edge::answer(request, env, context)
}

/// The present.
fn now() -> Millis {
    Millis(js_sys::Date::now() as u64)
}
