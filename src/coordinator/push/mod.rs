//! What becomes of pushes: in which order, what each makes of the records, and what is written.

mod merge;
pub(super) mod numbering;
pub(super) mod plan;
pub mod queue;
mod tokens;
