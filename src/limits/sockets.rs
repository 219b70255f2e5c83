//! Bounds of sockets and of what goes over them.

use super::{BODY_BYTES_MAX, KIB, MIB};

/// Bytes of a message over a socket, from a client or to it. What is longer goes by HTTP, whose bodies wait at the edge.
pub const MESSAGE_BYTES_MAX: usize = 256 * KIB;
/// Characters of a message among which its type, its number and the name of its body stand.
pub const MESSAGE_HEAD: usize = 64;
/// Messages of a socket that have not been answered. A client that sends one more does not keep to the protocol.
pub const MESSAGES_UNANSWERED_MAX: usize = 64;
/// Messages of a socket that are refused one after the other because its user may have no more of the object. One more ends it: the next
/// one needs a request, which the edge holds back.
pub const MESSAGES_REFUSED_MAX: usize = 32;
/// How long before its end a grant that came over a socket is followed by another one, in ms.
pub const GRANT_RENEWED_MS: u64 = super::GRANT_MS / 2;
/// Bytes of messages that an isolate holds at once from their arrival to their turn, for all sockets of all its objects.
pub const MESSAGES_HELD_MAX: usize = 4 * BODY_BYTES_MAX;
/// Sockets of a space. The platform takes 32,768 of an object (durable-objects/platform/limits).
pub const SOCKETS_MAX: usize = 10_000;
/// Sockets of one user among them: as many tabs and devices as nobody has.
pub const SOCKETS_OF_USER_MAX: usize = 100;
/// Commits are told at once, but not sooner than this after the last, in ms.
pub const NEWS_EVERY_MS: u64 = 100;
/// Bytes of changes that are sent to all sockets together. Where it would be more, each is told that there is something, and most of
/// them pull from nearer layers.
pub const NEWS_BYTES_MAX: usize = 8 * MIB;
/// Bytes of news that a socket is told without a word from its client, which may not be reading: the platform keeps what it could
/// not send, and does not say how much that is. Above that it hears only that there is something, and whoever reads then
/// pulls; …
pub const NEWS_UNREAD_MAX: usize = 128 * KIB;
/// … above this it ends.
pub const NEWS_UNREAD_END: usize = 192 * KIB;
/// All sockets of an object end at once when it moves or is deployed. Each client comes back at a random moment within this time,
/// in ms: so many of a socket, at least and at most.
pub const RECONNECT_MS_PER_SOCKET: u64 = 10;
/// At least.
pub const RECONNECT_MS_MIN: u64 = 5_000;
/// At most.
pub const RECONNECT_MS_MAX: u64 = 300_000;
