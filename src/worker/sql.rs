//! The object's SQLite, as the ledger's port wants it.

use std::{cell::Cell, rc::Rc};

use headwater::coordinator::{
    ledger::{LedgerError, LedgerResult, Sql, SqlValue},
    rate,
};
use js_sys::Array;
use wasm_bindgen::{JsCast, prelude::*};

#[wasm_bindgen(module = "/shell.js")]
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
    rows: Rc<Cell<Rows>>,
}

/// Rows since the last look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rows {
    pub(crate) read: u32,
    pub(crate) written: u32,
}

impl Rows {
    pub(crate) fn add(&mut self, more: Self) {
        *self = Self { read: self.read + more.read, written: self.written + more.written };
    }

    /// What it costs an object to read and write so many.
    pub(crate) fn units(self) -> u64 {
        rate::cost_of_rows((self.read + self.written) as usize)
    }
}

impl ObjectSql {
    pub(crate) fn new(storage: ObjectStorage) -> Self {
        Self { sql: storage.sql(), storage, rows: Rc::default() }
    }

    pub(crate) fn take_rows(&self) -> Rows {
        self.rows.take()
    }

    fn count(&self, answer: &Array, at: u32) {
        let number = |index| answer.get(index).as_f64().unwrap_or(0.0) as u32;
        let Rows { read, written } = self.rows.get();
        self.rows.set(Rows { read: read + number(at), written: written + number(at + 1) });
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
    let message = js_sys::Reflect::get(&error, &"message".into()).ok().and_then(|text| text.as_string());
    let message = message.or_else(|| error.as_string()).unwrap_or_else(|| "unknown".to_owned());
    if message.contains("SQLITE_FULL") || message.contains("database or disk is full") {
        LedgerError::Full
    } else {
        LedgerError::Failed(message)
    }
}
