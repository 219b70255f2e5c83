//! The coordinator as a whole.
