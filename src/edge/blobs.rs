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
    /// Behind what more files stand; none if there are no more, or if the bucket has failed.
    Deleted(Option<String>),
}
