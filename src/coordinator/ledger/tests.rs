//! What every ledger keeps, as claims, run on each of them.

pub(crate) mod sqlite;

use proptest::prelude::*;

use self::sqlite::Sqlite;
use super::*;
use crate::{
    ids::{Collection, RecordId},
    sim::ledger::MemoryLedger,
};

/// A ledger whose n-th further write can be made to fail.
trait FaultyLedger: Ledger {
    fn fail_write(&mut self, n: Option<u64>);
}

impl FaultyLedger for MemoryLedger {
    fn fail_write(&mut self, n: Option<u64>) {
        self.fail_writes_after = n;
    }
}

impl FaultyLedger for SqlLedger<Sqlite> {
    fn fail_write(&mut self, n: Option<u64>) {
        self.sql().fail_write(n.unwrap_or(u64::MAX));
    }
}

pub(super) fn open() -> SqlLedger<Sqlite> {
    SqlLedger::open(Sqlite::in_memory()).expect("a new database opens")
}

pub(super) fn version(number: u64) -> Version {
    Version::new(number).unwrap()
}

pub(super) fn key(collection: &str, id: &str) -> Key {
    Key { collection: Collection::parse(collection).unwrap(), id: RecordId::parse(id).unwrap() }
}

pub(super) fn live(key: &Key, at: u64, value: &str) -> Record {
    let clock = Clock { version: version(at), writer: 1, foreign: Version::ZERO };
    Record { clock, deleted_at: None, line: live_line(key, value), fields: None }
}

fn deleted(key: &Key, at: u64, when: u64) -> Record {
    Record { deleted_at: Some(Millis(when)), line: deleted_line(key), ..live(key, at, "{}") }
}

fn put(ledger: &mut impl Ledger, collection: &str, id: &str, at: u64) {
    let key = key(collection, id);
    ledger.put_record(&key, &live(&key, at, "{\"n\":1}")).unwrap();
}

fn delete(ledger: &mut impl Ledger, collection: &str, id: &str, at: u64, when: u64) {
    let key = key(collection, id);
    ledger.put_record(&key, &deleted(&key, at, when)).unwrap();
}

pub(super) fn meta() -> Meta {
    Meta {
        scope: Scope::parse(&"ab".repeat(32)).unwrap(),
        epoch: Epoch::parse("0mwrnsa6yk3v9q2").unwrap(),
        incarnation: Epoch::parse("0mwrnsa6yk3v9q1").unwrap(),
        floor: version(7),
        horizon: Version::MAX,
        writers: 3,
        claims_until: Millis(4),
        space: Some(SpaceId::parse("team").unwrap()),
        gone_at: Some(Millis(77)),
    }
}

fn client_id(number: u64) -> ClientId {
    ClientId::parse(&format!("client-{number}")).unwrap()
}

fn client(writer: u64, used_at: u64) -> Client {
    Client {
        writer,
        last: 5,
        acked: 4,
        used_at: Millis(used_at),
        history: "[\"'é\\\"]".to_owned(),
        usage: DailyUsage::parse("20787:1,0,2"),
    }
}

fn conflict(opened: u64, user: u64) -> Conflict {
    let epoch = Epoch::parse("0mwrnsa6yk3v9q2").unwrap();
    Conflict {
        id: ConflictId { epoch, opened: version(opened) },
        user: user_hash(user),
        client: client_id(1),
        at: Millis(5),
        changes: 2,
        bytes: 7,
        touches: "[\"'é\\\"]".to_owned(),
    }
}

fn parked_change(mutation: u64, text: &str) -> ParkedChange {
    ParkedChange { mutation, text: text.to_owned() }
}

/// With two parked changes.
fn open_conflict(ledger: &mut impl Ledger, opened: u64, user: u64) {
    ledger.put_conflict(&conflict(opened, user)).unwrap();
    for at in 0..2 {
        ledger.park(version(opened), at, &parked_change(at, "{\"é\":\"'\"}")).unwrap();
    }
}

/// `version id` of each line.
fn ids(text: &str) -> Vec<String> {
    assert!(text.is_empty() || text.ends_with('\n'), "every line ends");
    let line = |line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        format!("{} {}", line["version"], line["id"].as_str().expect("an id"))
    };
    text.lines().map(line).collect()
}

/// Everything that can be read, as text.
pub(super) fn dump(ledger: &impl Ledger) -> String {
    let lines = ledger.lines_after(Version::ZERO, usize::MAX);
    let by_key = ledger.lines_by_key(None, Version::MAX, usize::MAX);
    let clients: Vec<_> = (0..4).flat_map(|n| (0..4).map(move |user| (user, n))).collect();
    let clients: Vec<_> =
        clients.iter().map(|(user, n)| ledger.client(&user_hash(*user), &client_id(*n))).collect();
    let deletion = ledger.newest_deletion_before(Millis(1_000_000));
    let conflicts = (ledger.conflicts(Version::ZERO, None, usize::MAX), ledger.open_conflicts());
    let parked: Vec<_> = (0..13).map(|opened| ledger.parked(version(opened))).collect();
    let private: Vec<_> = ["a", "b"].map(|kind| ledger.private_rows(kind, "", usize::MAX)).into();
    let one_rows = (ledger.meta(), ledger.newest(), ledger.collections());
    format!(
        "{lines:#?}\n{by_key:#?}\n{clients:#?}\n{deletion:?}\n{private:?}\n{one_rows:#?}\n{conflicts:#?}\n{parked:#?}"
    )
}

fn user_hash(number: u64) -> UserHash {
    UserHash::new("https://issuer.example", &format!("user {number}"))
}

/// Rows that [`write_everything`] overwrites and removes.
pub(super) fn fill(ledger: &mut impl Ledger) {
    put(ledger, "todos", "a", 1);
    delete(ledger, "todos", "b", 2, 5);
    delete(ledger, "todos", "c", 3, 6);
    ledger.put_client(&user_hash(0), &client_id(0), &client(1, 1)).unwrap();
    ledger.put_client(&user_hash(0), &client_id(1), &client(2, 2)).unwrap();
    open_conflict(ledger, 4, 2);
    ledger.put_private("a", "old", "1").unwrap();
    ledger.put_private("b", "gone", "2").unwrap();
}

const WRITES: u64 = 17;

/// Each of the methods that write, `WRITES` in all.
fn write_everything(ledger: &mut impl Ledger) -> LedgerResult<()> {
    ledger.put_private("a", "old", "3")?;
    ledger.delete_private("b", "gone")?;
    ledger.erase_records()?;
    ledger.erase_clients()?;
    let (old, new, gone) = (key("todos", "a"), key("notes", "n"), key("todos", "b"));
    ledger.put_record(&gone, &deleted(&gone, 2, 5))?;
    ledger.put_record(&old, &deleted(&old, 9, 9))?;
    ledger.put_record(&new, &live(&new, 9, "{}"))?;
    let (one, other) = (key("notes", "1"), key("notes", "2"));
    ledger.put_records(&[(&one, &live(&one, 9, "{}")), (&other, &deleted(&other, 9, 9))])?;
    ledger.put_client(&user_hash(0), &client_id(0), &client(1, 9))?;
    ledger.put_client(&user_hash(0), &client_id(2), &client(3, 9))?;
    ledger.forget_clients(&user_hash(0), 1)?;
    ledger.put_meta(&meta())?;
    ledger.put_conflict(&conflict(9, 1))?;
    ledger.park(version(9), 0, &parked_change(9, "{}"))?;
    ledger.close_conflict(version(4))?;
    assert_eq!(ledger.forget_deletions(Millis(6), Version::MAX, 9)?, Some(version(2)));
    Ok(())
}

mod claims {
    use super::*;

    pub(super) fn a_space_that_was_never_used_is_empty(ledger: &mut impl FaultyLedger) {
        assert_eq!(ledger.meta(), Ok(None));
        assert_eq!(ledger.newest(), Ok(Version::ZERO));
        assert_eq!(ledger.record(&key("todos", "a")), Ok(None));
        assert_eq!(ledger.client(&user_hash(0), &client_id(0)), Ok(None));
        assert_eq!(ledger.collections(), Ok(vec![]));
        assert_eq!(ledger.lines_after(Version::ZERO, 100), Ok(Lines::default()));
        assert_eq!(ledger.lines_newest_first(Version::ZERO, 100), Ok(Lines::default()));
        assert_eq!(ledger.lines_by_key(None, Version::MAX, 100), Ok(Lines::default()));
        assert_eq!(ledger.newest_deletion_before(Millis(5)), Ok(None));
        assert_eq!(ledger.forget_deletions(Millis(5), Version::MAX, 5), Ok(None));
        ledger.forget_clients(&user_hash(0), 0).unwrap();
        assert_eq!(ledger.conflict(version(1)), Ok(None));
        assert_eq!(ledger.conflicts(Version::ZERO, None, 5), Ok(vec![]));
        assert_eq!(ledger.open_conflicts(), Ok(OpenConflicts::new()));
        assert_eq!(ledger.parked(version(1)), Ok(vec![]));
        ledger.close_conflict(version(1)).unwrap();
        ledger.close_conflicts().unwrap();
        assert_eq!(ledger.records_of(&Collection::stored("todos"), None, 5), Ok(vec![]));
        assert_eq!(ledger.count_of(&Collection::stored("todos")), Ok(0));
        assert_eq!(ledger.private("a", "k"), Ok(None));
        assert_eq!(ledger.private_rows("a", "", 5), Ok(vec![]));
        ledger.delete_private("a", "k").unwrap();
    }

    pub(super) fn live_records_of_a_collection_come_by_id_in_slices(ledger: &mut impl FaultyLedger) {
        for (collection, id) in [("a", "x"), ("b", "1"), ("b", "2"), ("b", "3"), ("b.c", "x")] {
            put(ledger, collection, id, 1);
        }
        delete(ledger, "b", "2", 2, 5);
        let of_b = Collection::stored("b");
        let value = |id: &str| (RecordId::stored(id), "{\"n\":1}".to_owned());
        assert_eq!(ledger.records_of(&of_b, None, 9), Ok(vec![value("1"), value("3")]));
        assert_eq!(ledger.records_of(&of_b, None, 1), Ok(vec![value("1")]));
        assert_eq!(ledger.records_of(&of_b, Some(&RecordId::stored("1")), 9), Ok(vec![value("3")]));
        assert_eq!(ledger.count_of(&of_b), Ok(2));
    }

    pub(super) fn private_rows_of_a_kind_come_by_key_in_slices(ledger: &mut impl FaultyLedger) {
        for (kind, key, text) in
            [("a", "z", "0"), ("b", "", "1"), ("b", "2", "2"), ("b", "é'\"", "3"), ("c", "", "4")]
        {
            ledger.put_private(kind, key, text).unwrap();
        }
        ledger.put_private("b", "2", "{\"é\":\"'\"}").unwrap();
        let row = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let rows = [row("2", "{\"é\":\"'\"}"), row("é'\"", "3")];
        assert_eq!(ledger.private_rows("b", "", 9), Ok(rows.to_vec()));
        assert_eq!(ledger.private_rows("b", "", 1), Ok(rows[..1].to_vec()));
        assert_eq!(ledger.private_rows("b", "2", 9), Ok(rows[1..].to_vec()));
        assert_eq!(ledger.private("b", ""), Ok(Some("1".to_owned())));
        ledger.delete_private("b", "2").unwrap();
        assert_eq!(ledger.private("b", "2"), Ok(None));
        assert_eq!(ledger.newest(), Ok(Version::ZERO), "no reader sees them");
    }

    pub(super) fn what_is_erased_is_gone_and_the_rest_stays(ledger: &mut impl FaultyLedger) {
        fill(ledger);
        ledger.put_meta(&meta()).unwrap();
        ledger.erase_records().unwrap();
        assert_eq!(ledger.newest(), Ok(Version::ZERO));
        assert_eq!(ledger.collections(), Ok(vec![]));
        assert_eq!(ledger.newest_deletion_before(Millis(99)), Ok(None));
        assert!(ledger.client(&user_hash(0), &client_id(0)).unwrap().is_some());
        ledger.erase_clients().unwrap();
        assert_eq!(ledger.client(&user_hash(0), &client_id(0)), Ok(None));
        assert_eq!(ledger.meta(), Ok(Some(meta())));
        assert_eq!(ledger.private("a", "old"), Ok(Some("1".to_owned())));
    }

    pub(super) fn which_history_it_is_is_what_was_written_last(ledger: &mut impl FaultyLedger) {
        ledger.put_meta(&Meta { writers: 1, ..meta() }).unwrap();
        ledger.put_meta(&meta()).unwrap();
        assert_eq!(ledger.meta(), Ok(Some(meta())));
    }

    pub(super) fn a_record_is_read_as_it_was_written(ledger: &mut impl FaultyLedger) {
        let clock = Clock { version: Version::MAX, writer: (1 << 53) - 1, foreign: version(3) };
        let named = BTreeMap::from([("title \"é\" \\ '".to_owned(), clock)]);
        let fields = Some(FieldClocks { rest: Clock { foreign: Version::ZERO, ..clock }, named });
        for id in ["t1", "a'b\"c\\d", "ключ 🗝", "%_;--", "{\"version\":9,"] {
            let key = key("todos", id);
            let record = Record { clock, fields: fields.clone(), ..live(&key, 1, "{\"é\":\"\\n'\\\"\"}") };
            ledger.put_record(&key, &record).unwrap();
            assert_eq!(ledger.record(&key), Ok(Some(record.clone())));
            assert_eq!(record.value(&key), Some("{\"é\":\"\\n'\\\"\"}"));
            let lines = ledger.lines_by_key(None, Version::MAX, usize::MAX).unwrap();
            assert_eq!(lines.text, record.published_line());
            assert_eq!(ids(&lines.text), [format!("{} {id}", Version::MAX)]);

            let record = deleted(&key, 2, 17);
            ledger.put_record(&key, &record).unwrap();
            assert_eq!(ledger.record(&key), Ok(Some(record.clone())));
            assert_eq!(ledger.lines_after(Version::ZERO, usize::MAX).unwrap().text, record.published_line());
            assert_eq!(ledger.forget_deletions(Millis(18), Version::MAX, 1), Ok(Some(version(2))));
            assert_eq!(ledger.record(&key), Ok(None));
        }
    }

    pub(super) fn records_that_are_written_and_read_together_are_as_if_each_were_alone(
        ledger: &mut impl FaultyLedger,
    ) {
        let clock = Clock { version: Version::MAX, writer: (1 << 53) - 1, foreign: version(3) };
        let named = BTreeMap::from([("title \"é\" \\ '".to_owned(), clock)]);
        let ids = ["t1", "a'b\"c\\d", "ключ 🗝", "%_;--", "{\"version\":9,", "[", "null", "\u{2028}", "7"];
        let texts = [
            "{}".to_owned(),
            "{\"é\":\"\\n'\\\"\\u0000\"}".to_owned(),
            format!("\"{}\"", "\\\"é🗝".repeat(400)),
        ];
        let made = ids.iter().enumerate().flat_map(|(at, id)| {
            let (clock, named) = (clock, named.clone());
            texts.iter().enumerate().map(move |(length, text)| {
                let key = key(["todos", "a.b"][at % 2], &format!("{id}{length}"));
                let fields = (at % 3 == 0).then(|| FieldClocks { rest: clock, named: named.clone() });
                let record = Record { fields, ..live(&key, 1 + at as u64, text) };
                let record = if at % 4 == 1 { deleted(&key, 2, at as u64) } else { record };
                (key, record)
            })
        });
        let made: Vec<_> =
            made.chain([(key("todos", "last"), live(&key("todos", "last"), 1, "{}"))]).collect();
        let rows: Vec<_> = made.iter().map(|(key, record)| (key, record)).collect();
        let earlier: Vec<_> = made.iter().map(|(key, _)| (key, live(key, 1, "{\"earlier\":1}"))).collect();
        ledger
            .put_records(&earlier.iter().step_by(2).map(|(key, record)| (*key, record)).collect::<Vec<_>>())
            .unwrap();
        ledger.put_records(&rows).unwrap();
        for (key, record) in &made {
            assert_eq!(ledger.record(key).as_ref(), Ok(&Some(record.clone())));
        }
        let absent = [key("todos", "absent"), key("absent", "t1")];
        let keys: Vec<_> = absent.iter().chain(made.iter().map(|(key, _)| key)).chain([&absent[0]]).collect();
        let expected: Vec<_> = keys.iter().map(|key| ledger.record(key).unwrap()).collect();
        assert_eq!(ledger.records(&keys, usize::MAX).as_ref(), Ok(&expected));
        for bytes_max in [0, 1, 300, 5_000] {
            let some = ledger.records(&keys, bytes_max).unwrap();
            assert!(!some.is_empty() && expected.starts_with(&some), "{bytes_max}: {}", some.len());
            assert!(bytes_max > 0 || some.len() < 5, "{}", some.len());
        }
        assert_eq!(ledger.records(&[&absent[0]], 0), Ok(vec![None]));
        assert_eq!(ledger.records(&[], 0), Ok(vec![]));
    }

    pub(super) fn more_records_than_one_statement_takes_are_all_written_and_read(
        ledger: &mut impl FaultyLedger,
    ) {
        let made: Vec<_> = (0..600)
            .map(|id| key("todos", &format!("r{id}")))
            .map(|key| (live(&key, 1, "{}"), key))
            .collect();
        ledger.put_records(&made.iter().map(|(record, key)| (key, record)).collect::<Vec<_>>()).unwrap();
        let keys: Vec<_> = made.iter().map(|(_, key)| key).collect();
        let expected: Vec<_> = made.iter().map(|(record, _)| Some(record.clone())).collect();
        assert_eq!(ledger.records(&keys, usize::MAX), Ok(expected));
        assert_eq!(ledger.count_of(&Collection::stored("todos")), Ok(600));
    }

    pub(super) fn a_record_that_is_written_again_leaves_its_old_places(ledger: &mut impl FaultyLedger) {
        put(ledger, "todos", "a", 1);
        put(ledger, "todos", "b", 2);
        delete(ledger, "todos", "a", 3, 10);
        assert_eq!(ids(&ledger.lines_after(Version::ZERO, usize::MAX).unwrap().text), ["2 b", "3 a"]);
        assert_eq!(ledger.newest_deletion_before(Millis(11)), Ok(Some(version(3))));
        put(ledger, "todos", "a", 4);
        assert_eq!(ids(&ledger.lines_after(Version::ZERO, usize::MAX).unwrap().text), ["2 b", "4 a"]);
        assert_eq!(ledger.newest(), Ok(version(4)));
        assert_eq!(ledger.newest_deletion_before(Millis(11)), Ok(None));
        assert_eq!(
            ledger.forget_deletions(Millis(11), Version::MAX, 9),
            Ok(None),
            "a live record is not forgotten"
        );
    }

    pub(super) fn a_client_is_read_as_it_was_written_and_belongs_to_its_user(ledger: &mut impl FaultyLedger) {
        ledger.put_client(&user_hash(1), &client_id(1), &client(1, 10)).unwrap();
        ledger.put_client(&user_hash(2), &client_id(1), &client(2, 10)).unwrap();
        ledger.put_client(&user_hash(1), &client_id(1), &client(1, 11)).unwrap();
        assert_eq!(ledger.client(&user_hash(1), &client_id(1)), Ok(Some(client(1, 11))));
        assert_eq!(ledger.client(&user_hash(2), &client_id(1)), Ok(Some(client(2, 10))));
        assert_eq!(ledger.client(&user_hash(3), &client_id(1)), Ok(None));
    }

    pub(super) fn only_the_clients_that_pushed_last_are_kept_and_other_users_are_left_alone(
        ledger: &mut impl FaultyLedger,
    ) {
        for (number, used_at) in [(0, 40), (1, 10), (2, 30), (3, 30)] {
            ledger.put_client(&user_hash(1), &client_id(number), &client(number, used_at)).unwrap();
        }
        ledger.put_client(&user_hash(2), &client_id(1), &client(9, 1)).unwrap();
        for (keep, expected) in [(9, vec![0, 1, 2, 3]), (3, vec![0, 2, 3]), (2, vec![0, 3]), (0, vec![])] {
            ledger.forget_clients(&user_hash(1), keep).unwrap();
            let mut left = vec![0, 1, 2, 3];
            left.retain(|n| ledger.client(&user_hash(1), &client_id(*n)).unwrap().is_some());
            assert_eq!(left, expected, "of two used at once the newer one stays");
        }
        assert_eq!(ledger.client(&user_hash(2), &client_id(1)), Ok(Some(client(9, 1))));
    }

    pub(super) fn collections_are_named_once_in_order_with_those_that_only_remember_deletions(
        ledger: &mut impl FaultyLedger,
    ) {
        for (number, (collection, id)) in
            [("b", "1"), ("B", "1"), ("a.b", "1"), ("b", "2"), ("a", "1")].iter().enumerate()
        {
            put(ledger, collection, id, number as u64 + 1);
        }
        delete(ledger, "zz", "1", 9, 1);
        assert_eq!(ledger.collections().unwrap(), ["B", "a", "a.b", "b", "zz"]);
        ledger.forget_deletions(Millis(2), Version::MAX, 1).unwrap();
        assert_eq!(ledger.collections().unwrap(), ["B", "a", "a.b", "b"]);
    }

    pub(super) fn lines_after_a_version_come_oldest_first_and_by_key_within_a_version(
        ledger: &mut impl FaultyLedger,
    ) {
        for (collection, id, at) in
            [("b", "1", 2), ("a", "2", 2), ("a", "é", 2), ("a", "1", 3), ("c", "1", 1)]
        {
            put(ledger, collection, id, at);
        }
        let lines = ledger.lines_after(version(1), usize::MAX).unwrap();
        assert_eq!(ids(&lines.text), ["2 2", "2 é", "2 1", "3 1"]);
        assert_eq!((lines.last, lines.more), (Some(version(3)), false));
        assert_eq!(ledger.lines_after(version(3), usize::MAX), Ok(Lines::default()));
        assert_eq!(ledger.lines_after(Version::MAX, usize::MAX), Ok(Lines::default()));
    }

    pub(super) fn a_page_is_cut_only_between_versions_and_pages_lose_nothing_at_any_limit(
        ledger: &mut impl FaultyLedger,
    ) {
        for (id, at) in [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2), ("f", 3), ("g", 14), ("h", 14)] {
            put(ledger, "todos", id, at);
        }
        let whole = ledger.lines_after(Version::ZERO, usize::MAX).unwrap();
        for bytes_max in 0..=whole.text.len() + 1 {
            let (mut text, mut after, mut more) = (String::new(), Version::ZERO, true);
            while more {
                let page = ledger.lines_after(after, bytes_max).unwrap();
                let versions: Vec<_> = page.text.lines().filter_map(|line| line.split(',').next()).collect();
                let one_version = versions.iter().all(|version| *version == versions[0]);
                assert!(page.text.len() <= bytes_max || one_version, "{bytes_max}: {page:?}");
                assert!(page.last > Some(after), "a page gets on");
                (after, more) = (page.last.unwrap(), page.more);
                text.push_str(&page.text);
                let next = ledger.lines_after(after, usize::MAX).unwrap();
                assert_eq!(text.clone() + &next.text, whole.text, "cut inside a version at {bytes_max}");
                assert_eq!(more, !next.text.is_empty());
            }
        }
    }

    pub(super) fn a_version_larger_than_the_limit_comes_whole(ledger: &mut impl FaultyLedger) {
        put(ledger, "todos", "a", 1);
        for number in 0..50 {
            put(ledger, "todos", &format!("b{number:02}"), 2);
        }
        assert_eq!(ids(&ledger.lines_after(Version::ZERO, 100).unwrap().text), ["1 a"]);
        let page = ledger.lines_after(version(1), 100).unwrap();
        assert_eq!((ids(&page.text).len(), page.last, page.more), (50, Some(version(2)), false));
        put(ledger, "todos", "c", 3);
        let page = ledger.lines_after(version(1), 100).unwrap();
        assert_eq!((ids(&page.text).len(), page.last, page.more), (50, Some(version(2)), true));
    }

    pub(super) fn lines_newest_first_fit_as_a_whole_or_are_left_out(ledger: &mut impl FaultyLedger) {
        for (id, at) in [("z", 1), ("c", 2), ("d", 2), ("b", 3), ("a", 3)] {
            put(ledger, "todos", id, at);
        }
        let lines = ledger.lines_newest_first(version(1), usize::MAX).unwrap();
        assert_eq!(ids(&lines.text), ["3 a", "3 b", "2 c", "2 d"]);
        assert_eq!((lines.last, lines.more), (Some(version(2)), false));
        assert_eq!(ledger.lines_newest_first(version(1), lines.text.len()).as_ref(), Ok(&lines));
        for bytes_max in 0..lines.text.len() {
            let refused = Lines { text: String::new(), last: None, more: true };
            assert_eq!(ledger.lines_newest_first(version(1), bytes_max), Ok(refused), "{bytes_max}");
        }
    }

    pub(super) fn lines_come_in_slices_that_pass_the_limit_by_one_line_at_most(
        ledger: &mut impl FaultyLedger,
    ) {
        let keys = [("a", "1"), ("a", "2"), ("a.b", "1"), ("b", "'"), ("b", "1"), ("b", "é")];
        for (number, (collection, id)) in keys.iter().enumerate() {
            put(ledger, collection, id, 9 - number as u64 / 2 * 2);
        }
        type Slice<'a, L> = &'a dyn Fn(&L, (Version, Option<&Key>), usize) -> LedgerResult<Lines>;
        fn come_in_slices<L: Ledger>(ledger: &L, slice: Slice<'_, L>, expected: &[&str]) {
            let whole = slice(ledger, (version(5), None), usize::MAX).unwrap();
            assert_eq!(
                (ids(&whole.text), whole.more),
                (expected.iter().map(ToString::to_string).collect(), false)
            );
            for bytes_max in 0..whole.text.len() + 1 {
                let (mut text, mut after, mut more) = (String::new(), (version(5), None), true);
                while more {
                    let lines = slice(ledger, (after.0, after.1.as_ref()), bytes_max).unwrap();
                    let last_line = lines.text.lines().next_back().expect("a slice has a line");
                    assert!(lines.text.len() - last_line.len() - 1 <= bytes_max);
                    let line: serde_json::Value = serde_json::from_str(last_line).unwrap();
                    let last = key(line["collection"].as_str().unwrap(), line["id"].as_str().unwrap());
                    assert_eq!(lines.last.map(Version::get), line["version"].as_u64());
                    after = (lines.last.unwrap(), Some(last));
                    more = lines.more;
                    text.push_str(&lines.text);
                    assert!(whole.text.starts_with(&text), "{bytes_max}: a line again or left out");
                }
                assert_eq!(text, whole.text, "{bytes_max}");
            }
        }
        // Two records each of versions 9, 7 and 5; the ranges leave out the first, or the first and the last.
        come_in_slices(
            ledger,
            &|ledger, (_, after), bytes_max| ledger.lines_by_key(after, version(8), bytes_max),
            &["7 1", "7 '", "5 1", "5 é"],
        );
        come_in_slices(
            ledger,
            &|ledger, after, bytes_max| ledger.lines_by_version(after, version(8), bytes_max),
            &["7 1", "7 '"],
        );
    }

    pub(super) fn the_newest_deletion_before_a_time_is_found_whatever_the_clock_did(
        ledger: &mut impl FaultyLedger,
    ) {
        for (id, at, when) in [("a", 1, 10), ("b", 2, 30), ("c", 3, 20), ("d", 4, 40)] {
            delete(ledger, "todos", id, at, when);
        }
        put(ledger, "todos", "e", 5);
        for (before, expected) in
            [(10, None), (11, Some(1)), (20, Some(1)), (21, Some(3)), (31, Some(3)), (99, Some(4))]
        {
            assert_eq!(ledger.newest_deletion_before(Millis(before)), Ok(expected.map(version)), "{before}");
        }
    }

    pub(super) fn deletions_are_forgotten_in_slices_oldest_first_up_to_a_time_and_a_version(
        ledger: &mut impl FaultyLedger,
    ) {
        for (id, at, when) in
            [("a", 1, 10), ("b", 2, 90), ("d", 3, 20), ("c", 3, 20), ("e", 4, 30), ("f", 5, 40)]
        {
            delete(ledger, "todos", id, at, when);
        }
        put(ledger, "todos", "live", 2);
        for (to, count, newest, expected) in [
            (4, 0, None, vec!["1 a", "2 b", "2 live", "3 c", "3 d", "4 e", "5 f"]),
            (4, 2, Some(3), vec!["2 b", "2 live", "3 d", "4 e", "5 f"]),
            (3, 9, Some(3), vec!["2 b", "2 live", "4 e", "5 f"]),
            (9, 9, Some(5), vec!["2 b", "2 live"]),
            (9, 9, None, vec!["2 b", "2 live"]),
        ] {
            let forgotten = ledger.forget_deletions(Millis(41), version(to), count);
            assert_eq!(forgotten, Ok(newest.map(version)));
            assert_eq!(ids(&ledger.lines_after(Version::ZERO, usize::MAX).unwrap().text), expected);
        }
        assert_eq!(ledger.forget_deletions(Millis(91), Version::MAX, usize::MAX), Ok(Some(version(2))));
    }

    pub(super) fn a_conflict_is_read_as_it_was_written_with_what_is_parked_in_order(
        ledger: &mut impl FaultyLedger,
    ) {
        let opened = Version::MAX;
        let large = Conflict { id: ConflictId { opened, ..conflict(1, 1).id }, ..conflict(1, 1) };
        ledger.put_conflict(&large).unwrap();
        let grown = Conflict { changes: 3, bytes: (1 << 53) - 1, touches: "{}".to_owned(), ..large };
        ledger.put_conflict(&grown).unwrap();
        assert_eq!(ledger.conflict(opened), Ok(Some(grown)));
        assert_eq!(ledger.open_conflicts(), Ok([(user_hash(1), 1)].into()));
        let changes = ["{\"é\":\"'\\\"\"}", "[]", ""].map(|text| parked_change(17, text));
        for (at, change) in [(2, &changes[2]), (0, &changes[0]), (1, &changes[1])] {
            ledger.park(opened, at, change).unwrap();
        }
        assert_eq!(ledger.parked(opened), Ok(changes.to_vec()));
    }

    pub(super) fn conflicts_come_oldest_first_and_by_user_and_a_closed_one_leaves_nothing(
        ledger: &mut impl FaultyLedger,
    ) {
        for (opened, user) in [(5, 1), (3, 2), (11, 1), (4, 1)] {
            open_conflict(ledger, opened, user);
        }
        let opened = |ledger: &_, after: u64, user: Option<u64>, count: usize| {
            let conflicts =
                ConflictTable::conflicts(ledger, version(after), user.map(user_hash).as_ref(), count)
                    .unwrap();
            conflicts.iter().map(|conflict| conflict.id.opened.get()).collect::<Vec<_>>()
        };
        assert_eq!(opened(ledger, 0, None, 9), [3, 4, 5, 11]);
        assert_eq!(opened(ledger, 3, None, 2), [4, 5]);
        assert_eq!(opened(ledger, 0, Some(1), 2), [4, 5]);
        assert_eq!(opened(ledger, 5, Some(1), 2), [11]);
        assert_eq!(opened(ledger, 0, Some(3), 2), [0; 0]);
        assert_eq!(ledger.open_conflicts(), Ok([(user_hash(1), 3), (user_hash(2), 1)].into()));
        ledger.close_conflict(version(4)).unwrap();
        assert_eq!(ledger.open_conflicts(), Ok([(user_hash(1), 2), (user_hash(2), 1)].into()));
        assert_eq!(opened(ledger, 0, None, 9), [3, 5, 11]);
        assert_eq!(
            (ledger.parked(version(4)).unwrap().len(), ledger.parked(version(5)).unwrap().len()),
            (0, 2)
        );
        ledger.close_conflicts().unwrap();
        assert_eq!(opened(ledger, 0, None, 9), [0; 0]);
        assert_eq!(
            (ledger.open_conflicts(), ledger.parked(version(5))),
            (Ok(OpenConflicts::new()), Ok(vec![]))
        );
    }

    pub(super) fn a_section_whose_nth_write_fails_leaves_nothing(ledger: &mut impl FaultyLedger) {
        fill(ledger);
        let before = dump(ledger);
        for n in 1..=WRITES {
            ledger.fail_write(Some(n));
            assert!(ledger.atomically(&mut |ledger| write_everything(ledger)).is_err(), "write {n} fails");
            assert_eq!(dump(ledger), before, "write {n}");
        }
        ledger.fail_write(Some(WRITES + 1));
        assert_eq!(ledger.atomically(&mut |ledger| write_everything(ledger)), Ok(()), "no further write");
        assert_ne!(dump(ledger), before);
    }

    pub(super) fn a_section_that_gives_up_leaves_nothing_and_returns_its_error(
        ledger: &mut impl FaultyLedger,
    ) {
        fill(ledger);
        let before = dump(ledger);
        let result = ledger.atomically(&mut |ledger| write_everything(ledger).and(Err(LedgerError::Full)));
        assert_eq!(result, Err(LedgerError::Full));
        assert_eq!(dump(ledger), before);
    }

    pub(super) fn a_section_sees_its_own_writes_and_they_stay(ledger: &mut impl FaultyLedger) {
        fill(ledger);
        let mut inside = String::new();
        ledger
            .atomically(&mut |ledger| {
                write_everything(ledger)?;
                inside = dump(ledger);
                Ok(())
            })
            .unwrap();
        assert_eq!(dump(ledger), inside);
        assert_eq!(ledger.newest(), Ok(version(9)));
        let result = ledger.atomically(&mut |_| Err(LedgerError::Full));
        assert_eq!(result, Err(LedgerError::Full));
        assert_eq!(dump(ledger), inside, "a later failure does not reach back");
    }

    pub(super) fn a_section_inside_another_can_fail_alone(ledger: &mut impl FaultyLedger) {
        fill(ledger);
        ledger
            .atomically(&mut |ledger| {
                put(ledger, "todos", "outer", 8);
                let before = dump(ledger);
                ledger
                    .atomically(&mut |ledger| write_everything(ledger).and(Err(LedgerError::Full)))
                    .unwrap_err();
                assert_eq!(dump(ledger), before);
                ledger.atomically(&mut |ledger| write_everything(ledger))
            })
            .unwrap();
        assert_eq!(ledger.newest(), Ok(version(9)));
        let before = dump(ledger);
        let outer = ledger.atomically(&mut |ledger| {
            ledger.atomically(&mut |ledger| ledger.put_private("a", "old", "inner")).unwrap();
            Err(LedgerError::Full)
        });
        assert_eq!(outer, Err(LedgerError::Full));
        assert_eq!(dump(ledger), before, "what an inner section did goes with the outer one");
    }
}

macro_rules! run_claims {
    ($($name:ident,)*) => {
        mod memory_ledger {
            use super::*;
            $(#[test] fn $name() { claims::$name(&mut MemoryLedger::default()); })*
        }
        mod sql_ledger {
            use super::*;
            $(#[test] fn $name() { claims::$name(&mut open()); })*
        }
    };
}

run_claims! {
    a_space_that_was_never_used_is_empty,
    which_history_it_is_is_what_was_written_last,
    a_record_is_read_as_it_was_written,
    records_that_are_written_and_read_together_are_as_if_each_were_alone,
    more_records_than_one_statement_takes_are_all_written_and_read,
    a_record_that_is_written_again_leaves_its_old_places,
    a_client_is_read_as_it_was_written_and_belongs_to_its_user,
    only_the_clients_that_pushed_last_are_kept_and_other_users_are_left_alone,
    collections_are_named_once_in_order_with_those_that_only_remember_deletions,
    lines_after_a_version_come_oldest_first_and_by_key_within_a_version,
    a_page_is_cut_only_between_versions_and_pages_lose_nothing_at_any_limit,
    a_version_larger_than_the_limit_comes_whole,
    lines_newest_first_fit_as_a_whole_or_are_left_out,
    lines_come_in_slices_that_pass_the_limit_by_one_line_at_most,
    the_newest_deletion_before_a_time_is_found_whatever_the_clock_did,
    deletions_are_forgotten_in_slices_oldest_first_up_to_a_time_and_a_version,
    a_conflict_is_read_as_it_was_written_with_what_is_parked_in_order,
    conflicts_come_oldest_first_and_by_user_and_a_closed_one_leaves_nothing,
    live_records_of_a_collection_come_by_id_in_slices,
    private_rows_of_a_kind_come_by_key_in_slices,
    what_is_erased_is_gone_and_the_rest_stays,
    a_section_whose_nth_write_fails_leaves_nothing,
    a_section_that_gives_up_leaves_nothing_and_returns_its_error,
    a_section_sees_its_own_writes_and_they_stay,
    a_section_inside_another_can_fail_alone,
}

/// One call. Names and numbers are few, so that calls meet.
#[derive(Debug, Clone)]
enum Call {
    PutMeta(u64),
    PutRecord { key: Key, at: u64, deleted_at: Option<u64>, fields: bool },
    PutRecords { keys: std::collections::BTreeSet<Key>, at: u64 },
    PutClient { user: u64, client: u64, used_at: u64 },
    ForgetClients { user: u64, keep: usize },
    ForgetDeletions { before: u64, to: u64, count: usize },
    LinesAfter { after: u64, bytes_max: usize },
    LinesNewestFirst { after: u64, bytes_max: usize },
    LinesOfRun { after: Option<Key>, from: u64, to: u64, bytes_max: usize },
    NewestDeletionBefore(u64),
    OpenConflict { opened: u64, user: u64 },
    CloseConflict(u64),
    CloseConflicts,
    Conflicts { after: u64, user: Option<u64>, count: usize },
    PutPrivate { kind: bool, key: u64, text: u64 },
    DeletePrivate { kind: bool, key: u64 },
    PrivateRows { kind: bool, after: u64, count: usize },
    VersionOf(Key),
    RecordsOf { key: Key, count: usize },
    EraseRecords,
    EraseClients,
    Atomically { calls: Vec<Self>, fail_write: Option<u64>, fail: bool },
}

fn keys() -> impl Strategy<Value = Key> {
    let ids = ["1", "2", "a'b", "q\"", "b\\", "é", "🗝"];
    (prop::sample::select(vec!["a", "a.b", "todos"]), prop::sample::select(ids.to_vec()))
        .prop_map(|(c, id)| key(c, id))
}

fn calls() -> impl Strategy<Value = Call> {
    let bytes = || prop_oneof![0..400usize, Just(usize::MAX)];
    let put = (keys(), 1..12u64, prop::option::of(0..6u64), any::<bool>())
        .prop_map(|(key, at, deleted_at, fields)| Call::PutRecord { key, at, deleted_at, fields });
    let put_client = (0..3u64, 0..4u64, 0..4u64).prop_map(|(user, client, used_at)| Call::PutClient {
        user,
        client,
        used_at,
    });
    let forget = (0..7u64, 0..13u64, 0..4usize).prop_map(|(before, to, count)| Call::ForgetDeletions {
        before,
        to,
        count,
    });
    let of_run = (prop::option::of(keys()), 0..12u64, 0..13u64, bytes())
        .prop_map(|(after, from, to, bytes_max)| Call::LinesOfRun { after, from, to, bytes_max });
    let one = prop_oneof![
        8 => put,
        4 => (prop::collection::btree_set(keys(), 1..6), 1..12u64).prop_map(|(keys, at)| Call::PutRecords { keys, at }),
        2 => put_client,
        2 => forget,
        1 => (0..3u64).prop_map(Call::PutMeta),
        1 => (0..3u64, 0..4usize).prop_map(|(user, keep)| Call::ForgetClients { user, keep }),
        2 => (0..12u64, bytes()).prop_map(|(after, bytes_max)| Call::LinesAfter { after, bytes_max }),
        2 => (0..12u64, bytes()).prop_map(|(after, bytes_max)| Call::LinesNewestFirst { after, bytes_max }),
        2 => of_run,
        1 => (0..7u64).prop_map(Call::NewestDeletionBefore),
        3 => (1..12u64, 0..3u64).prop_map(|(opened, user)| Call::OpenConflict { opened, user }),
        2 => (1..12u64).prop_map(Call::CloseConflict),
        1 => Just(Call::CloseConflicts),
        1 => (0..12u64, prop::option::of(0..3u64), 0..4usize)
            .prop_map(|(after, user, count)| Call::Conflicts { after, user, count }),
        3 => (any::<bool>(), 0..4u64, 0..5u64).prop_map(|(kind, key, text)| Call::PutPrivate { kind, key, text }),
        1 => (any::<bool>(), 0..4u64).prop_map(|(kind, key)| Call::DeletePrivate { kind, key }),
        1 => (any::<bool>(), 0..4u64, 0..4usize)
            .prop_map(|(kind, after, count)| Call::PrivateRows { kind, after, count }),
        1 => keys().prop_map(Call::VersionOf),
        2 => (keys(), 0..4usize).prop_map(|(key, count)| Call::RecordsOf { key, count }),
        1 => Just(Call::EraseRecords),
        1 => Just(Call::EraseClients),
    ];
    one.prop_recursive(2, 12, 6, |call| {
        (prop::collection::vec(call, 0..6), prop::option::of(1..8u64), any::<bool>())
            .prop_map(|(calls, fail_write, fail)| Call::Atomically { calls, fail_write, fail })
    })
}

fn kind_of(is_first: bool) -> &'static str {
    if is_first { "a" } else { "b" }
}

/// Makes a call and returns what it returned, as text.
fn make<L: FaultyLedger>(ledger: &mut L, call: &Call) -> LedgerResult<String> {
    fn text(value: impl std::fmt::Debug) -> String {
        format!("{value:?}")
    }
    match call {
        Call::PutMeta(writers) => ledger.put_meta(&Meta { writers: *writers, ..meta() }).map(text),
        Call::PutRecord { key, at, deleted_at, fields } => {
            let rest = Clock { version: version(*at), writer: 2, foreign: version(1) };
            let fields =
                fields.then(|| FieldClocks { rest, named: BTreeMap::from([("é\"".to_owned(), rest)]) });
            let record = deleted_at.map_or_else(|| live(key, *at, "{}"), |when| deleted(key, *at, when));
            ledger.put_record(key, &Record { fields, ..record })?;
            ledger.record(key).map(text)
        }
        Call::PutRecords { keys, at } => {
            let records: Vec<_> = keys.iter().map(|key| (key, live(key, *at, "{}"))).collect();
            let read = ledger.records(&keys.iter().collect::<Vec<_>>(), usize::MAX)?;
            let records: Vec<_> = records.iter().map(|(key, record)| (*key, record)).collect();
            ledger.put_records(&records)?;
            Ok(text(read))
        }
        Call::PutClient { user, client: number, used_at } => {
            ledger.put_client(&user_hash(*user), &client_id(*number), &client(*number, *used_at)).map(text)
        }
        Call::ForgetClients { user, keep } => ledger.forget_clients(&user_hash(*user), *keep).map(text),
        Call::ForgetDeletions { before, to, count } => {
            ledger.forget_deletions(Millis(*before), version(*to), *count).map(text)
        }
        Call::LinesAfter { after, bytes_max } => ledger.lines_after(version(*after), *bytes_max).map(text),
        Call::LinesNewestFirst { after, bytes_max } => {
            ledger.lines_newest_first(version(*after), *bytes_max).map(text)
        }
        Call::LinesOfRun { after, from, to, bytes_max } => Ok(text((
            ledger.lines_by_key(after.as_ref(), version(*to), *bytes_max)?,
            ledger.lines_by_version((version(*from), after.as_ref()), version(*to), *bytes_max)?,
        ))),
        Call::NewestDeletionBefore(before) => ledger.newest_deletion_before(Millis(*before)).map(text),
        Call::OpenConflict { opened, user } => {
            ledger.put_conflict(&conflict(*opened, *user))?;
            let at = ledger.parked(version(*opened))?.len() as u64;
            ledger.park(version(*opened), at, &parked_change(*user, "{}")).map(text)
        }
        Call::CloseConflict(opened) => ledger.close_conflict(version(*opened)).map(text),
        Call::CloseConflicts => ledger.close_conflicts().map(text),
        Call::Conflicts { after, user, count } => {
            ledger.conflicts(version(*after), user.map(user_hash).as_ref(), *count).map(text)
        }
        Call::PutPrivate { kind, key, text: value } => {
            ledger.put_private(kind_of(*kind), &key.to_string(), &value.to_string()).map(text)
        }
        Call::DeletePrivate { kind, key } => {
            ledger.delete_private(kind_of(*kind), &key.to_string()).map(text)
        }
        Call::PrivateRows { kind, after, count } => Ok(text((
            ledger.private_rows(kind_of(*kind), &after.to_string(), *count)?,
            ledger.private(kind_of(*kind), &after.to_string())?,
        ))),
        Call::VersionOf(key) => ledger.version_of(key).map(text),
        Call::RecordsOf { key, count } => Ok(text((
            ledger.records_of(&key.collection, Some(&key.id), *count)?,
            ledger.count_of(&key.collection)?,
        ))),
        Call::EraseRecords => ledger.erase_records().map(text),
        Call::EraseClients => ledger.erase_clients().map(text),
        Call::Atomically { calls, fail_write, fail } => {
            ledger.fail_write(*fail_write);
            let mut results = Vec::new();
            let result = ledger.atomically(&mut |ledger| {
                for call in calls {
                    // A section may go on after a section inside it has failed.
                    let result = make(ledger, call);
                    let inner = matches!(call, Call::Atomically { .. });
                    results.push(result.clone());
                    if !inner {
                        result?;
                    }
                }
                if *fail { Err(LedgerError::Full) } else { Ok(()) }
            });
            ledger.fail_write(None);
            Ok(text((result, results)))
        }
    }
}

proptest! {
    #[test]
    fn both_ledgers_answer_the_same_calls_alike(calls in prop::collection::vec(calls(), 1..60)) {
        let (mut memory, mut sql) = (MemoryLedger::default(), open());
        for call in &calls {
            prop_assert_eq!(make(&mut memory, call), make(&mut sql, call), "{:?}", call);
            prop_assert_eq!(dump(&memory), dump(&sql), "after {:?}", call);
        }
    }
}
