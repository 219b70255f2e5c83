//! Who is calling, for which space, and with what right.

pub mod cors;
pub mod grant;
pub mod invitation;
pub mod target;
pub mod token;
