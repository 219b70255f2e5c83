//! Directories: what is listed, what is hinted at, and what is made.

use serde_json::{Value, json};

use super::*;
use crate::{
    call::{DirectoryAnswer, DirectoryCall, Entry, Standing},
    coordinator::{
        ledger::{SqlLedger, tests::sqlite::Sqlite},
        sharing::directory::Directory,
    },
    limits::{self, DirectoryMax},
};

const DAY_MS: u64 = 86_400_000;
const EARLY: &str = "0mwrnsa6yk3v9q2";
const LATE: &str = "0mwrnsa6yk3v9q3";

/// Alice's directory with a clock.
struct Shelf<L = MemoryLedger> {
    directory: Directory<L>,
    now: Millis,
}

fn space(id: &str) -> SpaceId {
    SpaceId::parse(id).expect("an id")
}

fn entry(id: &str, standing: &str, at: &str) -> Entry {
    Entry {
        space: space(id),
        incarnation: Epoch::parse(EARLY).expect("an epoch"),
        standing: Standing::parse(standing).expect("a standing"),
        at: Position::parse(at).expect("a position"),
    }
}

impl Shelf {
    fn new() -> Self {
        Self::of(DirectoryMax::DEPLOYED)
    }

    fn of(max: DirectoryMax) -> Self {
        Self { directory: Directory::open(MemoryLedger::default(), max).expect("a ledger"), now: START }
    }

    fn text(&mut self) -> String {
        format!("{:?}", self.directory.ledger())
    }
}

impl<L: Ledger> Shelf<L> {
    fn ask(&mut self, caller: &str, call: &DirectoryCall) -> Result<DirectoryAnswer, ApiError> {
        self.directory.answer(&user(caller), call, self.now).expect("storage")
    }

    fn note(&mut self, id: &str, standing: &str, at: &str) -> DirectoryAnswer {
        self.ask("alice", &DirectoryCall::Note(entry(id, standing, at))).expect("an answer")
    }

    fn hint(&mut self, from: &str, id: &str) {
        let answer = self.ask(from, &DirectoryCall::Hint { space: space(id) });
        assert_eq!(answer, Ok(DirectoryAnswer::Done), "nobody hears whether it was kept");
    }

    fn reserve(&mut self, id: &str) -> bool {
        match self.ask("alice", &DirectoryCall::Reserve { space: space(id) }) {
            Ok(DirectoryAnswer::Done) => true,
            Err(ApiError::Forbidden(why)) if why.contains("1,000") => false,
            other => panic!("{other:?}"),
        }
    }

    fn page(&mut self, cursor: Option<&str>) -> Value {
        match self.ask("alice", &DirectoryCall::List { cursor: cursor.map(space) }) {
            Ok(DirectoryAnswer::Page(page)) => serde_json::from_str(&page).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    /// `space role` of each that is listed.
    fn listed(&mut self) -> Vec<String> {
        let page = self.page(None);
        let text = |one: &Value, name: &str| one[name].as_str().expect("a text").to_owned();
        let spaces = page["spaces"].as_array().expect("a list");
        spaces.iter().map(|one| format!("{} {}", text(one, "space"), text(one, "role"))).collect()
    }

    fn invitations(&mut self) -> Vec<String> {
        let page = self.page(None);
        let invitations = page["invitations"].as_array().expect("a list");
        invitations.iter().map(|one| one["space"].as_str().expect("an id").to_owned()).collect()
    }
}

#[test]
fn what_a_space_has_said_further_on_holds_whatever_comes_last() {
    let mut shelf = Shelf::new();
    assert_eq!(shelf.page(None), json!({ "spaces": [], "invitations": [], "cursor": null }));
    let later = |at: &str| DirectoryAnswer::Later(Position::parse(at).expect("a position"));
    let [five, nine, ten] = [5, 9, 10].map(|version| format!("{EARLY}.{version}"));
    assert_eq!(shelf.note("team", "owner", &five), DirectoryAnswer::Done);
    assert_eq!(shelf.note("team", "reader", &format!("{EARLY}.4")), later(&five));
    assert_eq!(shelf.listed(), ["team owner"]);
    let before = shelf.text();
    assert_eq!(shelf.note("team", "owner", &five), DirectoryAnswer::Done, "a lost answer is repeated");
    assert_eq!(shelf.text(), before, "and nothing is written");
    assert_eq!(shelf.note("team", "none", &ten), DirectoryAnswer::Done, "by number and not by letter");
    assert_eq!(shelf.listed(), [""; 0]);
    assert_eq!(shelf.note("team", "owner", &nine), later(&ten), "an end stays known");
    assert_eq!(shelf.note("team", "writer", &format!("{LATE}.1")), DirectoryAnswer::Done, "a later epoch");
    assert_eq!(shelf.listed(), ["team writer"]);
}

#[test]
fn that_one_is_not_a_member_of_what_is_not_known_writes_nothing() {
    let mut shelf = Shelf::new();
    let before = shelf.text();
    for standing in ["none", "gone"] {
        assert_eq!(shelf.note("secret", standing, &format!("{EARLY}.5")), DirectoryAnswer::Done);
    }
    assert_eq!(shelf.text(), before);
    shelf.page(None);
    let before = shelf.text();
    shelf.note("secret", "none", &format!("{EARLY}.5"));
    assert_eq!(shelf.text(), before, "nor where the directory is used");
}

#[test]
fn strangers_bring_no_directory_into_being_and_ask_for_nobodys() {
    let mut shelf = Shelf::new();
    let before = shelf.text();
    shelf.hint("mallory", "trap");
    assert_eq!(shelf.text(), before);
    shelf.page(None);
    shelf.hint("mallory", "trap");
    assert_eq!(shelf.invitations(), ["trap"]);
    for call in [
        DirectoryCall::List { cursor: None },
        DirectoryCall::Reserve { space: space("s") },
        DirectoryCall::Note(entry("s", "owner", &format!("{EARLY}.1"))),
    ] {
        assert_eq!(shelf.ask("mallory", &call), Err(ApiError::Internal), "{call:?}");
    }
}

#[test]
fn a_hint_is_no_entry_and_goes_when_the_space_has_said_something() {
    let mut shelf = Shelf::new();
    shelf.page(None);
    for (id, said) in [("team", "writer"), ("trap", "none"), ("past", "gone")] {
        shelf.hint("bob", id);
        assert_eq!(
            (shelf.invitations(), shelf.listed().len()),
            (vec![id.to_owned()], usize::from(id != "team"))
        );
        shelf.note(id, said, &format!("{EARLY}.5"));
        assert_eq!(shelf.invitations(), [""; 0], "{id}");
    }
    let before = shelf.text();
    shelf.hint("bob", "team");
    assert_eq!(shelf.text(), before, "of what is listed nobody needs a hint");
    shelf.note("team", "none", &format!("{EARLY}.6"));
    shelf.hint("bob", "team");
    assert_eq!(shelf.invitations(), ["team"], "who has left may be invited again");
    shelf.note("team", "gone", &format!("{EARLY}.7"));
    shelf.hint("bob", "team");
    assert_eq!(shelf.invitations(), [""; 0], "but not into what is gone");
}

#[test]
fn hints_are_bounded_by_sender_and_in_all_and_of_the_busiest_sender_the_oldest_goes() {
    let mut shelf = Shelf::new();
    shelf.page(None);
    let give = |shelf: &mut Shelf, from: &str, id: &str| {
        shelf.now = shelf.now.plus(2_000);
        shelf.hint(from, id);
    };
    for number in 0..12 {
        give(&mut shelf, "mallory", &format!("trap{number:02}"));
    }
    let traps: Vec<_> = (2..12).map(|number| format!("trap{number:02}")).collect();
    assert_eq!(shelf.invitations(), traps, "ten of one sender");
    for sender in 0..30 {
        for number in 0..3 {
            give(&mut shelf, &format!("sender {sender}"), &format!("s{sender:02}-{number}"));
        }
    }
    let before = shelf.invitations();
    assert_eq!(before.len(), 100);
    give(&mut shelf, "bob", "team");
    let after = shelf.invitations();
    assert!(after.len() == 100 && after.contains(&"team".to_owned()));
    assert!(!after.contains(&"trap02".to_owned()) && after.contains(&"trap03".to_owned()));
}

#[test]
fn a_directory_takes_sixty_hints_a_minute() {
    let mut shelf = Shelf::new();
    shelf.page(None);
    for number in 0..90 {
        shelf.hint(&format!("sender {number}"), &format!("s{number}"));
    }
    assert_eq!(shelf.invitations().len(), limits::HINTS_PER_MINUTE);
    shelf.now = shelf.now.plus(60_000);
    shelf.hint("bob", "team");
    assert!(shelf.invitations().contains(&"team".to_owned()));
}

#[test]
fn a_long_list_comes_in_pages_and_invitations_on_the_first() {
    let mut shelf = Shelf::new();
    for number in 0..1_001 {
        shelf.note(&format!("s{number:04}"), "owner", &format!("{EARLY}.1"));
    }
    shelf.hint("bob", "team");
    let first = shelf.page(None);
    assert_eq!(first["spaces"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(first["invitations"], json!([{ "space": "team" }]));
    let rest = shelf.page(Some(first["cursor"].as_str().expect("a cursor")));
    assert_eq!(rest, json!({ "spaces": [{ "space": "s1000", "role": "owner" }], "cursor": null }));
}

#[test]
fn a_user_makes_at_most_1000_spaces_and_only_a_deletion_makes_room() {
    let mut shelf = Shelf::new();
    for number in 0..limits::SPACES_MADE_MAX {
        let id = format!("m{number:04}");
        assert!(shelf.reserve(&id));
        shelf.note(&id, "owner", &format!("{EARLY}.1"));
    }
    shelf.now = shelf.now.plus(2 * DAY_MS);
    assert!(!shelf.reserve("new"));
    assert!(shelf.reserve("m0500"), "a lost answer is repeated");
    shelf.note("m0001", "reader", &format!("{EARLY}.2"));
    shelf.note("m0002", "none", &format!("{EARLY}.2"));
    assert!(!shelf.reserve("new"), "who hands a space over and leaves has made it all the same");
    shelf.note("m0003", "gone", &format!("{EARLY}.2"));
    assert!(shelf.reserve("new"));
    assert!(!shelf.reserve("newer"), "of several at once only as many as there is room for");
}

#[test]
fn a_space_that_is_deleted_counts_until_a_day_after_it_was_made() {
    let mut shelf = Shelf::of(DirectoryMax { made: 1, listed: 1, ..DirectoryMax::DEPLOYED });
    assert!(shelf.reserve("made"));
    shelf.note("made", "owner", &format!("{EARLY}.1"));
    shelf.note("made", "gone", &format!("{EARLY}.2"));
    assert!(!shelf.reserve("new"), "nobody makes objects without end by deleting them again");
    shelf.note("joined", "reader", &format!("{EARLY}.1"));
    assert_eq!(shelf.listed(), ["joined reader"], "in the list it takes no place");
    shelf.now = shelf.now.plus(DAY_MS);
    assert!(!shelf.reserve("new"));
    shelf.now = shelf.now.plus(1);
    assert!(shelf.reserve("new"));
}

#[test]
fn whoever_is_made_an_owner_by_others_makes_spaces_all_the_same() {
    let mut shelf = Shelf::new();
    for number in 0..limits::SPACES_MADE_MAX {
        shelf.note(&format!("trap{number}"), "owner", &format!("{EARLY}.1"));
    }
    assert!(shelf.reserve("new"));
}

#[test]
fn a_reservation_that_comes_to_nothing_counts_for_a_day() {
    let mut shelf = Shelf::of(DirectoryMax { made: 2, ..DirectoryMax::DEPLOYED });
    assert!(shelf.reserve("broken-off") && shelf.reserve("made"));
    shelf.note("made", "owner", &format!("{EARLY}.1"));
    assert_eq!(shelf.listed(), ["made owner"], "what is reserved is not listed");
    shelf.now = shelf.now.plus(DAY_MS);
    assert!(!shelf.reserve("new"));
    assert!(shelf.reserve("broken-off"), "whoever makes it after all");
    shelf.now = shelf.now.plus(DAY_MS);
    assert!(!shelf.reserve("new"), "for which there is a day from then on");
    shelf.now = shelf.now.plus(1);
    assert!(shelf.reserve("new"));
    assert!(!shelf.reserve("newer"), "what was made stays");
}

/// A directory that holds three entries, of spaces `a`, `b` and `c`.
fn full(standings: [&str; 3]) -> Shelf {
    let mut shelf = Shelf::of(DirectoryMax { listed: 3, ..DirectoryMax::DEPLOYED });
    for (id, standing) in ["c", "a", "b"].into_iter().zip(standings) {
        shelf.now = shelf.now.plus(1_000);
        shelf.note(id, "reader", &format!("{EARLY}.1"));
        shelf.note(id, standing, &format!("{EARLY}.2"));
    }
    shelf
}

#[test]
fn ends_stay_known_until_room_is_needed_and_then_the_oldest_go() {
    let mut shelf = full(["none", "reader", "gone"]);
    assert_eq!(shelf.note("new", "writer", &format!("{EARLY}.1")), DirectoryAnswer::Done);
    assert_eq!(shelf.listed(), ["a reader", "new writer"]);
    assert_eq!(shelf.note("c", "reader", &format!("{EARLY}.1")), DirectoryAnswer::Done, "what is forgotten");
    assert_eq!(shelf.listed(), ["a reader", "c reader", "new writer"]);
}

#[test]
fn a_list_that_is_full_takes_no_more_but_what_its_user_makes() {
    let mut shelf = full(["reader", "writer", "owner"]);
    let before = shelf.text();
    assert_eq!(shelf.note("new", "writer", &format!("{EARLY}.1")), DirectoryAnswer::Full);
    assert_eq!(shelf.text(), before);
    assert_eq!(
        shelf.note("a", "reader", &format!("{EARLY}.3")),
        DirectoryAnswer::Done,
        "what is listed stays right"
    );
    assert!(shelf.reserve("own"));
    assert_eq!(shelf.note("own", "owner", &format!("{EARLY}.1")), DirectoryAnswer::Done);
    assert_eq!(shelf.listed(), ["a reader", "b owner", "c reader", "own owner"]);
    shelf.note("own", "none", &format!("{EARLY}.2"));
    assert_eq!(
        shelf.note("new", "writer", &format!("{EARLY}.1")),
        DirectoryAnswer::Full,
        "it counts as made"
    );
    shelf.note("own", "gone", &format!("{EARLY}.3"));
    assert_eq!(shelf.note("new", "writer", &format!("{EARLY}.1")), DirectoryAnswer::Done);
}

#[test]
fn that_of_an_address_keeps_invitations_until_somebody_comes_who_has_it() {
    let mut shelf = Shelf::of(DirectoryMax::DEPLOYED);
    let invite = DirectoryCall::Invite { space: space("new") };
    assert_eq!(shelf.ask("bob", &invite), Ok(DirectoryAnswer::Done));
    let list = DirectoryCall::List { cursor: None };
    for who in ["alice", "alice"] {
        let Ok(DirectoryAnswer::Page(page)) = shelf.ask(who, &list) else { panic!("no page") };
        assert!(page.contains(r#""invitations":[{"space":"new"}]"#), "{page}");
    }
    assert_eq!(shelf.ask("bob", &list), Err(ApiError::Internal), "whoever has invited has nothing of it");
}

#[test]
fn whichever_write_of_a_call_fails_nothing_of_it_remains() {
    let calls = [
        ("alice", DirectoryCall::Note(entry("made", "gone", &format!("{EARLY}.9")))),
        ("alice", DirectoryCall::Note(entry("new", "reader", &format!("{EARLY}.9")))),
        ("alice", DirectoryCall::Reserve { space: space("new") }),
        ("bob", DirectoryCall::Hint { space: space("other") }),
        ("bob", DirectoryCall::Invite { space: space("other") }),
    ];
    for (caller, call) in calls {
        for write in 1.. {
            let max = DirectoryMax { listed: 2, hints_of_sender: 1, ..DirectoryMax::DEPLOYED };
            let mut shelf = Shelf::of(max);
            assert!(shelf.reserve("made") && shelf.reserve("broken-off"));
            shelf.note("made", "owner", &format!("{EARLY}.1"));
            shelf.note("old", "reader", &format!("{EARLY}.1"));
            shelf.note("old", "none", &format!("{EARLY}.2"));
            shelf.hint("bob", "new");
            shelf.now = shelf.now.plus(2 * DAY_MS);
            let before = shelf.text();
            shelf.directory.ledger().fail_writes_after = Some(write);
            let answer = shelf.directory.answer(&user(caller), &call, shelf.now);
            shelf.directory.ledger().fail_writes_after = None;
            if answer.is_ok() {
                assert!(write > 1, "{call:?}");
                break;
            }
            assert!(matches!(answer, Err(LedgerError::Failed(_))));
            assert_eq!(shelf.text(), before, "{call:?} {write}");
            assert_eq!(shelf.ask(caller, &call), Ok(DirectoryAnswer::Done), "{call:?} again");
        }
    }
}

#[test]
fn in_sqlite_a_directory_keeps_what_it_knows_and_an_entry_is_one_row() {
    let database = Sqlite::in_memory();
    let open = || {
        let ledger = SqlLedger::open(database.clone()).expect("a database");
        let directory = Directory::open(ledger, DirectoryMax::DEPLOYED).expect("a directory");
        Shelf { directory, now: START }
    };
    let mut shelf = open();
    shelf.note("team", "reader", &format!("{EARLY}.1"));
    let writes = database.writes();
    shelf.note("team", "writer", &format!("{EARLY}.2"));
    shelf.note("team", "writer", &format!("{EARLY}.2"));
    assert_eq!(database.writes() - writes, 1);
    shelf.hint("bob", "club");
    assert!(shelf.reserve("own"));
    let mut again = open();
    assert_eq!(
        (again.listed(), again.invitations()),
        (vec!["team writer".to_owned()], vec!["club".to_owned()])
    );
    assert_eq!(SqlLedger::is_used(&database), Ok(false), "it is not a space");
}

#[test]
fn a_space_is_not_a_directory() {
    let mut ledger = MemoryLedger::default();
    ledger.put_meta(&Desk::new().core.meta).expect("a write");
    assert!(Directory::open(ledger, DirectoryMax::DEPLOYED).is_err());
}
