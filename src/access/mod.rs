//! Who is calling, for which space, and with what right.

pub mod cors;
pub mod grant;
pub mod invitation;
#[cfg(feature = "dexie")]
pub mod session;
mod signer;
pub mod target;
pub mod token;
