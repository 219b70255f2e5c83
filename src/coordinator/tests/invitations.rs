//! Invitations by link: what a space notes of them, and whom they make members.

use serde_json::Value;

use super::{spaces::person, *};
use crate::{call::Administration, limits};

const OVER: ApiError = ApiError::NotFound("This invitation was used up, or taken back, or has ended.");

fn invite(role: Role, uses: u64) -> Administration {
    Administration::Invite { role, uses, lasts_ms: limits::INVITATION_MS }
}

impl Desk {
    /// The number of an invitation of alice's.
    fn invited(&mut self, role: Role, uses: u64) -> u64 {
        let said = self.administer("alice", &invite(role, uses)).expect("she is an owner");
        said["invitation"].as_str().and_then(|number| number.parse().ok()).expect("a number")
    }

    fn accept(&mut self, name: &str, number: u64) -> Result<Value, ApiError> {
        let (person, incarnation) = (person(name), self.core.meta.incarnation.clone());
        self.administer(name, &Administration::Accept { person, incarnation, number })
    }

    /// How often each may still be used.
    fn uses(&mut self) -> Vec<u64> {
        let said = self.administer("alice", &Administration::Invitations).expect("she is an owner");
        said["invitations"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["uses"].as_u64())
            .collect()
    }
}

#[test]
fn an_invitation_makes_as_many_people_members_as_it_says_and_counts_nobody_twice() {
    let mut desk = Desk::team();
    let number = desk.invited(Role::Writer, 2);
    let before = desk.core.position();
    assert_eq!(desk.accept("bob", number).expect("it stands")["role"], "writer");
    assert!(desk.core.position() > before, "that is a step of the space, which syncs like any other");
    assert_eq!(
        (desk.uses(), desk.accept("bob", number).expect("asked again")["role"].as_str()),
        (vec![1], Some("writer"))
    );
    assert_eq!(desk.uses(), [1], "who is a member already is not counted");
    desk.accept("carol", number).expect("it stands");
    assert_eq!((desk.uses(), desk.accept("dave", number)), (vec![], Err(OVER)));
    assert_eq!(desk.accept("bob", number).expect("the answer may have been lost")["role"], "writer");
}

#[test]
fn an_invitation_makes_nobody_less_and_raises_whoever_is_less() {
    let mut desk = Desk::staffed();
    let [reads, owns] = [Role::Reader, Role::Owner].map(|role| desk.invited(role, 1));
    assert_eq!(desk.accept("bob", reads).expect("it stands")["role"], "writer");
    assert_eq!(desk.accept("rita", owns).expect("it stands")["role"], "owner");
    assert_eq!(desk.uses(), [1], "bob has not used his up");
}

#[test]
fn an_invitation_ends_in_time_or_when_it_is_taken_back_or_with_its_space() {
    let mut desk = Desk::team();
    let [late, taken, gone] = [1, 2, 3].map(|_| desk.invited(Role::Reader, 9));
    desk.administer("alice", &Administration::Uninvite { number: taken }).expect("she is an owner");
    desk.administer("alice", &Administration::Uninvite { number: taken }).expect("it is gone already");
    assert_eq!(desk.accept("bob", taken), Err(OVER));
    desk.now = START.plus(limits::INVITATION_MS - 1);
    desk.accept("bob", late).expect("it stands");
    desk.now = START.plus(limits::INVITATION_MS);
    assert_eq!((desk.accept("carol", late), desk.uses()), (Err(OVER), vec![]));
    desk.now = START;
    desk.administer("alice", &Administration::Delete).expect("she is an owner");
    assert_eq!(desk.accept("carol", gone), Err(ApiError::Gone));
    assert_eq!(desk.core.ledger().private_rows("invitation", "", 9), Ok(vec![]), "nothing stays of them");
}

#[test]
fn an_invitation_of_an_earlier_space_of_this_id_makes_nobody_a_member_also_where_its_row_has_come_back() {
    let mut desk = Desk::team();
    let number = desk.invited(Role::Owner, 9);
    let incarnation = Epoch::parse("0mwrnsa6yk3v9q1").expect("an epoch");
    assert_ne!(incarnation, desk.core.meta.incarnation);
    let accept = Administration::Accept { person: person("bob"), incarnation, number };
    assert_eq!(desk.administer("bob", &accept), Err(OVER));
}

#[test]
fn so_many_invitations_stand_and_those_that_have_ended_make_room() {
    let mut desk = Desk::team();
    for _ in 0..limits::INVITATIONS_MAX {
        desk.invited(Role::Reader, 1);
    }
    let full = ApiError::Forbidden("A space has at most 100 invitations: take one back.");
    assert_eq!(desk.administer("alice", &invite(Role::Reader, 1)), Err(full));
    desk.now = START.plus(limits::INVITATION_MS);
    desk.invited(Role::Reader, 1);
    assert_eq!(desk.core.ledger().private_rows("invitation", "", 999).expect("rows").len(), 1);
}

#[test]
fn a_private_space_invites_nobody() {
    let mut desk = Desk::new();
    for asked in
        [invite(Role::Reader, 1), Administration::Invitations, Administration::Uninvite { number: 1 }]
    {
        assert!(matches!(desk.administer("alice", &asked), Err(ApiError::Forbidden(_))), "{asked:?}");
    }
    assert!(matches!(desk.accept("alice", 1), Err(ApiError::Forbidden(_))));
}
