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

mod compact;
mod edit;
mod path;

pub use compact::{Compact, compact};
pub use edit::{Refused, add, distinct, exclude, include, patch};
pub use path::Path;

#[cfg(test)]
mod tests;
