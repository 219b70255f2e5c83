//! The one row that says which history a space has.

use super::{
    Sql, SqlLedger, SqlValue,
    row::{first, integer, run, text, version},
};
use crate::{
    coordinator::ledger::{LedgerResult, Meta, MetaTable},
    ids::SpaceId,
    snapshot::keys::Scope,
    time::Millis,
    version::Epoch,
};

pub(super) const TABLE: &str = "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), scope TEXT NOT NULL, \
     epoch TEXT NOT NULL, incarnation TEXT NOT NULL, floor INTEGER NOT NULL, horizon INTEGER NOT NULL, \
     writers INTEGER NOT NULL, claims_until INTEGER NOT NULL, space TEXT, gone_at INTEGER) STRICT";

const META: &str = "SELECT scope, epoch, incarnation, floor, horizon, writers, claims_until, space, gone_at \
     FROM meta";
const PUT_META: &str = "INSERT OR REPLACE INTO meta \
     (one, scope, epoch, incarnation, floor, horizon, writers, claims_until, space, gone_at) \
     VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
// Names no column, because it is asked before the table is migrated.
const HAS_META: &str = "SELECT 1 FROM meta";

pub(super) fn is_there(sql: &impl Sql) -> LedgerResult<bool> {
    Ok(!sql.query(HAS_META, &[])?.is_empty())
}

impl<S: Sql> MetaTable for SqlLedger<S> {
    fn meta(&self) -> LedgerResult<Option<Meta>> {
        first(self.sql(), META, &[], |row| {
            Ok(Meta {
                scope: row.parsed(Scope::parse)?,
                epoch: row.parsed(Epoch::parse)?,
                incarnation: row.parsed(Epoch::parse)?,
                floor: row.version()?,
                horizon: row.version()?,
                writers: row.number()?,
                claims_until: Millis(row.number()?),
                space: row.text_or_null()?.map(|id| SpaceId::stored(&id)),
                gone_at: row.number_or_null()?.map(Millis),
            })
        })
    }

    fn put_meta(&mut self, meta: &Meta) -> LedgerResult<()> {
        let params = [
            text(meta.scope.as_str()),
            text(meta.epoch.as_str()),
            text(meta.incarnation.as_str()),
            version(meta.floor),
            version(meta.horizon),
            integer(meta.writers),
            integer(meta.claims_until.0),
            meta.space.as_ref().map_or(SqlValue::Null, |id| text(id.as_str())),
            meta.gone_at.map_or(SqlValue::Null, |at| integer(at.0)),
        ];
        run(self.sql(), PUT_META, &params)
    }
}
