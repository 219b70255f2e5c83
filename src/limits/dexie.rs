//! Bounds of the front of another client, which knows none: whatever it has to say comes in one request.

use super::{BODY_BYTES_MAX, KIB, MIB};

/// Bytes of the body of `POST /dexie/sync`. This client puts all that is pending into one request, and one that is refused for its
/// length stops it for good; what is read of it stays text, so that twice the length of a push has room in memory.
pub const DEXIE_BODY_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Bytes of a body that may be a pull. A longer one is a push, and is passed on unread.
pub const DEXIE_PULL_BYTES_MAX: usize = 64 * KIB;
/// Transactions of one request: an app that writes records one by one may have as many after weeks without a network. As many are
/// remembered in the client's row until it has heard how they ended.
pub const DEXIE_TRANSACTIONS_MAX: usize = 20_000;
/// Operations of one request, of which this client writes none shorter than 80 bytes.
pub const DEXIE_OPS_MAX: usize = 100_000;
/// Records that an answer says the state of because the request names them: more have no room in it.
pub const DEXIE_TOUCHED_MAX: usize = 20_000;
/// Bytes that their names take in memory.
pub const DEXIE_TOUCHED_BYTES_MAX: usize = 2 * MIB;
/// Records that one transaction changes: an import is one transaction, and is planned in memory.
pub const DEXIE_CHANGES_MAX: usize = 50_000;
/// Bytes of the values that one transaction leaves, all records together.
pub const DEXIE_VALUES_MAX: usize = 16 * MIB;
/// Bytes of texts that one transaction reads and writes on the way, an object counted as often as a field of it is changed.
pub const DEXIE_WORK_MAX: usize = 64 * MIB;
/// Records that the criteria of one transaction are compared with. Those behind them fall back to what the client has found, …
pub const DEXIE_SCANNED_MAX: usize = 20_000;
/// … and bytes of those records.
pub const DEXIE_SCANNED_BYTES_MAX: usize = 16 * MIB;
/// Records that are read at once for that: of 256 KiB each at most.
pub const DEXIE_SCANNED_AT_ONCE: usize = 64;
/// Tables of which it is remembered how their primary keys are called.
pub const DEXIE_TABLES_MAX: usize = 256;
/// Keys of one operation of an answer.
pub const DEXIE_KEYS_AT_ONCE: usize = 500;
/// Bytes of changes that are told over a socket at once. What is more is fetched.
pub const DEXIE_NEWS_MAX: usize = 64 * KIB;
/// Bytes of a message over a socket that is listened to: a short text, but for those of documents, which have no answer here.
pub const DEXIE_MESSAGE_MAX: usize = 4 * KIB;
/// Bytes of a message of a client that has several spaces: it says where it is in each. It has said the same in a URL, of which the
/// platform takes 16 KiB, and quotes are escaped here.
pub const DEXIE_READY_MAX: usize = 32 * KIB;
/// How often a client is told to pull what it still does not have: at once, then with its pings, which come every 30 s. By then no
/// location answers from before.
pub const DEXIE_TOLD_MAX: u8 = 3;
/// Bytes that an operation of a request takes in memory beside its text, …
pub const DEXIE_OP_BYTES: usize = 20;
/// … and a transaction.
pub const DEXIE_TRANSACTION_BYTES: usize = 256;
/// Bytes of a condition: a longer one is none that an index could be asked, and the keys count that the client has found.
pub const DEXIE_CRITERIA_MAX: usize = 4 * KIB;
/// Realms of one client that are synced, and are live, beside its own: those that come first in its revision. Each is a space, of which a
/// sync makes up to three looks into the cache, a read of KV and three calls of objects. A request has 1,000 subrequests to internal
/// services, but on the free plan 50 looks into the cache: what is more fails, and KV is read instead (workers/platform/limits).
pub const DEXIE_REALMS_MAX: usize = 32;
/// How long a location believes what a user's directory has said of realms, in ms: so long it may take until a device hears of a realm
/// that somebody else has let its user into.
pub const DEXIE_REALMS_KNOWN_MS: u64 = 60_000;
/// Bytes of the rows that tell somebody of an invitation.
pub const INVITED_BYTES_MAX: usize = 64 * KIB;
/// Invitations of one push that people are given a hint of.
pub const INVITATIONS_HINTED_MAX: usize = 32;
/// Bytes of record lines of which an answer out of several spaces is made. What is more comes with the next sync.
pub const DEXIE_SEVERAL_BYTES_MAX: usize = 4 * MIB;
/// Spaces of a client's realms that are asked at once: an answer may hold a version, which has 16 MiB.
pub const DEXIE_SPACES_AT_ONCE: usize = 6;
/// Records that spaces are asked for at once, because they say different things of them, or because they are on their way, …
pub const DEXIE_ASKED_AT_ONCE: usize = 2_000;
/// … and how often in one sync: more names than these together have no room in an answer.
pub const DEXIE_QUESTIONS_MAX: usize = 40;
