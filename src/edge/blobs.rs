//! What is asked of the bucket of files, and what comes of it.

use crate::time::Millis;

/// What is asked for.
#[derive(Debug)]
pub enum BlobEffect {
    /// Put the body of the request there, unless something stands there: [`BlobEvent::Put`].
    Put {
        /// Where.
        key: String,
        /// Its type.
        media_type: String,
    },
    /// Open a file as a stream: [`BlobEvent::Opened`].
    Open {
        /// Where.
        key: String,
    },
    /// List a thousand files at most: [`BlobEvent::Listed`].
    List {
        /// How their keys begin; the rest is what is listed.
        prefix: String,
        /// Behind what of it; empty for the first ones.
        behind: String,
    },
    /// Delete a thousand files at most: [`BlobEvent::Deleted`], behind nothing.
    DeleteEach {
        /// Where they stand.
        keys: Vec<String>,
    },
    /// Delete a thousand files at most: [`BlobEvent::Deleted`].
    Delete {
        /// How their keys begin.
        prefix: String,
        /// Behind what; empty for the first ones.
        behind: String,
        /// Those that were put before.
        before: Millis,
    },
}

/// What has come of it.
#[derive(Debug)]
pub enum BlobEvent {
    /// Whether a file stands there.
    Put(Result<(), ()>),
    /// The type of the file that is open, if it is there. An error if the bucket has failed.
    Opened(Result<Option<String>, ()>),
    /// Files, with a space between each two, and behind what there are more; that is empty if there are no more. An error if the bucket
    /// has failed.
    Listed(Result<(String, String), ()>),
    /// Behind what more files stand; none if there are no more, or if the bucket has failed.
    Deleted(Option<String>),
}
