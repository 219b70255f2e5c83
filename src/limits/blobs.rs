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
/// Days between two looks for files that no record names.
pub const BLOB_COLLECTION_DAYS: u64 = 7;
/// Days after which a file is deleted that no record was found to name, neither then nor now: so long storage can be taken back to a
/// moment at which one did, and an edit may be on its way that names it again.
pub const BLOB_KEPT_DAYS: u64 = 30;
/// Files that are remembered as named by no record. Those above are found at a later look.
pub const BLOBS_UNNAMED_MAX: usize = 5_000;
/// Bytes of records that are looked through in one call.
pub const BLOB_SCAN_BYTES: usize = 2 * MIB;
/// Calls of one look: beside a page of the bucket and a deletion, no more than the free plan gives a request. In a larger space nothing
/// is deleted.
pub const BLOB_SCANS_MAX: usize = 40;
