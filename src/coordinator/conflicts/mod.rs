//! What is parked because it conflicts, and how that ends.

mod list;
pub(super) mod parking;
