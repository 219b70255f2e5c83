//! The isolate's one `headwater::edge::isolate::Isolate`. Nothing of it is ever borrowed across an await.

use std::cell::RefCell;

use headwater::{
    config::Config,
    coordinator::{cache::Common, object::ObjectConfig},
    edge::isolate::Isolate,
};
use wasm_bindgen::prelude::*;
use worker::Env;

use crate::{analytics, blobs::has_blobs, http, log, panic};

#[wasm_bindgen(module = "/js/request.js")]
extern "C" {
    #[wasm_bindgen(js_name = setting)]
    fn setting(env: &JsValue, name: &str) -> Option<String>;
    #[wasm_bindgen(js_name = settings)]
    fn settings(env: &JsValue) -> String;
    #[wasm_bindgen(js_name = hasLimiter)]
    fn has_limiter(env: &JsValue) -> bool;
}

struct Here {
    isolate: Isolate,
    object: ObjectConfig,
    common: Common,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// The environment of an isolate never changes: a new configuration is a new deployment with isolates of its own.
pub(crate) fn with<T>(env: &Env, use_it: impl FnOnce(&mut Isolate) -> T) -> T {
    HERE.with_borrow_mut(|here| {
        let isolate = &mut here.get_or_insert_with(|| begin(env)).isolate;
        let done = use_it(isolate);
        for (level, event, fields) in isolate.take_log() {
            log::write(level, event, fields);
        }
        done
    })
}

/// What objects are set to, and what they share.
pub(crate) fn of_objects(env: &Env) -> (ObjectConfig, Common) {
    HERE.with_borrow_mut(|here| {
        let here = here.get_or_insert_with(|| begin(env));
        (here.object, here.common.clone())
    })
}

#[cold]
#[inline(never)]
fn begin(env: &Env) -> Here {
    let Config { edge, object, environment, problems } = Config::read(|name| setting(env, name));
    log::configure(edge.log_level, environment);
    http::configure_bodies();
    http::configure_calls(edge.jurisdiction.as_deref());
    analytics::configure(env);
    panic::end_what_waits();
    let names = settings(env);
    let unknown = Config::unknown(names.lines());
    let isolate = Isolate::new(edge, &problems, &unknown, has_limiter(env)).with_blobs(has_blobs(env));
    Here { isolate, object, common: Common::default() }
}
