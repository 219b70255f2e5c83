//! Structured log lines: one JSON object each.

use std::cell::{Cell, RefCell};

use headwater::log::LogLevel;
use serde_json::{Value, json};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = log)]
    fn console_log(line: &str);
}

thread_local! {
    static LEVEL: Cell<LogLevel> = const { Cell::new(LogLevel::Info) };
    static ENVIRONMENT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Sets what is logged from now on, and under which name of a deployment.
pub(crate) fn configure(level: LogLevel, environment: String) {
    LEVEL.set(level);
    ENVIRONMENT.set(environment);
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
    let environment = ENVIRONMENT.with_borrow(Clone::clone);
    let mut line = json!({ "level": level.as_str(), "environment": environment, "event": event });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    console_log(&line.to_string());
}
