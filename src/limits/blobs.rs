//! Bounds of files, which stand in R2 beside a space's records.

use super::MIB;

/// Bytes of a file. A client loads ten at once, each of them whole, and keeps them: ten of these are what a tab on a phone can hold.
/// The platform would take 100 MB.
pub const BLOB_BYTES_MAX: u64 = 32 * MIB as u64;
/// Bytes of files that are put into one space in a UTC day, by all of its users together.
pub const BLOB_BYTES_PER_DAY: u64 = 1024 * MIB as u64;
/// Bytes of the type that a file says to have.
pub const BLOB_TYPE_BYTES_MAX: usize = 255;
/// How often a thousand files of a space that was deleted are deleted at once: each time costs two of the fifty operations that the free
/// plan gives a request.
pub const BLOB_DELETIONS_MAX: usize = 20;
