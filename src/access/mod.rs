//! Who is calling, for which space, and with what right.

#[cfg(feature = "dexie")]
pub(crate) mod base64;
pub mod cors;
pub mod grant;
pub mod invitation;
#[cfg(feature = "dexie")]
pub mod session;
mod signer;
pub mod target;
pub mod token;
