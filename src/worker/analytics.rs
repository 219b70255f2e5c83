//! A point in Analytics Engine for each Worker request, message and alarm, where the dataset is bound as `ANALYTICS`.

use std::cell::Cell;

use headwater::call::Usage;
use wasm_bindgen::prelude::*;
use worker::Env;

#[wasm_bindgen(module = "/js/analytics.js")]
extern "C" {
    #[wasm_bindgen(js_name = hasAnalytics)]
    fn has_analytics(env: &JsValue) -> bool;
    #[wasm_bindgen(js_name = writePoint)]
    fn write_point(env: &JsValue, index: &str, blobs: &str, doubles: &[f64]);
}

thread_local! {
    static IS_BOUND: Cell<bool> = const { Cell::new(false) };
}

/// Whether there is a dataset does not change while an isolate lives.
pub(crate) fn configure(env: &JsValue) {
    IS_BOUND.set(has_analytics(env));
}

/// Whether points are written.
pub(crate) fn is_on() -> bool {
    IS_BOUND.get()
}

/// Writes a point: of a "request", a "message" or an "alarm", what that was for, how it ended, after how many ms, and what it used.
pub(crate) fn point(
    env: &Env,
    space: &str,
    (kind, route, status): (&str, &str, &str),
    ms: u64,
    used: &Usage,
) {
    let doubles = used.point(ms).map(|number| number as f64);
    write_point(env, space, &format!("{kind}\n{route}\n{status}"), &doubles);
}
