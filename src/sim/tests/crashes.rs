//! Each external write, and the three ways in which it can fail.
