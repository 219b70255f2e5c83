//! Bounds of tokens, and of the keys that they are verified with.

use super::KIB;

/// Bytes of a token. Headers may have 128 KB in all; a token with 200 groups has about 6 KB.
pub const TOKEN_BYTES_MAX: usize = 8 * KIB;
/// Bytes of a token's subject.
pub const SUBJECT_BYTES_MAX: usize = 1024;
/// Bytes of a secret that signs: as many as its hash has (RFC 7518, 3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Keys of a JWKS document; an issuer has two or three.
pub const KEYS_MAX: usize = 100;
/// Problems with keys that an isolate's log is told.
pub const KEY_PROBLEMS_TOLD: usize = 2 * KEYS_MAX;
/// Bytes of a JWKS document. A key with its certificates has about 3 KB.
pub const KEYS_BYTES_MAX: usize = 256 * KIB;
/// How long the keys of an issuer are used without another look, in ms: so long may a key live that was taken back.
pub const KEYS_FRESH_MS: u64 = 10 * 60_000;
/// The shortest time between two looks, in ms: anybody can make tokens that name keys nobody has.
pub const KEYS_REFRESH_MS: u64 = 60_000;
/// The same while there are no keys at all and nobody can get in.
pub const KEYS_RETRY_MS: u64 = 5_000;
/// How long a request waits for the keys of its token, in ms.
pub const KEYS_TIMEOUT_MS: u32 = 3_000;
/// Tokens remembered per isolate.
pub const TOKENS_REMEMBERED: usize = 1_000;
/// How long a verified token is remembered, in ms.
pub const TOKEN_REMEMBERED_MS: u64 = 10 * 60_000;
