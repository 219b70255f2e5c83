//! In the place of `foreign.rs` in a build whose only front is our own.

use std::future::Ready;

use headwater::call::live::{Closing, News};
use wasm_bindgen::prelude::*;

use crate::object::Instance;

const NONE: &str = "BUG: a front speaks over a socket that is not in this build";

pub(crate) fn closing(_: &Closing) -> (Option<&'static str>, u16, &'static str) {
    panic!("{NONE}")
}

impl Instance {
    pub(crate) fn tell_foreign(&self, numbers: Vec<u32>, _: &News) -> Vec<u32> {
        numbers
    }

    pub(crate) fn hear_foreign(&self, _: u32, _: &JsValue) -> Ready<()> {
        panic!("{NONE}")
    }
}
