//! Structured log lines: one JSON object each. No token, value, or name of a person or space stands in one.

use std::cell::Cell;

use headwater::edge::config::LogLevel;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = log)]
    fn console_log(line: &str);
}

thread_local! {
    static LEVEL: Cell<LogLevel> = const { Cell::new(LogLevel::Info) };
}

/// Sets what is logged from now on.
pub(crate) fn set_level(level: LogLevel) {
    LEVEL.set(level);
}

/// Whether lines of `level` are written.
pub(crate) fn is_on(level: LogLevel) -> bool {
    level <= LEVEL.get()
}

/// Writes a line, if its level is on.
pub(crate) fn write(level: LogLevel, event: &str, fields: Value) {
    if !is_on(level) {
        return;
    }
    let mut line = json!({ "level": level.as_str(), "event": event });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    console_log(&line.to_string());
}
