//! What happens around shared spaces: what owners do, grants, the making of spaces, and ids that are used again.

use super::{
    ISSUER, USERS, World,
    check::Deed,
    host::Ended,
    space::{Space, person},
    visits::Around,
};
use crate::{
    call::{Administration, Call},
    edge::visit::Effect,
    error::ApiError,
    fronts::headwater::answer::Format,
    ids::SpaceHash,
    role::Role,
    time::Millis,
};

impl World {
    /// A user does something about a space.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn administer(&mut self, caller: usize, space: usize, deed: &Deed) -> Result<(), ApiError> {
        let (method, below, body) = request_of(deed);
        let Ended { told, done, .. } = self.ask_space(caller, space, (method, &below), &body);
        let Space { host, oracle, .. } = &mut self.spaces[space];
        oracle.learn_deed(caller, deed, &done.clone().map(drop));
        oracle.learn_epoch(&host.core(self.now).position().epoch);
        oracle.check_position(&host.core(self.now).position());
        self.note(|| format!("user {caller} asks space {space} to {deed:?}: {told:?}, done {done:?}"));
        told.map(drop)
    }

    /// An owner of a space begins a new epoch, if there is one.
    pub fn reset_epoch(&mut self, space: usize) {
        let oracle = &self.spaces[space].oracle;
        let Some(owner) = (0..USERS.len()).find(|user| oracle.role(*user) == Some(Role::Owner)) else {
            return;
        };
        let owner = if self.spaces[space].id.is_none() { self.owner_of_private(space) } else { owner };
        let Ended { told, done, .. } = self.ask_space(owner, space, ("POST", "/reset-epoch"), "");
        let Space { host, oracle, .. } = &mut self.spaces[space];
        oracle.learn_epoch(&host.core(self.now).position().epoch);
        self.note(|| format!("user {owner} resets the epoch of space {space}: {told:?}, done {done:?}"));
    }

    /// The user of a private space.
    pub(super) fn owner_of_private(&self, space: usize) -> usize {
        let is_own = |user: &usize| self.spaces[space].hash == SpaceHash::private(ISSUER, USERS[*user]);
        (0..USERS.len()).find(is_own).expect("it is private")
    }

    /// A request below `/spaces/{id}`, whose answer an edge passes on. How it has ended, also if an edge has refused it.
    fn ask_space(&mut self, user: usize, space: usize, (method, below): (&str, &str), body: &str) -> Ended {
        let path = format!("/spaces/{}{below}", self.spaces[space].parameter);
        self.ask_as(user, space, (method, &path), body)
    }

    /// The same of any path.
    pub(super) fn ask_as(
        &mut self,
        user: usize,
        space: usize,
        (method, path): (&str, &str),
        body: &str,
    ) -> Ended {
        let location = self.some_location();
        let begun = self.begin_visit(location, (user, space), (method, path), Format::Json, "");
        let (mut driven, effect) = begun;
        let mut around = Around { body, ..Around::default() };
        let reply = self.drive(&mut driven, effect, &mut around);
        let Some(ended) = around.ended else {
            let refused = reply.expect_err("only the object answers");
            return Ended { told: Err(refused.clone()), done: Err(refused), at: None, aside: None };
        };
        if let Some(at) = &ended.at {
            let hash = &self.spaces[space].hash;
            self.locations[location].learn_written(&driven.isolate, hash, at, self.now);
        }
        ended
    }

    /// A client of a shared space asks for a grant if it has none.
    pub(super) fn renew_grant(&mut self, client: usize) {
        let reader = self.reader(client);
        if reader.grant.is_none() {
            self.clients[client].grant = self.ask_grant(reader.user, reader.space);
        }
    }

    /// A grant for a user, if the space gives one.
    pub fn ask_grant(&mut self, user: usize, space: usize) -> Option<String> {
        self.spaces[space].id.as_ref()?;
        let granted = self.ask_space(user, space, ("POST", "/grant"), "").told.ok()??;
        let granted: serde_json::Value = serde_json::from_str(&granted).expect("a grant is JSON");
        let ends = Millis(granted["expires"].as_u64().expect("a grant ends"));
        self.spaces[space].oracle.learn_grant(user, ends, self.now);
        Some(granted["grant"].as_str().expect("a grant is a text").to_owned())
    }

    /// An operator wipes the object of a shared space, and another user makes one of the same id. What users had not sent is
    /// theirs, and of the old space, so they throw it away.
    pub fn begin_again(&mut self, space: usize, owner: usize, clock: Millis) {
        self.spaces[space].host.wipe();
        self.make_space(space, owner, clock);
        let Space { host, hash, .. } = &mut self.spaces[space];
        let epoch = host.core(self.now).position().epoch;
        self.locations.iter_mut().for_each(|location| location.forget_writes_above(hash, &epoch));
        for client in self.clients.iter_mut().filter(|client| client.space == space) {
            client.throw_away();
        }
        self.addons.throw_away(space);
        self.note(|| format!("space {space} begins again, of user {owner}"));
    }

    /// A user makes a shared space, where the clock of the object shows `clock`, and asks again where that fails: edges die on the
    /// way, and directories. In the end somebody makes it past all directories.
    pub(super) fn make_space(&mut self, space: usize, owner: usize, clock: Millis) {
        let brand = self.next_brand();
        for _ in 0..3 {
            self.try_to_make(space, owner, clock);
            if self.spaces[space].host.is_used() {
                break;
            }
        }
        let Space { host, .. } = &mut self.spaces[space];
        if !host.is_used() {
            host.create(&person(owner), clock);
        }
        if clock > self.now {
            // Another instance goes on, by the true clock.
            host.kill();
            host.alarm = None;
            host.arm(self.now).expect("the alarm can be set");
        }
        self.spaces[space].has_begun(owner, brand, self.now);
    }

    fn try_to_make(&mut self, space: usize, owner: usize, clock: Millis) {
        let (path, location) = (format!("/spaces/{}", self.spaces[space].parameter), self.some_location());
        let begun = self.begin_visit(location, (owner, space), ("PUT", &path), Format::Json, "");
        let (mut driven, mut effect) = begun;
        let mut around = Around { clock: Some(clock), ..Around::default() };
        loop {
            let breaks_off = self.directories.rng.chance(8);
            match effect {
                Effect::Answer(answer) => {
                    let told = answer.map(|reply| reply.status);
                    self.note(|| format!("{} makes space {space}: {told:?}", USERS[owner]));
                    return;
                }
                Effect::Call(_) if breaks_off => return,
                Effect::Call(ref call) => {
                    if let Call::Administer(Administration::Create { .. }) = call.call {
                        let parameter = &self.spaces[space].parameter;
                        self.directories.hosts[owner].listed().check_made(owner, parameter);
                    }
                }
                _ => {}
            }
            let event = self.carry_out(&mut driven, effect, &mut around);
            effect = self.step_visit(&mut driven, event);
        }
    }

    /// Lets everybody who has a client write, so that all can come together.
    pub(super) fn let_everybody_write(&mut self, space: usize) {
        let oracle = &self.spaces[space].oracle;
        let owner = (0..2).find(|user| oracle.role(*user) == Some(Role::Owner));
        let Some(owner) = owner.filter(|_| self.spaces[space].id.is_some() && !oracle.is_gone()) else {
            return;
        };
        let deed = Deed::SetMember(1 - owner, Role::Writer);
        let mut told = self.administer(owner, space, &deed);
        if let Err(ApiError::RateLimited { retry_after_s, .. }) = told {
            self.pass(u64::from(retry_after_s) * 1_000);
            told = self.administer(owner, space, &deed);
        }
        told.expect("I8: an owner can make others members, once the rate allows it");
    }
}

/// The request that does it: its method, what follows the space in its path, and its body.
fn request_of(deed: &Deed) -> (&'static str, String, String) {
    let member = |user: usize| format!("/members/{}", USERS[user]);
    let policy = |collection: &str| format!("/policies/{collection}");
    match deed {
        Deed::SetMember(user, role) => ("PUT", member(*user), format!(r#"{{"role":"{}"}}"#, role.as_str())),
        Deed::RemoveMember(user) => ("DELETE", member(*user), String::new()),
        Deed::SetPolicy(collection, of) => {
            ("PUT", policy(collection), format!(r#"{{"onConflict":"{}"}}"#, of.as_str()))
        }
        Deed::RemovePolicy(collection) => ("DELETE", policy(collection), String::new()),
        Deed::Delete => ("DELETE", String::new(), String::new()),
    }
}
