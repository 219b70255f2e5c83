//! Invitations by link in simulated worlds: owners make them, anybody may find one, and some try codes that nobody has signed.

use serde_json::Value;

use super::{USERS, World, host::Ended, location::inviter, space::Space};
use crate::{
    access::invitation::Invitation, error::ApiError, role::Role, snapshot::keys::Scope, time::Millis,
    version::Epoch,
};

/// A code that was given out once.
#[derive(Debug, Clone)]
pub struct Link {
    /// The code.
    pub code: String,
    /// The space.
    pub space: usize,
    number: u64,
    scope: Scope,
}

impl World {
    /// A user invites as many people to a space. The link, if the space has noted it.
    pub fn invite(
        &mut self,
        caller: usize,
        space: usize,
        (role, uses): (Role, u64),
        lasts_ms: u64,
    ) -> Option<Link> {
        let body = format!(r#"{{"role":"{}","uses":{uses},"expiresIn":{lasts_ms}}}"#, role.as_str());
        let path = format!("/spaces/{}/invitations", self.spaces[space].parameter);
        let Ended { done, .. } = self.ask_as(caller, space, ("POST", &path), &body);
        self.note(|| format!("user {caller} invites {uses} to space {space} as {role:?}: {done:?}"));
        self.spaces[space].oracle.check_inviter(caller, &done);
        let noted = done.ok()??;
        let noted: Value = serde_json::from_str(&noted).expect("what was noted is JSON");
        let text = |name: &str| noted[name].as_str().expect("a text");
        let number = text("invitation").parse().expect("a number");
        let expires = Millis(noted["expires"].as_u64().expect("an invitation ends"));
        let Space { oracle, scope, id, .. } = &mut self.spaces[space];
        oracle.learn_invitation(number, (role, uses), expires);
        let incarnation = Epoch::parse(text("incarnation")).expect("an epoch");
        let space_id = id.clone().expect("a private space invites nobody");
        let code = inviter().code(&Invitation { space: space_id, incarnation, number });
        Some(Link { code: code.expect("there is a key"), space, number, scope: scope.clone() })
    }

    /// A user accepts an invitation, or tries a code that is like one.
    pub fn accept(&mut self, user: usize, link: &Link, is_forged: bool) {
        let Link { code, space, number, scope } = link;
        let code = match is_forged {
            true => format!("{}{}", &code[..code.len() - 1], if code.ends_with('A') { 'Q' } else { 'A' }),
            false => code.clone(),
        };
        let path = format!("/invitations/{code}");
        let Ended { told, done, .. } = self.ask_as(user, *space, ("POST", &path), "");
        self.note(|| format!("{} accepts {code}: {told:?}, done {done:?}", USERS[user]));
        assert!(
            !is_forged || matches!(done, Err(ApiError::NotFound(_))),
            "I9: a code that was forged: {done:?}"
        );
        let now = self.now;
        let Space { host, oracle, scope: present, .. } = &mut self.spaces[*space];
        if !is_forged {
            oracle.learn_acceptance(user, (scope == present).then_some(*number), now, &done.map(drop));
        }
        oracle.check_position(&host.core(now).position());
    }
}
