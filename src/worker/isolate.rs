//! The isolate's one `headwater::edge::isolate::Isolate`. Nothing of it is ever borrowed across an await.

use std::cell::RefCell;

use headwater::edge::{config::Config, isolate::Isolate};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::{http, log, panic};

#[wasm_bindgen(module = "/js/request.js")]
extern "C" {
    #[wasm_bindgen(js_name = setting)]
    fn setting(env: &JsValue, name: &str) -> Option<String>;
    #[wasm_bindgen(js_name = settings)]
    fn settings(env: &JsValue) -> String;
    #[wasm_bindgen(js_name = hasLimiter)]
    fn has_limiter(env: &JsValue) -> bool;
}

thread_local! {
    static ISOLATE: RefCell<Option<Isolate>> = const { RefCell::new(None) };
}

/// The environment of an isolate never changes: a new configuration is a new deployment with isolates of its own.
pub(crate) fn with<T>(env: &Env, use_it: impl FnOnce(&mut Isolate) -> T) -> T {
    ISOLATE.with_borrow_mut(|isolate| {
        let isolate = isolate.get_or_insert_with(|| begin(env));
        let done = use_it(isolate);
        for (level, event, fields) in isolate.take_log() {
            log::write(level, event, fields);
        }
        done
    })
}

#[cold]
#[inline(never)]
fn begin(env: &Env) -> Isolate {
    let config = Config::read(|name| setting(env, name));
    log::configure(&config);
    http::configure_bodies();
    panic::end_what_waits();
    Isolate::new(config, settings(env).lines(), has_limiter(env))
}
