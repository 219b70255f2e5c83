//! Record values as JSON text.
//!
//! A value is kept as the text the client wrote, without white space between tokens and with escapes for line ends: its
//! numbers stay as written and its keys in their order. An operation looks only into the objects on the way of its paths and copies the
//! rest, so everything here is text in and text out.
//!
//! Every text handed in is valid JSON, checked by `serde_json` at the door, and, except for [`compact`], already
//! what that made of it and found fit. No function panics on other text, but what it then returns means nothing.
//! No function recurses deeper than a path is long, whatever the nesting of the text.
//!
//! Results may be larger and deeper than what came in; the limits on size and nesting are the caller's to check.

mod canonical;
mod edit;
mod path;
mod scalar;
mod scan;
mod text;

pub(crate) use canonical::{order_of_names, push_number, push_text};
pub use edit::{Refused, add, distinct, exclude, include, patch};
pub use path::Path;
pub(crate) use scan::string_end;
pub use scan::{Compact, compact, elements, fields, members, touched, touched_among};
pub use text::{json_text, text_field, text_of};

#[cfg(test)]
mod tests;
