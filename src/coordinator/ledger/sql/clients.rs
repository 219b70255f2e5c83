//! A row for each client of each user.

use super::{
    Sql, SqlLedger,
    row::{first, integer, run, size, text},
};
use crate::{
    coordinator::{
        ledger::{Client, ClientTable, LedgerResult},
        metering::DailyUsage,
    },
    ids::{ClientId, UserHash},
    time::Millis,
};

pub(super) const TABLE: &str = "CREATE TABLE clients (user TEXT NOT NULL, client TEXT NOT NULL, \
     writer INTEGER NOT NULL, last INTEGER NOT NULL, acked INTEGER NOT NULL, used_at INTEGER NOT NULL, \
     history TEXT NOT NULL, PRIMARY KEY (user, client)) STRICT, WITHOUT ROWID";

/// What the space has used, as far as pushes of the client have written it down.
pub(super) const WITH_USAGE: &str = "ALTER TABLE clients ADD COLUMN usage TEXT NOT NULL DEFAULT ''";

pub(super) const CLIENT: &str = "SELECT writer, last, acked, used_at, history, usage FROM clients \
     WHERE user = ?1 AND client = ?2";
pub(super) const PUT_CLIENT: &str = "INSERT INTO clients (user, client, writer, last, acked, used_at, history, usage) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (user, client) DO UPDATE SET \
     writer = excluded.writer, last = excluded.last, acked = excluded.acked, used_at = excluded.used_at, \
     history = excluded.history, usage = excluded.usage";
pub(super) const USAGES: &str = "SELECT usage FROM clients WHERE usage <> ''";
pub(super) const FORGET_CLIENTS: &str = "DELETE FROM clients WHERE user = ?1 AND client IN \
     (SELECT client FROM clients WHERE user = ?1 ORDER BY used_at DESC, writer DESC LIMIT -1 OFFSET ?2)";
// Without a condition, so that SQLite drops the pages and does not visit the rows.
const ERASE_CLIENTS: &str = "DELETE FROM clients";

impl<S: Sql> ClientTable for SqlLedger<S> {
    fn client(&self, user: &UserHash, client: &ClientId) -> LedgerResult<Option<Client>> {
        first(self.sql(), CLIENT, &[text(user.as_str()), text(client.as_str())], |row| {
            Ok(Client {
                writer: row.number()?,
                last: row.number()?,
                acked: row.number()?,
                used_at: Millis(row.number()?),
                history: row.text()?,
                usage: DailyUsage::parse(&row.text()?),
            })
        })
    }

    fn put_client(&mut self, user: &UserHash, client: &ClientId, row: &Client) -> LedgerResult<()> {
        let params = [
            text(user.as_str()),
            text(client.as_str()),
            integer(row.writer),
            integer(row.last),
            integer(row.acked),
            integer(row.used_at.0),
            text(&row.history),
            text(&row.usage.to_text()),
        ];
        run(self.sql(), PUT_CLIENT, &params)
    }

    fn forget_clients(&mut self, user: &UserHash, keep: usize) -> LedgerResult<()> {
        run(self.sql(), FORGET_CLIENTS, &[text(user.as_str()), size(keep)])
    }

    fn usage_of_clients(&self) -> LedgerResult<DailyUsage> {
        let (texts, _) = self.sql().text(USAGES, &[], usize::MAX)?;
        let mut all = DailyUsage::default();
        texts.lines().for_each(|text| all.add(&DailyUsage::parse(text)));
        Ok(all)
    }

    fn erase_clients(&mut self) -> LedgerResult<()> {
        run(self.sql(), ERASE_CLIENTS, &[])
    }
}
