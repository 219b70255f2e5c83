//! Bounds of invitations by link.

/// Invitations of a space that stand.
pub const INVITATIONS_MAX: usize = 100;
/// People whom one of them makes members at most.
pub const INVITATION_USES_MAX: u64 = 10_000;
/// How long one stands unless it says otherwise, in ms, and at most.
pub const INVITATION_MS: u64 = 7 * 24 * 3_600_000;
/// See [`INVITATION_MS`].
pub const INVITATION_MS_MAX: u64 = 365 * 24 * 3_600_000;
