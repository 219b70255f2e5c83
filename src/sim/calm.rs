//! When a wild world's faults end: what has to come together then, and what must hold before that without anybody asking.

use super::{
    World,
    client::{Client, TABS},
    kv::Faults,
    network::Weather,
    wild::{CLIENTS, LOCATIONS, Wild},
};
use crate::{
    coordinator::{Coordinator, ledger::Ledger},
    edge::pull::Format,
    snapshot::{
        head::{Head, HeadMetadata},
        keys::Scope,
    },
    version::Version,
};

impl Wild {
    /// I8: with faults off and readers there, every outbox empties, KV's head reaches the durable state and no alarm is
    /// left.
    pub(super) fn calm_down(&mut self) {
        let world = &mut self.world;
        world.note(|| "the faults end".to_owned());
        world.kv.faults = Faults::default();
        world.kv.script.clear();
        world.host.section_fault = None;
        world.host.alarm_faults.clear();
        world.host.is_unreachable = false;
        while world.step() {}
        world.network.weather = Weather::default();
        while let Some(at) = world.network.next_arrival() {
            let wait = at.since(world.now);
            world.pass(wait);
            world.deliver();
        }
        if self.alarm_is_lost {
            // Whoever comes next has the alarm set again; one that is merely late is waited for, for a while.
            self.world.pass(10 * 60_000);
            self.world.host.arm(self.world.now).expect("the alarm can be set");
            self.alarm_is_lost = false;
        }
        self.world.settle(50);
        self.check_idle();
        for round in 0..40 {
            if self.calm_round(round) && round > 2 {
                break;
            }
        }
        self.check_calm();
    }

    /// I4, I8: KV's head does not stay below what was noted as published, unless a put is known to be unsettled or may have
    /// died with its instance.
    pub(super) fn check_published(&mut self) {
        let World { host, kv, now, .. } = &self.world;
        if host.deaths != self.deaths.0 {
            self.deaths = (host.deaths, *now);
        }
        let Some(publisher) = host.running().map(Coordinator::publisher) else { return };
        let is_quiet = !host.in_turn() && now.since(self.deaths.1) > publisher.settle_ms() && !self.went_back;
        let row = publisher.row();
        let Some(published) = row.published.as_ref().filter(|_| is_quiet && row.resettle_at.is_none()) else {
            return;
        };
        let key = Scope::private(self.world.space()).head_key();
        let head = kv.central(&key, *now).and_then(|entry| HeadMetadata::parse(&entry.metadata));
        // Lost or expired, it is put again when somebody asks for it.
        if let Some(head) = head.filter(|_| !kv.lost.contains(&key)).map(|head| head.position()) {
            let there = &published.position;
            assert!(head >= *there, "I4: KV's head fell to {head}, below {there}, and nothing is unsettled");
        }
    }

    /// I8: where no alarm is left, KV's head has reached the durable state. Alarms alone have to get it there: a pull would
    /// only notice that they did not.
    pub(super) fn check_idle(&mut self) {
        let host = &self.world.host;
        if !host.alarm_faults.is_empty() {
            self.alarm_is_lost = true;
        } else if host.alarm.is_some() {
            self.alarm_is_lost = false;
        }
        let is_idle = host.alarm.is_none() && !host.in_turn() && host.running().is_some();
        if !is_idle || self.alarm_is_lost || self.went_back {
            return;
        }
        let (kv, key) = (&self.world.kv, Scope::private(self.world.space()).head_key());
        // What nobody reads for a month may expire, and what KV loses is put again when somebody asks for it.
        if !kv.lost.contains(&key) && !kv.has_expired(&key, self.world.now) {
            self.check_head();
        }
    }

    /// Everybody pushes and pulls once, and a new device comes. Returns whether nothing is left to do.
    fn calm_round(&mut self, round: usize) -> bool {
        let world = &mut self.world;
        world.note(|| format!("calm round {round}"));
        world.settle(50);
        world.pass(20 * 60_000);
        let location = round % LOCATIONS;
        for client in 0..CLIENTS {
            for tab in 0..TABS {
                world.clients[client].forget_pull(tab);
            }
            let _ = world.pull(client, location, Format::Json);
            for _ in 0..8 {
                if world.clients[client].outbox.is_empty() {
                    break;
                }
                let _ = world.push(client, false);
            }
            let _ = world.pull(client, location, Format::Json);
        }
        // A new isolate, at a location that was asked nothing for a while, looks into KV.
        world.locations[location].forget_memory();
        world.locations[location].forget_cache();
        // What KV's own caches hold on to hides for a day that it is gone.
        world.kv.forget_caches();
        world.clients.push(Client::new(&format!("late{round:04}")));
        let _ = world.pull(CLIENTS, location, Format::Ndjson);
        world.clients.truncate(CLIENTS);
        world.settle(50);
        world.host.alarm.is_none() && world.clients.iter().all(|client| client.outbox.is_empty())
    }

    /// I8: KV's head is at the durable state.
    fn check_head(&mut self) {
        let world = &mut self.world;
        let durable = world.host.core(world.now).position();
        let scope = Scope::private(world.space());
        let head = world.kv.central(&scope.head_key(), world.now);
        let published = head.as_ref().and_then(|head| Some(HeadMetadata::parse(&head.metadata)?.position()));
        let meta = world.host.core(world.now).ledger().meta().expect("storage in memory can be read");
        let is_new =
            durable.version == Version::ZERO && meta.is_none_or(|meta| meta.incarnation == durable.epoch);
        assert!(
            is_new || published.as_ref() == Some(&durable),
            "I8: KV has {published:?}, durable is {durable}"
        );
    }

    /// I5, I8: with readers there, what was lost has been put again.
    fn check_objects(&mut self) {
        let world = &mut self.world;
        let scope = Scope::private(world.space());
        let Some(entry) = world.kv.central(&scope.head_key(), world.now) else { return };
        let (head, _) = Head::decode(&entry.value, &scope).expect("I5: a head that can be read");
        for part in head.parts() {
            let object = world.kv.central(&scope.object_key(&part.sha256.0), world.now);
            assert!(object.is_some(), "I5: the head names an object that is not there in the calm");
        }
    }

    fn check_calm(&mut self) {
        assert_eq!(self.world.host.alarm, None, "I8: an alarm is left");
        self.check_head();
        self.check_objects();
        let world = &mut self.world;
        for client in 0..CLIENTS {
            world.pull(client, 0, Format::Json).expect("I8: a pull succeeds");
            let left = &world.clients[client].outbox;
            assert!(left.is_empty(), "I8: an outbox does not empty: {left:?}");
            let strict = world.ask(0, "{\"consistency\":\"strong\"}", Format::Json);
            strict.body.expect("I8: a strong pull succeeds");
        }
    }
}
