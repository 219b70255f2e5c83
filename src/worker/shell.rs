//! Rust signatures of `shell.js`, and of platform calls that the `worker` crate does not bind.

use js_sys::Array;
use wasm_bindgen::prelude::*;
use worker::worker_sys::types::SqlStorage;

#[wasm_bindgen(module = "/shell.js")]
extern "C" {
    /// Everything the edge needs to know about a request, one field per line.
    #[wasm_bindgen(js_name = readRequest)]
    pub fn read_request(request: &web_sys::Request) -> String;

    /// An answer with a text body; `headers` alternates names and values, one per line.
    #[wasm_bindgen(catch, js_name = respond)]
    pub fn respond_text(status: u16, body: &str, headers: &str) -> Result<web_sys::Response, JsValue>;

    /// An answer with a body of bytes, handed over by value because a view would change with wasm memory.
    #[wasm_bindgen(catch, js_name = respond)]
    pub fn respond_bytes(status: u16, body: Vec<u8>, headers: &str) -> Result<web_sys::Response, JsValue>;

    /// An answer whose body is null or a `ReadableStream`, neither of which enters wasm.
    #[wasm_bindgen(catch)]
    pub fn respond(status: u16, body: &JsValue, headers: &str) -> Result<web_sys::Response, JsValue>;

    /// `[rows, rowsRead, rowsWritten]`, each row an array of cells.
    #[wasm_bindgen(catch)]
    pub fn query(sql: &SqlStorage, text: &str, params: &Array) -> Result<Array, JsValue>;

    /// `[text, more, rowsRead, rowsWritten]`, the text being the first column, one row per line.
    #[wasm_bindgen(catch)]
    pub fn text(sql: &SqlStorage, text: &str, params: &Array, limit: f64) -> Result<Array, JsValue>;
}

#[wasm_bindgen]
extern "C" {
    /// The storage of an object, for the one call that the `worker` crate leaves out.
    #[wasm_bindgen(js_name = DurableObjectStorage)]
    pub type ObjectStorage;

    /// Runs `section` as one transaction: an `Err` is thrown, so the runtime rolls back every write in it.
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    pub fn transaction_sync(
        this: &ObjectStorage,
        section: &mut dyn FnMut() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue>;
}
