//! Who may do what in a space, what is done about it, and the lists of users' shared spaces.

pub(super) mod administration;
pub mod directory;
mod guests;
pub(super) mod invitations;
pub(super) mod members;
