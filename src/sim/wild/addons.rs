//! What happens at random around clients of Dexie Cloud: what their apps do, and when they sync and listen.

use serde_json::json;

use super::{LOCATIONS, Wild};
use crate::sim::{
    Rng,
    check::{Brand, Deed, Operations},
    dexie::{
        client::{DexieClient, TABLES},
        op::{Criteria, Op, Row, Rows, Step},
    },
};

/// What an app does, made by its dice.
struct Doing<'a> {
    rng: &'a mut Rng,
    brand: Brand,
    sub: &'static str,
    records: u64,
    filler: u64,
}

impl Wild {
    /// Perhaps something happens to one of them.
    pub(super) fn addon_step(&mut self) {
        let rng = &mut self.world.addons.rng;
        let (client, dice) = (rng.index(self.options.addons.len()), rng.below(200));
        match dice {
            0..=29 => self.addon_changes(client),
            30..=69 => self.addon_syncs(client),
            70..=74 => {
                self.world.addons.clients[client].give_up();
                self.world.addon_is_in_sync(client);
            }
            75..=84 => {
                let location = rng.index(LOCATIONS);
                if self.world.addon_listens(client) && self.world.addons.rng.chance(70) {
                    return;
                }
                self.world.connect_addon(client, location);
            }
            85..=86 => self.world.disconnect_addon(client),
            87 => {
                self.world.disconnect_addon(client);
                self.world.addons.clients[client].start_over();
            }
            _ => {}
        }
    }

    fn addon_syncs(&mut self, client: usize) {
        let rng = &mut self.world.addons.rng;
        let (location, gives_up) = (rng.index(LOCATIONS), rng.chance(25));
        let chunks = rng.chance(20).then(|| rng.index(3));
        let addon = &mut self.world.addons.clients[client];
        if addon.sent.is_some() && gives_up {
            addon.give_up();
        }
        if addon.sent.is_none() {
            self.world.send_sync(client, location, chunks);
        }
    }

    /// An app does something in a transaction, which often is synced at once.
    fn addon_changes(&mut self, client: usize) {
        let addons = &mut self.world.addons;
        let addon = &mut addons.clients[client];
        let oracle = &mut self.world.spaces[addon.space].oracle;
        let mut doing = Doing {
            rng: &mut addons.rng,
            brand: oracle.brand(),
            sub: addon.sub(),
            records: self.options.records,
            filler: self.options.filler,
        };
        let operations = doing.transaction(&addon.rows);
        let mark = oracle.plan_transaction(operations.clone());
        addon.queue(operations.clone(), mark);
        self.world.note(|| format!("addon {client} does {mark}: {operations:?}"));
        if self.world.addons.rng.chance(60) {
            self.addon_syncs(client);
        }
    }

    /// I8: each of them gets rid of what it has to send, and comes to where the space stands.
    pub(super) fn sync_addons(&mut self, location: usize) {
        for client in 0..self.options.addons.len() {
            let space = self.world.addons.clients[client].space;
            if !self.world.spaces[space].oracle.is_gone() {
                let done = self.world.sync_to_the_end(client, location);
                done.unwrap_or_else(|left| panic!("I8: a sync does not come to its end: {left}"));
            }
        }
    }

    /// I7, I8: in the calm they have what the space has.
    pub(super) fn check_addons(&mut self) {
        self.sync_addons(0);
        for client in 0..self.options.addons.len() {
            self.world.check_addon(client);
        }
    }

    /// I7: a device is put away when an answer has just reset it, and meanwhile its user empties the space, so that nothing is left that
    /// could tell the device what is gone. By chance that hardly comes to pass: whatever its app does in between is a push, and the answer
    /// to one gives the realm back. It is the last that happens in a world, whose calm has looked at everything else.
    pub(super) fn put_addons_away(&mut self) {
        for client in 0..self.options.addons.len() {
            let DexieClient { user, space, .. } = self.world.addons.clients[client];
            if self.world.spaces[space].id.is_some() {
                continue;
            }
            self.world.reset_epoch(space);
            self.world.sync_once(client, 0);
            // A body of unknown length is passed on like a push, and resets nobody yet.
            if !self.world.addons.clients[client].has_own() {
                let _ = self.world.administer(user, space, &Deed::Delete);
                self.world.sync_once(client, 0);
            }
        }
    }
}

impl Doing<'_> {
    fn transaction(
        &mut self,
        before: &std::collections::BTreeMap<crate::sim::client::Name, Row>,
    ) -> Operations {
        let mut rows = Rows::of(before);
        let mut operations = Operations::new();
        for _ in 0..=self.rng.below(3) {
            let table = TABLES[self.rng.index(TABLES.len())];
            let op = self.op(table, &rows);
            rows.take(table, &op, false);
            operations.push((table, op));
        }
        operations
    }

    fn op(&mut self, table: &str, rows: &Rows<'_>) -> Op {
        let there = rows.meant(table, &Criteria::Any);
        match self.rng.below(100) {
            0..=24 => {
                let count = self.rng.below(3);
                let new = (0..=count).map(|_| self.row()).collect();
                if self.rng.chance(50) { Op::Put(new) } else { Op::Insert(new) }
            }
            25..=34 => {
                let (key, row) = self.row();
                Op::Upsert(key, row, self.steps())
            }
            35..=59 if !there.is_empty() => {
                let keys = self.some(&there, 4);
                let count = if self.rng.chance(50) { 1 } else { keys.len() };
                let steps = (0..count).map(|_| self.steps()).collect();
                Op::Update(keys, steps)
            }
            60..=83 => {
                let criteria = self.criteria(20);
                let keys = rows.meant(table, &criteria);
                Op::Modify(criteria, self.steps(), keys)
            }
            84..=90 if !there.is_empty() => Op::Delete(self.some(&there, 2)),
            91..=95 => {
                let criteria = self.criteria(3);
                let keys = rows.meant(table, &criteria);
                Op::Clear(criteria, keys)
            }
            96..=97 => {
                let (key, row) = self.row();
                Op::PutTooDeep(key, row)
            }
            _ => Op::Put(vec![self.row()]),
        }
    }

    fn key(&mut self) -> String {
        format!("r{:02}", self.rng.below(self.records))
    }

    /// A row of the user's own realm, now and then with another owner.
    fn row(&mut self) -> (String, Row) {
        let key = self.key();
        let filler = "x".repeat(self.rng.index(usize::try_from(self.filler).unwrap_or(0)));
        let owner = if self.rng.chance(10) { "carol" } else { self.sub };
        let row = json!({
            "count": 0,
            "filler": format!("{}{filler}", self.brand.0),
            "id": key,
            "owner": owner,
            "realmId": self.sub,
            "tag": self.rng.any() % 1_000,
        });
        (key, row.as_object().expect("an object").clone())
    }

    fn some(&mut self, of: &[String], most: u64) -> Vec<String> {
        let mut some: Vec<_> =
            (0..=self.rng.below(most)).map(|_| of[self.rng.index(of.len())].clone()).collect();
        some.sort_unstable();
        some.dedup();
        some
    }

    fn steps(&mut self) -> Vec<Step> {
        match self.rng.below(10) {
            0..=4 => vec![Step::Add("count", 1 + i64::try_from(self.rng.below(9)).unwrap_or(0))],
            5..=6 => vec![Step::Set("tag", self.rng.below(1_000))],
            7 => vec![Step::Set("z", self.rng.below(10))],
            8 => vec![Step::Unset("z")],
            _ => vec![Step::Add("count", -1), Step::Set("tag", self.rng.below(1_000))],
        }
    }

    fn criteria(&mut self, all: u64) -> Criteria {
        match self.rng.below(100) {
            dice if dice < all => Criteria::Any,
            dice if dice % 3 == 0 => {
                let (one, other) = (self.key(), self.key());
                Criteria::Ids(one.clone().min(other.clone()), one.max(other))
            }
            dice if dice % 3 == 1 => {
                let from = self.rng.below(800);
                Criteria::Between("tag", from, from + 300)
            }
            _ => {
                let from = self.rng.below(6);
                Criteria::Between("count", from, from + self.rng.below(3))
            }
        }
    }
}
