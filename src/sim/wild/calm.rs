//! When a wild world's faults end: what has to come together then, and what must hold before that without anybody asking.

use super::{LOCATIONS, Wild};
use crate::{
    coordinator::{Coordinator, ledger::MetaTable},
    edge::directory::KNOWN_MS,
    error::ApiError,
    fronts::headwater::answer::Format,
    sim::{USERS, client::TABS, host::UNBOUNDED, kv::Faults, network::Weather, space::Space},
    snapshot::head::{Head, HeadMetadata},
    time::Millis,
    version::Version,
};

/// What is known about a space when its head in KV is judged.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Whether the platform has lost the alarm, or may have refused to set one.
    pub(super) alarm_is_lost: bool,
    /// Whether storage went back, and with it what was noted of puts that may still land.
    pub(super) went_back: bool,
    /// How often the instance had died when it was looked at last, and when that was seen to have changed.
    deaths: (u64, Millis),
}

impl Wild {
    /// I8: with faults off and readers there, every outbox empties, KV's head reaches the durable state and no alarm is
    /// left.
    pub(super) fn calm_down(&mut self) {
        let world = &mut self.world;
        world.note(|| "the faults end".to_owned());
        world.kv.faults = Faults::default();
        world.kv.script.clear();
        for space in 0..world.spaces.len() {
            let host = &mut world.spaces[space].host;
            host.section_fault = None;
            host.alarm_faults.clear();
            host.is_unreachable = false;
            while world.step(space) {}
            while !world.spaces[space].receiving.is_empty() {
                world.late_body_comes(space);
            }
            world.settle_pushes(space);
            world.spaces[space].host.set_rate(UNBOUNDED);
        }
        world.directories.calm_down();
        world.work_off();
        world.network.weather = Weather::default();
        while let Some(at) = world.network.next_arrival() {
            let wait = at.since(world.now);
            world.pass(wait);
            world.deliver();
            for space in 0..world.spaces.len() {
                while !world.spaces[space].receiving.is_empty() {
                    world.late_body_comes(space);
                }
                world.settle_pushes(space);
            }
        }
        self.find_lost_alarms();
        (0..self.world.spaces.len()).for_each(|space| self.world.let_everybody_write(space));
        self.world.settle(50 * self.world.spaces.len());
        (0..self.world.spaces.len()).for_each(|space| self.check_idle(space));
        for round in 0..40 {
            if self.calm_round(round) && round > 2 {
                break;
            }
        }
        self.check_calm();
    }

    /// Whoever comes next has a lost alarm set again; one that is merely late is waited for, for a while.
    fn find_lost_alarms(&mut self) {
        if !self.watches.iter().any(|watch| watch.alarm_is_lost) {
            return;
        }
        self.world.pass(10 * 60_000);
        for (space, watch) in self.world.spaces.iter_mut().zip(&mut self.watches) {
            if std::mem::take(&mut watch.alarm_is_lost) {
                space.host.arm(self.world.now).expect("the alarm can be set");
            }
        }
    }

    /// I4, I8: KV's head does not stay below what was noted as published, unless a put is known to be unsettled or may have
    /// died with its instance.
    pub(super) fn check_published(&mut self, space: usize) {
        let (kv, now, watch) = (&self.world.kv, self.world.now, &mut self.watches[space]);
        let Space { host, scope, oracle, .. } = &self.world.spaces[space];
        if oracle.is_gone() {
            return;
        }
        if host.deaths != watch.deaths.0 {
            watch.deaths = (host.deaths, now);
        }
        let Some(publisher) = host.running().map(Coordinator::publisher) else { return };
        let is_quiet =
            !host.in_turn() && now.since(watch.deaths.1) > publisher.landing_ms() && !watch.went_back;
        let row = publisher.row();
        let Some(published) = row.published.as_ref().filter(|_| is_quiet && row.put_again_at.is_none())
        else {
            return;
        };
        let key = scope.head_key();
        let head = kv.central(&key, now).and_then(|entry| HeadMetadata::parse(&entry.metadata));
        // Lost or expired, it is put again when somebody asks for it.
        if let Some(head) = head.filter(|_| !kv.lost.contains(&key)).map(|head| head.position()) {
            let there = &published.position;
            assert!(head >= *there, "I4: KV's head fell to {head}, below {there}, and nothing is unsettled");
        }
    }

    /// I8: only bodies of pushes that are under way take room from others.
    pub(super) fn check_held(&self, space: usize) {
        let (held, under_way) = self.world.spaces[space].host.held();
        assert!(held == under_way, "I8: {held} bytes of bodies are held, where {under_way} are under way");
    }

    /// I8: where no alarm is left, KV's head has reached the durable state. Alarms alone have to get it there: a pull would
    /// only notice that they did not.
    pub(super) fn check_idle(&mut self, space: usize) {
        let watch = &mut self.watches[space];
        let Space { host, scope, oracle, .. } = &self.world.spaces[space];
        if !host.alarm_faults.is_empty() {
            watch.alarm_is_lost = true;
        } else if host.alarm.is_some() {
            watch.alarm_is_lost = false;
        }
        let is_idle = host.alarm.is_none() && !host.in_turn() && host.running().is_some();
        if !is_idle || watch.alarm_is_lost || watch.went_back || oracle.is_gone() {
            return;
        }
        let (kv, key) = (&self.world.kv, scope.head_key());
        // What nobody reads for a month may expire, and what KV loses is put again when somebody asks for it.
        if !kv.lost.contains(&key) && !kv.has_expired(&key, self.world.now) {
            self.check_head(space);
        }
    }

    /// Everybody pushes and pulls once, and a new device comes. Returns whether nothing is left to do.
    fn calm_round(&mut self, round: usize) -> bool {
        let world = &mut self.world;
        world.note(|| format!("calm round {round}"));
        let puts = world.kv.puts.len();
        world.settle(50 * world.spaces.len());
        world.pass(20 * 60_000);
        let location = round % LOCATIONS;
        let clients = world.clients.len();
        for client in 0..clients {
            for tab in 0..TABS {
                world.clients[client].forget_pull(tab);
            }
            world.clients[client].grant = None;
            world.renew_grant(client);
            let _ = world.pull(client, location, Format::Json);
            for _ in 0..8 {
                if world.clients[client].outbox.is_empty() {
                    break;
                }
                let _ = world.push(client, false);
            }
            let _ = world.pull(client, location, Format::Json);
        }
        self.sync_addons(location);
        let world = &mut self.world;
        // A new isolate, at a location that was asked nothing for a while, looks into KV.
        world.locations[location].forget_memory();
        world.locations[location].forget_cache();
        // What KV's own caches hold on to hides for a day that it is gone.
        world.kv.forget_caches();
        for space in 0..world.spaces.len() {
            let of_client = world.clients.iter().find(|client| client.space == space);
            let user = match &world.spaces[space].id {
                None => world.owner_of_private(space),
                Some(_) => of_client.map_or(0, |client| client.user),
            };
            world.add_client(user, space);
            world.renew_grant(clients);
            let _ = world.pull(clients, location, Format::Ndjson);
            world.clients.truncate(clients);
        }
        world.settle(50 * world.spaces.len());
        // Each round may find one more object that is missing.
        world.kv.puts.len() == puts
            && world.spaces.iter().all(|space| space.host.alarm.is_none())
            && world
                .clients
                .iter()
                .all(|client| client.outbox.is_empty() || world.spaces[client.space].oracle.is_gone())
    }

    /// I8: KV's head is at the durable state.
    fn check_head(&mut self, space: usize) {
        let (kv, now) = (&self.world.kv, self.world.now);
        let Space { host, scope, .. } = &mut self.world.spaces[space];
        let durable = host.core(now).position();
        let head = kv.central(&scope.head_key(), now);
        let published = head.as_ref().and_then(|head| Some(HeadMetadata::parse(&head.metadata)?.position()));
        let meta = host.core(now).ledger().meta().expect("storage in memory can be read");
        let is_new =
            durable.version == Version::ZERO && meta.is_none_or(|meta| meta.incarnation == durable.epoch);
        assert!(
            is_new || published.as_ref() == Some(&durable),
            "I8: KV has {published:?}, durable is {durable}"
        );
    }

    /// I5, I8: with readers there, what was lost has been put again.
    fn check_objects(&mut self, space: usize) {
        let world = &self.world;
        let scope = &world.spaces[space].scope;
        let Some(entry) = world.kv.central(&scope.head_key(), world.now) else { return };
        let (head, _) = Head::decode(&entry.value, scope).expect("I5: a head that can be read");
        for part in head.parts() {
            let object = world.kv.central(&scope.object_key(&part.sha256.0), world.now);
            assert!(object.is_some(), "I5: the head names an object that is not there in the calm");
        }
    }

    fn check_calm(&mut self) {
        for space in 0..self.world.spaces.len() {
            assert_eq!(self.world.spaces[space].host.alarm, None, "I8: an alarm is left");
            if !self.world.spaces[space].oracle.is_gone() {
                self.check_head(space);
                self.check_objects(space);
            }
            let Space { host, oracle, .. } = &mut self.world.spaces[space];
            oracle.check_all_parked(host, self.world.now);
            host.check_used();
            let held = host.messages_held();
            assert!(held == 0, "I8: {held} bytes of messages are held in the calm");
        }
        let world = &mut self.world;
        for client in 0..world.clients.len() {
            if world.spaces[world.clients[client].space].oracle.is_gone() {
                let refused = world.push(client, false);
                let is_told = refused == Err(ApiError::Gone);
                assert!(is_told, "I9: a deleted space answers {refused:?}");
                continue;
            }
            world.clients[client].grant = None;
            world.renew_grant(client);
            for is_strict in [false, true] {
                world.clients[client].is_strict = is_strict;
                world.pull(client, 0, Format::Json).expect("I8: a pull succeeds");
            }
            let left = &world.clients[client].outbox;
            assert!(left.is_empty(), "I8: an outbox does not empty: {left:?}");
        }
        self.check_addons();
        self.check_lists();
    }

    /// I8: once each user has asked for a grant of every space that is listed, hinted at, or of which the user is a member, all
    /// lists are right: whatever was lost, went back or began anew before. What isolates believe to stand in a directory that
    /// has lost it they believe for a day.
    fn check_lists(&mut self) {
        let world = &mut self.world;
        world.work_off();
        world.pass(KNOWN_MS + 1);
        for user in 0..USERS.len() {
            let shown = world.list_spaces(user).expect("I8: a list is answered");
            let shown: Vec<_> = shown.spaces.into_iter().map(|(id, _)| id).chain(shown.invitations).collect();
            for space in 0..world.spaces.len() {
                let Space { id: Some(id), oracle, .. } = &world.spaces[space] else { continue };
                let is_shown = shown.iter().any(|one| one == id.as_str());
                if is_shown || oracle.role(user).is_some() {
                    drop(world.ask_grant(user, space));
                    world.work_off();
                }
            }
        }
        for (user, name) in USERS.iter().enumerate() {
            let shown = world.list_spaces(user).expect("I8: a list is answered");
            let of_user = |space: &Space| {
                let role = space.oracle.role(user).filter(|_| !space.oracle.is_gone())?;
                Some((space.id.as_ref()?.as_str().to_owned(), role.as_str().to_owned()))
            };
            let mut right: Vec<_> = world.spaces.iter().filter_map(of_user).collect();
            right.sort();
            assert_eq!(shown.spaces, right, "I8: in the calm the list of {name}");
        }
    }
}
