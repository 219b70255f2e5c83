//! Which realms users have, by what their directories have said: a sync asks for news of each, and a client does not know those that
//! others have let it into.

use std::collections::BTreeMap;

use crate::{
    fronts::dexie::realm::realm_of,
    ids::{SpaceHash, SpaceId},
    json::{elements, members, text_of},
    limits,
    time::Millis,
};

/// What is known of users.
#[derive(Debug, Default)]
pub(super) struct Realms(BTreeMap<SpaceHash, (Vec<String>, Millis)>);

impl Realms {
    /// The realms in a directory; none if it has to be asked.
    pub(super) fn of(&self, directory: &SpaceHash, now: Millis) -> Option<&[String]> {
        let (realms, asked_at) = self.0.get(directory)?;
        let is_fresh = *asked_at <= now && now.since(*asked_at) < limits::DEXIE_REALMS_KNOWN_MS;
        is_fresh.then_some(realms)
    }

    /// Takes in what a directory has answered.
    pub(super) fn learn(&mut self, directory: &SpaceHash, page: &str, now: Millis) {
        if self.0.len() >= limits::GRANTS_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(directory.clone(), (listed(page), now));
    }

    /// What was known is not so any more: one has been made, or was left.
    pub(super) fn forget(&mut self, directory: &SpaceHash) {
        self.0.remove(directory);
    }

    /// A realm that a directory names lets its user in no more, and invites nobody: it is asked again when the directory is.
    pub(super) fn leave_out(&mut self, directory: &SpaceHash, realm: &str) {
        if let Some((realms, _)) = self.0.get_mut(directory) {
            realms.retain(|known| known != realm);
        }
    }
}

/// The realms among the spaces of a page of a directory, and among those that somebody has given a hint of.
fn listed(page: &str) -> Vec<String> {
    let lists = members(page).filter(|(name, _)| matches!(*name, r#""spaces""# | r#""invitations""#));
    let spaces = lists.flat_map(|(_, list)| elements(list)).filter_map(|space| {
        let (_, id) = members(space).find(|(name, _)| *name == r#""space""#)?;
        realm_of(&SpaceId::parse(&text_of(id)?).ok()?)
    });
    spaces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_realms_of_a_user_are_those_that_the_directory_names_for_a_minute() {
        let (mut realms, alice, now) =
            (Realms::default(), SpaceHash::directory("i", "alice"), Millis(5_000_000));
        assert_eq!(realms.of(&alice, now), None);
        let page = r#"{"spaces":[{"space":"team","role":"owner"},{"space":"dx_cmxtMA","role":"writer"}],"invitations":[{"space":"dx_cmxtMQ"}],"cursor":null}"#;
        realms.learn(&alice, page, now);
        let both = ["rlm0".to_owned(), "rlm1".to_owned()];
        assert_eq!(realms.of(&alice, now.plus(59_999)), Some(&both[..]));
        assert_eq!(realms.of(&alice, now.plus(60_000)), None);
        assert_eq!(realms.of(&alice, Millis(0)), None, "a clock that went back");
        realms.leave_out(&alice, "rlm0");
        assert_eq!(realms.of(&alice, now), Some(&both[1..]));
        realms.learn(&alice, "", now);
        assert_eq!(realms.of(&alice, now), Some(&[][..]), "a directory that nobody has used");
        realms.forget(&alice);
        assert_eq!(realms.of(&alice, now), None);
    }
}
