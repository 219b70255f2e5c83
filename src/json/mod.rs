//! JSON of ours: read without building a tree, and written, in one way everywhere.
//!
//! Text handed in is valid JSON, checked by `serde_json` at the door. No function panics on other text, but what it then returns
//! means nothing.

mod canonical;
mod fields;
mod object;
mod scalar;
mod scan;
mod text;

pub(crate) use canonical::{order_of_names, push_number, push_text};
pub(crate) use fields::{Fields, Misfit, text_of_body};
pub(crate) use object::{Texts, Written};
pub(crate) use scalar::{Scalar, decoded, number, number_text};
#[cfg(feature = "dexie")]
pub(crate) use scan::element_at;
pub(crate) use scan::{Members, array_body, before, string_end};
pub use scan::{elements, fields, members, touched, touched_among};
pub use text::{json_text, text_field, text_of};
