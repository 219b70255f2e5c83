//! Private rows, which no reader of a space ever sees: one table for all kinds.

pub(super) const TABLE: &str = "CREATE TABLE private (kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, \
     PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID";

pub(in super::super) const PRIVATE: &str = "SELECT text FROM private WHERE kind = ?1 AND key = ?2";
pub(in super::super) const PRIVATE_ROWS: &str =
    "SELECT key, text FROM private WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
pub(in super::super) const PUT_PRIVATE: &str = "INSERT INTO private (kind, key, text) VALUES (?1, ?2, ?3) \
     ON CONFLICT (kind, key) DO UPDATE SET text = excluded.text";
pub(in super::super) const DELETE_PRIVATE: &str = "DELETE FROM private WHERE kind = ?1 AND key = ?2";
