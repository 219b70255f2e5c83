//! The object's SQLite, as the ledger's port wants it.

use std::{cell::Cell, rc::Rc};

use headwater::coordinator::ledger::{LedgerError, LedgerResult, Rows, Sql, SqlValue};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};

#[wasm_bindgen(module = "/js/storage.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn query(sql: &JsValue, text: &str, params: &Array) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    fn text(sql: &JsValue, text: &str, params: &Array, limit: usize) -> Result<JsValue, JsValue>;
}

#[wasm_bindgen]
extern "C" {
    /// The object's storage, with what `worker` 0.8.7 does not bind.
    #[derive(Debug, Clone)]
    #[wasm_bindgen(js_name = DurableObjectStorage)]
    pub(crate) type ObjectStorage;
    #[wasm_bindgen(method, getter)]
    fn sql(this: &ObjectStorage) -> JsValue;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &ObjectStorage,
        section: &mut dyn FnMut() -> Result<JsValue, JsValue>,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = getAlarm)]
    pub(crate) async fn get_alarm(this: &ObjectStorage) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = setAlarm)]
    pub(crate) async fn set_alarm(this: &ObjectStorage, at: f64) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = deleteAlarm)]
    pub(crate) async fn delete_alarm(this: &ObjectStorage) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub(crate) async fn sync(this: &ObjectStorage) -> Result<JsValue, JsValue>;
}

/// The object's SQLite. Counts the rows that are billed; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct ObjectSql {
    storage: ObjectStorage,
    sql: JsValue,
    pub(crate) rows: Rc<Cell<Rows>>,
}

impl ObjectSql {
    pub(crate) fn new(storage: ObjectStorage) -> Self {
        Self { sql: storage.sql(), storage, rows: Rc::default() }
    }

    fn count(&self, answer: &Array, at: u32) {
        let number = |index| answer.get(index).as_f64().unwrap_or(0.0) as u32;
        let mut rows = self.rows.get();
        rows.add(Rows { read: number(at), written: number(at + 1) });
        self.rows.set(rows);
    }
}

impl Sql for ObjectSql {
    fn query(&self, sql: &str, params: &[SqlValue]) -> LedgerResult<Vec<Vec<SqlValue>>> {
        let answer: Array = query(&self.sql, sql, &to_js(params)).map_err(failed)?.unchecked_into();
        self.count(&answer, 1);
        let rows: Array = answer.get(0).unchecked_into();
        Ok(rows
            .iter()
            .map(|row| row.unchecked_into::<Array>().iter().map(|cell| from_js(&cell)).collect())
            .collect())
    }

    fn rows(&self) -> Rows {
        self.rows.get()
    }

    fn text(&self, sql: &str, params: &[SqlValue], bytes_max: usize) -> LedgerResult<(String, bool)> {
        let answer: Array = text(&self.sql, sql, &to_js(params), bytes_max).map_err(failed)?.unchecked_into();
        self.count(&answer, 2);
        Ok((answer.get(0).as_string().unwrap_or_default(), answer.get(1).is_truthy()))
    }

    fn atomically(&self, section: &mut dyn FnMut() -> LedgerResult<()>) -> LedgerResult<()> {
        let mut failure = None;
        let done = self.storage.transaction_sync(&mut || match section() {
            Ok(()) => Ok(JsValue::UNDEFINED),
            Err(error) => {
                failure = Some(error);
                Err(JsValue::from_str("rolled back"))
            }
        });
        match (failure, done) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => Err(failed(error)),
            (None, Ok(_)) => Ok(()),
        }
    }
}

fn to_js(params: &[SqlValue]) -> Array {
    let values = Array::new_with_length(u32::try_from(params.len()).unwrap_or(u32::MAX));
    for (index, value) in (0..).zip(params) {
        let value = match value {
            SqlValue::Null => JsValue::NULL,
            // At most 2^53-1: versions are bounded so that doubles hold them.
            SqlValue::Integer(number) => JsValue::from_f64(*number as f64),
            SqlValue::Text(text) => JsValue::from_str(text),
        };
        values.set(index, value);
    }
    values
}

fn from_js(cell: &JsValue) -> SqlValue {
    if let Some(number) = cell.as_f64() {
        return SqlValue::Integer(number as i64);
    }
    cell.as_string().map_or(SqlValue::Null, SqlValue::Text)
}

fn failed(error: JsValue) -> LedgerError {
    LedgerError::of_words(words_of(&error))
}

/// What an error of the platform says.
pub(crate) fn words_of(error: &JsValue) -> String {
    let message = js_sys::Reflect::get(error, &"message".into()).ok().and_then(|text| text.as_string());
    message.or_else(|| error.as_string()).unwrap_or_else(|| "unknown".to_owned())
}
