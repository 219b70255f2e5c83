//! What only SQL can break.

use super::{
    schema::{MIGRATIONS, OLDEST},
    *,
};
use crate::coordinator::ledger::{
    tests::{dump, fill, key, live, meta, open, sqlite::Sqlite, version},
    *,
};

#[test]
fn reopening_keeps_everything_and_writes_nothing() {
    let database = Sqlite::in_memory();
    let mut ledger = SqlLedger::open(database.clone()).unwrap();
    fill(&mut ledger);
    ledger.put_meta(&meta()).unwrap();
    let before = dump(&ledger);
    drop(ledger);
    let writes = database.writes();
    let ledger = SqlLedger::open(database.clone()).unwrap();
    assert_eq!(dump(&ledger), before);
    assert_eq!(
        database.writes(),
        writes,
        "each start of each object would be billed, and wait for its write"
    );
}

#[test]
fn a_database_that_could_not_be_created_whole_is_created_at_the_next_start() {
    let database = Sqlite::in_memory();
    let statements = MIGRATIONS.iter().map(|migration| migration.len() as u64).sum::<u64>();
    for n in 1..=statements + 1 {
        database.fail_write(n);
        assert!(SqlLedger::open(database.clone()).is_err());
        assert_eq!(schema(&database), "", "statement {n}");
    }
    fill(&mut SqlLedger::open(database).unwrap());
}

#[test]
fn code_goes_on_with_a_database_to_which_newer_code_has_only_added() {
    let next: &[&str] = &[
        "CREATE TABLE later (x INTEGER) STRICT",
        "ALTER TABLE clients ADD COLUMN y INTEGER NOT NULL DEFAULT 7",
    ];
    let newer = [MIGRATIONS, &[next]].concat();
    let database = Sqlite::in_memory();
    drop(SqlLedger::open_as(database.clone(), &newer, OLDEST).unwrap());
    let (before, writes) = (schema(&database), database.writes());
    let mut ledger = SqlLedger::open(database.clone()).unwrap();
    assert_eq!(
        (schema(&database), database.writes()),
        (before, writes),
        "older code leaves the tables as they are"
    );
    fill(&mut ledger);
    ledger.put_meta(&meta()).unwrap();
    let dumped = dump(&ledger);
    assert_eq!(dump(&SqlLedger::open_as(database, &newer, OLDEST).unwrap()), dumped);
}

#[test]
fn a_database_that_newer_code_has_changed_is_refused() {
    let database = Sqlite::in_memory();
    let newer = [MIGRATIONS, &[&["ALTER TABLE private RENAME COLUMN text TO value"] as &[&str]]].concat();
    drop(SqlLedger::open_as(database.clone(), &newer, newer.len()).unwrap());
    assert!(matches!(SqlLedger::open(database), Err(LedgerError::Failed(_))));
}

#[test]
fn steps_of_the_schema_only_add() {
    assert!((1..=MIGRATIONS.len()).contains(&OLDEST));
    for statement in MIGRATIONS[OLDEST..].iter().copied().flatten() {
        let adds = statement.starts_with("CREATE ")
            || (statement.contains(" ADD COLUMN ") && statement.contains(" DEFAULT "));
        assert!(adds, "older code may get the object back and would fail: {statement}");
    }
}

#[test]
fn a_full_database_says_so_and_the_section_leaves_nothing() {
    let mut ledger = open();
    fill(&mut ledger);
    let before = dump(&ledger);
    ledger.sql().database.execute_batch("PRAGMA max_page_count = 1").unwrap();
    let key = key("todos", "large");
    let large = live(&key, 9, &format!("{{\"text\":\"{}\"}}", "x".repeat(100_000)));
    let result = ledger.atomically(&mut |ledger| {
        ledger.put_private("a", "old", "2")?;
        ledger.put_record(&key, &large)
    });
    assert_eq!(result, Err(LedgerError::Full));
    assert_eq!(dump(&ledger), before);
}

#[test]
fn a_row_that_this_code_did_not_write_is_an_error_and_no_panic() {
    let mut ledger = open();
    fill(&mut ledger);
    ledger.put_meta(&meta()).unwrap();
    let spoil = "UPDATE records SET version = -1, fields = '{'; UPDATE meta SET epoch = ''; \
                 UPDATE conflicts SET user = ''";
    ledger.sql().database.execute_batch(spoil).unwrap();
    assert!(ledger.meta().is_err());
    assert!(ledger.newest().is_err());
    assert!(ledger.record(&key("todos", "a")).is_err());
    assert!(ledger.conflict(version(4)).is_err());
    assert!(ledger.lines_by_key(None, Version::MAX, 10).is_err());
}

#[test]
fn the_schema_is_the_one_that_objects_in_the_field_have() {
    let database = Sqlite::in_memory();
    drop(SqlLedger::open(database.clone()).unwrap());
    assert_eq!(
        schema(&database),
        "\
CREATE INDEX deletions_by_version ON records (version, collection, id, deleted_at) WHERE deleted_at IS NOT NULL
CREATE INDEX records_by_version ON records (version)
CREATE TABLE clients (user TEXT NOT NULL, client TEXT NOT NULL, writer INTEGER NOT NULL, last INTEGER NOT NULL, \
acked INTEGER NOT NULL, used_at INTEGER NOT NULL, history TEXT NOT NULL, usage TEXT NOT NULL DEFAULT '', \
PRIMARY KEY (user, client)) STRICT, WITHOUT ROWID
CREATE TABLE conflict_changes (opened INTEGER NOT NULL, seq INTEGER NOT NULL, mutation INTEGER NOT NULL, \
text TEXT NOT NULL, PRIMARY KEY (opened, seq)) STRICT, WITHOUT ROWID
CREATE TABLE conflicts (opened INTEGER PRIMARY KEY, epoch TEXT NOT NULL, user TEXT NOT NULL, client TEXT NOT NULL, \
at INTEGER NOT NULL, changes INTEGER NOT NULL, bytes INTEGER NOT NULL, touches TEXT NOT NULL) STRICT
CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), scope TEXT NOT NULL, epoch TEXT NOT NULL, \
incarnation TEXT NOT NULL, floor INTEGER NOT NULL, horizon INTEGER NOT NULL, writers INTEGER NOT NULL, \
claims_until INTEGER NOT NULL, space TEXT, gone_at INTEGER) STRICT
CREATE TABLE private (kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (kind, key)) STRICT, \
WITHOUT ROWID
CREATE TABLE records (collection TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, writer INTEGER NOT NULL, \
foreign_version INTEGER NOT NULL, deleted_at INTEGER, line TEXT NOT NULL, fields TEXT, \
PRIMARY KEY (collection, id)) STRICT, WITHOUT ROWID
CREATE TABLE schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, \
oldest INTEGER NOT NULL) STRICT
",
        "objects in the field keep the tables they were created with: an edited statement never reaches them, and \
         statements that rely on it fail in every existing space. Leave MIGRATIONS[0] as it was, add a migration, \
         and pin its result here"
    );
}

#[test]
fn a_database_of_an_older_version_gets_what_it_lacks_and_keeps_what_it_has() {
    let next: &[&str] = &["ALTER TABLE private ADD COLUMN later INTEGER NOT NULL DEFAULT 7"];
    let migrations = [MIGRATIONS, &[next]].concat();
    let database = Sqlite::in_memory();
    fill(&mut SqlLedger::open(database.clone()).unwrap());
    for write in 1..=2 {
        database.fail_write(write);
        assert!(SqlLedger::open_as(database.clone(), &migrations, OLDEST).is_err());
        assert_eq!(schema(&database), schema(&open_database()), "a migration that breaks off leaves nothing");
    }
    let ledger = SqlLedger::open_as(database.clone(), &migrations, OLDEST).unwrap();
    assert_eq!(ledger.private("a", "old"), Ok(Some("1".to_owned())));
    let added = database.database.query_row("SELECT later FROM private", [], |row| row.get::<_, i64>(0));
    assert_eq!(added, Ok(7));
    let new = Sqlite::in_memory();
    drop(SqlLedger::open_as(new.clone(), &migrations, OLDEST).unwrap());
    assert_eq!(schema(&database), schema(&new), "an old database and a new one are the same");
    let writes = database.writes();
    drop(SqlLedger::open_as(database.clone(), &migrations, OLDEST).unwrap());
    assert_eq!(database.writes(), writes);
}

#[test]
fn asking_whether_a_database_is_used_leaves_nothing_in_it() {
    let database = Sqlite::in_memory();
    assert_eq!(SqlLedger::is_used(&database), Ok(false));
    assert_eq!(SqlLedger::has_tables(&database), Ok(false));
    assert_eq!((database.writes(), schema(&database)), (0, String::new()));
    let mut ledger = SqlLedger::open(database.clone()).unwrap();
    assert_eq!(SqlLedger::is_used(&database), Ok(false), "tables alone are no space");
    assert_eq!(SqlLedger::has_tables(&database), Ok(true));
    ledger.put_meta(&meta()).unwrap();
    assert_eq!(SqlLedger::is_used(&database), Ok(true));
}

#[test]
fn a_push_of_one_record_writes_three_rows() {
    // The platform counts an entry written to a table or index; the figures were measured on workerd with the
    // cursor's rowsWritten: put 2, put of a deletion 3, client 1. What can be seen here is which trees can be
    // written, and that the one for deletions has nothing of a live record.
    assert_eq!(trees_written(records::PUT_RECORD), ["deletions_by_version", "records", "records_by_version"]);
    assert_eq!(trees_written(records::PUT_RECORDS), trees_written(records::PUT_RECORD));
    assert_eq!(trees_written(clients::PUT_CLIENT), ["clients"]);
    assert_eq!(trees_written(conflicts::PUT_CONFLICT), ["conflicts"]);
    assert_eq!(trees_written(conflicts::PARK), ["conflict_changes"]);
    assert_eq!(trees_written(private::PUT_PRIVATE), ["private"]);
    let mut ledger = open();
    fill(&mut ledger);
    let deletions =
        "SELECT count(*) FROM records INDEXED BY deletions_by_version WHERE deleted_at IS NOT NULL";
    let count = ledger.sql().database.query_row(deletions, [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(2));
}

#[test]
fn statements_find_their_rows_by_an_index_and_sort_one_version_or_user_at_most() {
    let by_version = "USING INDEX records_by_version";
    let deletions = "USING COVERING INDEX deletions_by_version (version<?)";
    for (sql, expected) in [
        (records::LINES_AFTER, format!("SEARCH records {by_version} (version>?)")),
        (records::LINES_AT, format!("SEARCH records {by_version} (version=?)")),
        (
            records::LINES_BY_VERSION,
            format!("SEARCH records {by_version} ((version,collection,id)>(?,?,?) AND version<?)"),
        ),
        (records::LINES_BY_KEY, "SEARCH records USING PRIMARY KEY ((collection,id)>(?,?))".to_owned()),
        (records::NEWEST, "SEARCH records USING COVERING INDEX records_by_version".to_owned()),
        (records::RECORD, "SEARCH records USING PRIMARY KEY (collection=? AND id=?)".to_owned()),
        (records::RECORDS, "SEARCH records USING PRIMARY KEY (collection=? AND id=?)".to_owned()),
        (clients::CLIENT, "SEARCH clients USING PRIMARY KEY (user=? AND client=?)".to_owned()),
        (conflicts::CONFLICT, "SEARCH conflicts USING INTEGER PRIMARY KEY (rowid=?)".to_owned()),
        (conflicts::CONFLICTS, "SEARCH conflicts USING INTEGER PRIMARY KEY (rowid>?)".to_owned()),
        (
            conflicts::OPEN_CONFLICTS,
            "SCAN conflicts|USE TEMP B-TREE FOR GROUP BY".to_owned(),
        ),
        (conflicts::CLOSE_CONFLICT, "SEARCH conflicts USING INTEGER PRIMARY KEY (rowid=?)".to_owned()),
        (conflicts::PARKED, "SEARCH conflict_changes USING PRIMARY KEY (opened=?)".to_owned()),
        (conflicts::UNPARK, "SEARCH conflict_changes USING PRIMARY KEY (opened=?)".to_owned()),
        (
            records::NEWEST_DELETION,
            "SCAN records USING COVERING INDEX deletions_by_version".to_owned(),
        ),
        (records::NEWEST_OF_DELETIONS, format!("SEARCH records {deletions}")),
        (
            records::FORGET_DELETIONS,
            format!("SEARCH records USING PRIMARY KEY (collection=? AND id=?)|SEARCH records {deletions}"),
        ),
        (
            clients::FORGET_CLIENTS,
            "SEARCH clients USING PRIMARY KEY (user=? AND client=?)|SEARCH clients USING PRIMARY KEY (user=?)|\
             USE TEMP B-TREE FOR ORDER BY"
                .to_owned(),
        ),
        (
            records::COLLECTIONS,
            "SEARCH records USING PRIMARY KEY|SEARCH records USING PRIMARY KEY (collection>?)".to_owned(),
        ),
        (private::PRIVATE, "SEARCH private USING PRIMARY KEY (kind=? AND key=?)".to_owned()),
        (private::PRIVATE_ROWS, "SEARCH private USING PRIMARY KEY (kind=? AND key>?)".to_owned()),
        (private::DELETE_PRIVATE, "SEARCH private USING PRIMARY KEY (kind=? AND key=?)".to_owned()),
    ] {
        assert_eq!(plan(sql), expected, "{sql}");
    }
}

fn open_database() -> Sqlite {
    let database = Sqlite::in_memory();
    drop(SqlLedger::open(database.clone()).unwrap());
    database
}

/// How SQLite reaches the tables, and where it sorts.
fn plan(sql: &str) -> String {
    let database = open_database();
    let mut statement = database.database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.raw_query().mapped(|row| row.get::<_, String>("detail"));
    let tells = |step: &String| {
        ["records", "clients", "conflict", "private", "TEMP"].iter().any(|word| step.contains(word))
    };
    steps.map(Result::unwrap).filter(tells).collect::<Vec<_>>().join("|")
}

/// The tables and indexes that a statement opens to write.
fn trees_written(sql: &str) -> Vec<String> {
    let database = open_database();
    let mut statement = database.database.prepare(&format!("EXPLAIN {sql}")).unwrap();
    let steps =
        statement.raw_query().mapped(|row| Ok((row.get::<_, String>("opcode")?, row.get::<_, i64>("p2")?)));
    let roots = steps.map(Result::unwrap).filter(|(opcode, _)| opcode == "OpenWrite").map(|(_, root)| root);
    let name = "SELECT name FROM sqlite_master WHERE rootpage = ?1";
    let name = |root| database.database.query_row(name, [root], |row| row.get::<_, String>(0)).unwrap();
    roots.map(name).collect::<std::collections::BTreeSet<_>>().into_iter().collect()
}

fn schema(database: &Sqlite) -> String {
    let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql";
    database.text(sql, &[], usize::MAX).unwrap().0
}
