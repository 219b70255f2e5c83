//! Every bound, with its reason.

mod blobs;
mod dexie;
mod invitations;
mod sockets;
mod tokens;

pub use blobs::*;
pub use dexie::*;
pub use invitations::*;
pub use sockets::*;
pub use tokens::*;

/// Bytes of a request body. The contract's; the platform would take 100 MB.
pub const BODY_BYTES_MAX: usize = 4 * MIB;
/// Mutations of one push.
pub const MUTATIONS_MAX: usize = 500;
/// Changes of one push.
pub const CHANGES_MAX: usize = 2_000;
/// Bytes of one mutation. It may not be split, so it must fit into a request.
pub const MUTATION_BYTES_MAX: usize = MIB;
/// Changes of one mutation.
pub const MUTATION_CHANGES_MAX: usize = 1_000;
/// Names in the paths that one mutation sets and unsets, with the values that it lists: a megabyte has half a million, each of
/// them up to 270 bytes in memory while they are applied. Those of a push together as many, because they are in memory together: a
/// hundredth of a body can hold them all.
pub const NAMES_MAX: usize = 20_000;
/// Bytes that one mutation reads, or writes, each record counted as often as it is changed: a short body can change a long
/// record a thousand times, while everybody else of the space waits.
pub const MUTATION_WORK_MAX: usize = 16 * MIB;
/// Bytes of bodies that an object holds at once, from their arrival to their answer. In memory each takes several times as
/// much, and an isolate has 128 MB for all its objects.
pub const BODIES_HELD_MAX: usize = 4 * BODY_BYTES_MAX;
/// Bytes that a path of a push with its value takes, or a value that it lists, beside their text, with pointers of 64 bits: those
/// of an isolate have half as many. So have these numbers:
pub const NAME_BYTES_PARSED: usize = 80;
/// of a change, or of a resolution with a record, …
pub const CHANGE_BYTES_PARSED: usize = 400;
/// … and of a mutation.
pub const MUTATION_BYTES_PARSED: usize = 512;
/// Bytes that all of them take at most for each byte of the push: of values each has two bytes, `1,`, and takes forty.
pub const PARSED_OF_BYTE: usize = 20;
/// Bytes that a push of so many bytes takes at most from its copying to its answer, but for what is gone after the step that needs
/// it: its own, those of its changes, those of their values, and what these are made of.
#[must_use]
pub const fn push_weight(length: usize) -> usize {
    let names = (NAMES_MAX + CHANGES_MAX) * NAME_BYTES_PARSED;
    let all = names + CHANGES_MAX * CHANGE_BYTES_PARSED + MUTATIONS_MAX * MUTATION_BYTES_PARSED;
    let made = length * PARSED_OF_BYTE;
    // Three bytes of a text are six where a line separator is written as its escape; what all texts have is bounded.
    let kept = if 3 * length < BODY_BYTES_MAX { 3 * length } else { BODY_BYTES_MAX };
    length + 2 * kept + if made < all { made } else { all }
}
/// What the pushes weigh that are in an isolate's memory at once, for all its objects: the half of it is one user's at most, and
/// holds any push.
pub const PLACES_LONG_MAX: usize = 2 * push_weight(BODY_BYTES_MAX);
/// Bytes of a body that does not wait behind longer ones, …
pub const BODY_SHORT_MAX: usize = 64 * KIB;
/// … and what such pushes weigh that are in there at once beside the others.
pub const PLACES_SHORT_MAX: usize = 8 * MIB;
/// Turns of publication that are under way at once in an isolate: each may hold a part in memory until KV has taken it, which is two
/// bytes a character where one is not Latin-1.
pub const TURNS_MAX: usize = 12;
/// How long a push waits for its place, in ms. The edge waits longer for the object.
pub const PLACE_WAITS_MS: u64 = 10_000;
/// How often the push that is next looks whether it may get in, in ms; …
pub const PLACE_LOOKS_MS: u64 = 10;
/// … and how often one looks at least that is far from it.
pub const PLACE_LOOKS_MS_MAX: u64 = 100;
/// After how long without a look a push stands in nobody's way, in ms: an object that the platform ends says nothing.
pub const PLACE_UNSEEN_MS: u64 = 2_000;
/// After how long without any step it counts as one that has left, in ms, for the same reason.
pub const PLACE_INSIDE_MS: u64 = 60_000;
/// Bytes of a call to an object that carries no client's push: a question, or something to do that names a subject of 1 KiB.
pub const CALL_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a value without white space. A row may have 2 MB (durable-objects/platform/limits).
pub const VALUE_BYTES_MAX: usize = 256 * KIB;
/// Nesting of a value; `{}` is 1.
pub const VALUE_DEPTH_MAX: usize = 64;
/// Open conflicts of a space. Nothing that is parked is ever pruned, so the next mutation that conflicts is rejected.
pub const CONFLICTS_MAX: usize = 10_000;
/// Open conflicts of one user of a shared space, whom the others would otherwise have to ask for room.
pub const CONFLICTS_OF_USER_MAX: usize = 1_000;
/// Conflicts whose results one client has not acknowledged: each of them is looked at with each push of the client.
pub const CONFLICTS_UNACKED_MAX: usize = 1_000;
/// Changes parked under one conflict: what its `mine` re-applies is one mutation.
pub const CONFLICT_CHANGES_MAX: usize = MUTATION_CHANGES_MAX;
/// Bytes of the text parked under one conflict.
pub const CONFLICT_TEXT_MAX: usize = 4 * MIB;
/// Records that the announcement of a conflict names; it counts all of them.
pub const CONFLICT_NAMES_MAX: usize = 100;
/// Bytes that the names of all records take in memory that the conflicts touch whose results one client has not
/// acknowledged: they are there while it pushes.
pub const CONFLICT_NAMES_BYTES_MAX: usize = 4 * MIB;
/// What a name takes beside its text, where names are kept.
pub const NAME_BYTES: usize = 80;
/// How deep resolutions may lie in what resolutions re-apply: an edit that was parked, resolved, and overtaken again.
pub const RESOLUTIONS_NESTED_MAX: usize = 8;
/// Collections of a space.
pub const COLLECTIONS_MAX: usize = 200;
/// Clients remembered per user and space; the longest unused goes first.
pub const CLIENTS_MAX: usize = 1_000;
/// Mutations per client whose digests are kept at least, so that a repeated number can be told from another mutation.
pub const DIGESTS_KEPT: usize = 128;
/// Mutations per client whose digests are kept at most, while their results are not acknowledged: two full pushes.
pub const UNACKED_KEPT: usize = 2 * MUTATIONS_MAX;
/// Bytes of the values that one mutation leaves, all records together: a short `add` can rewrite a long value, and what
/// shares a version is never cut between pages.
pub const MUTATION_VALUES_MAX: usize = 4 * MIB;
/// Bytes that a push reads, or writes, before its last mutation: a short body can rewrite long records five hundred times.
pub const PUSH_VALUES_MAX: usize = 16 * MIB;
/// Bytes that the pushes of one transaction have read, or written, after which the next mutation waits for the next one. An
/// isolate has 128 MB, and wasm memory never shrinks.
pub const GROUP_WORK_MAX: usize = 2 * MIB;
/// Bytes read or written, and changes, that take an object as long as a small call does; see `coordinator::rate`.
pub const RATE_UNIT_BYTES: usize = 64 * KIB;
/// About 20 µs of SQL each.
pub const RATE_UNIT_CHANGES: usize = 20;
/// Rows of lists, which are read in one go.
pub const RATE_UNIT_ROWS: usize = 100;
/// Bytes of bodies that an isolate at the edge holds at once, for all its users.
pub const BODIES_HELD_MAX_EDGE: usize = 8 * BODY_BYTES_MAX;
/// Bytes that a row counts for, of those whose texts do not say how much they are.
pub const ROW_BYTES: usize = RATE_UNIT_BYTES / RATE_UNIT_ROWS;
/// Bytes of answers that an isolate at the edge holds at once while they are read, for all its users.
pub const STREAMS_HELD_MAX: usize = 32 * MIB;
/// How often a page of a stream is in memory while it is read: as text, as bytes, and on its way.
pub const STREAM_COPIES: usize = 3;
/// What a stream of published objects holds at least: a request, and objects that are opened ahead.
pub const STREAM_LEAST_BYTES: usize = 128 * KIB;
/// Bytes of a page that are written at once, …
pub const STREAM_SLICE_BYTES: usize = 64 * KIB;
/// … and how long they wait for a reader, in ms. Whoever comes back later goes on from the last cursor.
pub const STREAM_IDLE_MS: u32 = 30_000;
/// How long a stream of published objects lasts at most, and after how long one of pages is taken for over of which nobody hears,
/// in ms. Whoever has not read all goes on from the last cursor.
pub const STREAM_MS_MAX: u32 = 10 * 60_000;
/// How long the edge waits for the next bytes of a body, in ms. Longer pauses are a client that has gone.
pub const BODY_IDLE_MS: u32 = 10_000;
/// Bytes a second that a body must have brought on the average, beyond the pause that it may make: a phone on 2G sends five
/// times as many.
pub const BODY_BYTES_PER_S: u32 = 1_000;
/// How long the edge waits for the whole of a body, in ms: 4 MiB at 35 KB/s.
pub const BODY_TOTAL_MS: u32 = 120_000;
/// Bytes of record lines in the answer to a push of another front, and as many of records that it names. Of what
/// is new the rest comes with the next answer, because its client knows no pages; of what it names in vain, the rest stays untold.
pub const WORDED_BYTES_MAX: usize = MIB;
/// Bytes that a push of another front reads, or writes, after which it goes through no more records: its body can hold conditions by
/// the thousand, each of which has a whole collection read.
pub const SCANNED_BYTES_MAX: usize = 64 * MIB;
/// Bytes of the records that one transaction of another front replaces or removes: all of them are in memory at once.
pub const REPLACED_BYTES_MAX: usize = 32 * MIB;
/// Records that are read in one go for such an answer.
pub const WORDED_KEYS_AT_ONCE: usize = 500;
/// Bytes of changes that ride on the answer to a push.
const PIGGYBACK_BYTES_MAX: usize = 64 * KIB;
/// Bytes of `theirs` in the answer to a push.
pub const CONFLICT_BYTES_MAX: usize = 64 * KIB;
/// Bytes of `theirs` in a page of conflicts.
pub const CONFLICTS_THEIRS_MAX: usize = MIB;
/// Bytes after which a JSON page ends, at the next version.
pub const JSON_PAGE_BYTES: usize = 256 * KIB;
/// Bytes after which a page that the edge streams on ends, at the next version.
pub const STREAM_PAGE_BYTES: usize = MIB;
/// Bytes of an overlay that the coordinator hands to an edge for all its readers.
const OVERLAY_BYTES_MAX: usize = 256 * KIB;

/// Bytes of a head's first line.
pub const HEAD_LINE_BYTES_MAX: usize = 64 * KIB;
/// Bytes of the tail in a head's value.
pub const TAIL_BYTES_MAX: usize = 256 * KIB;
/// Bytes from which on a part of a run may end.
const PART_BYTES_MIN: usize = MIB;
/// Bytes by which a part has ended, but for its last record. KV takes 25 MiB (kv/platform/limits); a new client's
/// pull costs one billed read per part, whatever its size.
const PART_BYTES_MAX: usize = PART_BYTES_MIN + 512 * KIB;
/// Parts built in one turn: about 32 MiB read, hashed and put, far below 30 s of CPU.
const PARTS_PER_TURN: usize = 32;
/// Bytes from which on a part that no head names is deleted. A month of 10 KB costs as much as a deletion (kv/platform/pricing),
/// and the alarm that brings it costs some of that too.
const REPLACED_BYTES_MIN: usize = 16 * KIB;
/// Changes of pushes that are settled at once: about 20 µs of CPU each (measured: 41 to 54 ms for 2,000), where everybody else
/// of the space waits.
const SLICE_CHANGES_MAX: usize = 100;
/// Bytes of their texts: about as long, at 20 to 30 ms for a megabyte (measured: 110 ms for 4 MiB, being read included).
const SLICE_BYTES_MAX: usize = 64 * KIB;
/// Bytes of a push that are read at once, before others are heard.
pub const READ_BYTES_MAX: usize = 64 * KIB;
/// Deletions forgotten in one turn.
const PURGES_PER_TURN: usize = 1_000;

/// How much goes into what the coordinator cuts and answers. Simulated spaces are small and take smaller sizes, so that
/// they too have tails that overflow, runs of many parts, and pulls of many pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the tail in a head's value.
    pub tail_max: usize,
    /// Bytes from which on a part of a run may end.
    pub part_min: usize,
    /// Bytes by which a part has ended, but for its last record.
    pub part_max: usize,
    /// Parts built in one turn.
    pub parts_per_turn: usize,
    /// Bytes from which on a part that no head names is deleted.
    pub replaced_min: usize,
    /// Deletions forgotten in one turn.
    pub purges_per_turn: usize,
    /// Bytes of an overlay that the coordinator hands to an edge for all its readers.
    pub overlay_max: usize,
    /// Bytes of changes that ride on the answer to a push.
    pub piggyback_max: usize,
    /// Bytes after which a page ends, at the next version, whatever the edge asks for.
    pub page_max: usize,
    /// How much of pushes is settled before others are heard.
    pub slice: SliceMax,
    /// How much is parked.
    pub parked: ParkedMax,
}

/// How much of pushes is settled before others are heard. A mutation is never cut, so one alone may be more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceMax {
    /// Changes.
    pub changes: usize,
    /// Bytes of their texts.
    pub bytes: usize,
}

impl SliceMax {
    /// As it is deployed.
    pub const DEPLOYED: Self = Self { changes: SLICE_CHANGES_MAX, bytes: SLICE_BYTES_MAX };
}

/// How much is parked, at most. Simulated spaces take less, so that they run out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkedMax {
    /// Open conflicts of a space.
    pub conflicts: usize,
    /// Open conflicts of one user of a shared space.
    pub of_user: usize,
    /// Conflicts whose results one client has not acknowledged.
    pub unacked: usize,
    /// Changes parked under one conflict, with those that its `mine` takes out of others.
    pub changes: usize,
    /// How deep resolutions lie in what resolutions re-apply.
    pub nested: usize,
}

impl ParkedMax {
    /// As it is deployed.
    pub const DEPLOYED: Self = Self {
        conflicts: CONFLICTS_MAX,
        of_user: CONFLICTS_OF_USER_MAX,
        unacked: CONFLICTS_UNACKED_MAX,
        changes: CONFLICT_CHANGES_MAX,
        nested: RESOLUTIONS_NESTED_MAX,
    };
}

impl Sizes {
    /// As they are deployed.
    pub const DEPLOYED: Self = Self {
        tail_max: TAIL_BYTES_MAX,
        part_min: PART_BYTES_MIN,
        part_max: PART_BYTES_MAX,
        parts_per_turn: PARTS_PER_TURN,
        replaced_min: REPLACED_BYTES_MIN,
        purges_per_turn: PURGES_PER_TURN,
        overlay_max: OVERLAY_BYTES_MAX,
        piggyback_max: PIGGYBACK_BYTES_MAX,
        page_max: STREAM_PAGE_BYTES,
        slice: SliceMax::DEPLOYED,
        parked: ParkedMax::DEPLOYED,
    };
}

/// Present members of a shared space: whoever removes an owner looks through them for another.
pub const MEMBERS_MAX: usize = 10_000;
/// Policies of a space: one per collection it may have.
pub const POLICIES_MAX: usize = COLLECTIONS_MAX;
/// Shared spaces that one user has made and that are not deleted, or made within the last day, so that nobody makes objects
/// without end.
pub const SPACES_MADE_MAX: usize = 1_000;
/// Entries that one user's directory holds, of memberships that are and that have ended, beside those of spaces that the user
/// has made: making room reads them all.
pub const SPACES_LISTED_MAX: usize = 10_000;
/// Spaces on one page of a user's list.
pub const SPACES_PAGE: usize = 1_000;
/// Bytes of the body of a pull or an administrative request.
pub const ORDER_BYTES_MAX: usize = 16 * KIB;
/// Hints that one user's directory keeps of one sender. Anybody may make anybody a member.
const HINTS_OF_SENDER_MAX: usize = 10;
/// Hints that one user's directory keeps.
const HINTS_MAX: usize = 100;
/// Hints that a directory looks at in a minute, of all senders together: each that is kept is a row.
pub const HINTS_PER_MINUTE: usize = 60;
/// How long a space counts as being made of which its maker's directory hears nothing, in ms.
pub const RESERVED_MS: u64 = 86_400_000;
/// Bytes of a body that is too long, or not wanted, that are read all the same: four times what is taken.
pub const BODY_DRAINED_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are read of a body at once at first, so that one of which nothing comes takes no more, …
pub const BODY_READ_FIRST: usize = 4 * 1024;
/// … and at most: each read costs.
pub const BODY_READ_MOST: usize = 64 * 1024;
/// Bytes that the array of a body begins with, unless the body has fewer.
pub const BODY_ARRAY_FIRST: usize = 16 * 1024;
/// Bytes that are unpacked at once. The platform's stream takes whatever it is given and keeps what comes out until somebody
/// reads it, and of a byte deflate makes up to 1,032.
pub const BODY_PACKED_SLICE: usize = 4 * 1024;
/// Objects that a stream opens ahead: six connections may wait for headers at once (workers/platform/limits).
pub const OBJECTS_AHEAD: usize = 5;
/// Keys that an isolate keeps imported.
pub const KEYS_IMPORTED_MAX: usize = 100;
/// Characters of what an issuer answered instead of keys, status and type, that the log is told.
pub const TOLD_OF_ISSUER: usize = 100;
/// How often a request looks whether another one has fetched the issuer's keys, until it has waited too long.
pub const KEYS_LOOKS: u32 = 300;
/// How long a put into KV may take before nobody knows how it ended, in ms.
pub const PUT_TIMEOUT_MS: u32 = 25_000;
/// How long the edge waits for an object, in ms. The platform repeats a call by itself for up to ten seconds
/// (durable-objects/best-practices/automatic-retries), and queues calls before it says that an object is overloaded.
pub const CALL_TIMEOUT_MS: u32 = 25_000;
/// The same where KV can answer instead.
pub const PULL_TIMEOUT_MS: u32 = 8_000;
/// How long the edge waits for a directory after the answer to its user, in ms. Work of that kind may take 30 s
/// (workers/runtime-apis/context), and needs three such calls at most.
pub const DIRECTORY_TIMEOUT_MS: u32 = 8_000;

/// How much a user's directory holds. Simulated directories hold less, so that they run out of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryMax {
    /// Shared spaces that its user has made and that are not deleted, or made within the last day.
    pub made: usize,
    /// Entries, beside those of spaces that the user has made.
    pub listed: usize,
    /// Entries on a page.
    pub page: usize,
    /// Hints.
    pub hints: usize,
    /// Hints of one sender.
    pub hints_of_sender: usize,
}

impl DirectoryMax {
    /// As it is deployed.
    pub const DEPLOYED: Self = Self {
        made: SPACES_MADE_MAX,
        listed: SPACES_LISTED_MAX,
        page: SPACES_PAGE,
        hints: HINTS_MAX,
        hints_of_sender: HINTS_OF_SENDER_MAX,
    };
}

/// How long a grant is good, in ms: so long may a member read who was removed.
pub const GRANT_MS: u64 = 10 * 60_000;
/// By how much the clocks of the machine that signs and of the one that verifies may differ, in ms. It only lets a grant
/// count that seems to be made in the future, never one that has ended.
pub const GRANT_SKEW_MS: u64 = 60_000;
/// Bytes of a grant; ours have about 400.
pub const GRANT_BYTES_MAX: usize = KIB;
/// Grants remembered per isolate.
pub const GRANTS_REMEMBERED: usize = 1_000;
/// Bytes of heads and overlays kept in an isolate, which has 128 MB.
pub const MEMORY_BYTES_MAX: usize = 16 * MIB;
/// About as many bytes of what is kept of all spaces of an isolate between events: overlays, and what pushes have read.
pub const CACHES_BYTES_MAX: usize = 8 * MIB;
/// Bytes that a row takes there, beside its text.
pub const CACHED_ROW_BYTES: usize = 512;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const _: () = {
    assert!(PLACE_WAITS_MS < CALL_TIMEOUT_MS as u64, "who waits for its place hears of it");
    assert!(2 * push_weight(BODY_SHORT_MAX) <= PLACES_SHORT_MAX, "a push alone must get in");
    assert!(PLACES_LONG_MAX + PLACES_SHORT_MAX < 40 * MIB, "an isolate has 128 MB, for everything");
    assert!(TURNS_MAX * 2 * PART_BYTES_MAX < 40 * MIB, "an isolate has 128 MB, for everything");
    assert!(MUTATION_BYTES_MAX < BODY_BYTES_MAX, "a mutation must fit into a request");
    assert!(VALUE_BYTES_MAX + 1024 < MUTATION_BYTES_MAX, "a value must fit into a mutation");
    assert!(UNACKED_KEPT > MUTATIONS_MAX, "a push whose answer was lost must be recognized as a whole");
    assert!(MUTATION_BYTES_MAX <= CONFLICT_TEXT_MAX, "a mutation alone must be parkable");
    assert!(MUTATION_BYTES_MAX < 2_000_000, "a parked change must fit into a row");
    assert!(VALUE_BYTES_MAX * 2 < 2_000_000, "a line must fit into a row");
    assert!(
        PIGGYBACK_BYTES_MAX + KIB < MESSAGE_BYTES_MAX,
        "changes that ride on news must fit into a message"
    );
    assert!(JSON_PAGE_BYTES <= MESSAGE_BYTES_MAX, "a page is as long as a message may be");
    assert!(TAIL_BYTES_MAX + HEAD_LINE_BYTES_MAX < 25 * MIB, "a head must fit into a KV value");
};
