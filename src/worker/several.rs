//! Several visits of one request, side by side.

use std::{cell::RefCell, rc::Rc};

use headwater::edge::visit::{Part, PartDone};
use js_sys::{Array, Promise};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::edge::Carrier;

/// Brings each to its end.
pub(crate) async fn carry(carrier: &Carrier, parts: Vec<Part>) -> Vec<PartDone> {
    let slots: Vec<_> = parts.iter().map(|_| Rc::new(RefCell::new(None))).collect();
    let begun: Array = parts.into_iter().zip(&slots).map(|(part, slot)| begin(carrier, part, slot)).collect();
    // None of them is ever rejected: what goes wrong with a part is its answer.
    let _all = JsFuture::from(Promise::all(&begun)).await;
    slots.iter().map(|slot| slot.take().expect("BUG: a part has not ended")).collect()
}

/// A promise of its own, as of an errand, so that the kind of this future does not hold itself.
fn begin(carrier: &Carrier, part: Part, slot: &Rc<RefCell<Option<PartDone>>>) -> Promise {
    let (mut carrier, slot) = (carrier.beside(), Rc::clone(slot));
    future_to_promise(async move {
        let Part { mut visit, effect } = part;
        let answer = carrier.carry(&mut visit, effect).await.expect("BUG: a pull has no answer");
        slot.replace(Some(PartDone { visit, answer }));
        Ok(JsValue::UNDEFINED)
    })
}
