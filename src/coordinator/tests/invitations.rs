//! Invitations by link: what a space notes of them, and whom they make members.

use serde_json::Value;

use super::{spaces::person, *};
use crate::{call::Administration, limits};

const OVER: ApiError = ApiError::NotFound(
    "This invitation was used up, or taken back, or has ended, or your membership has ended since it was made.",
);

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
fn an_invitation_undoes_nothing_that_was_done_about_a_member_since_it_was_made() {
    let mut desk = Desk::team();
    let remove = |name: &str| Administration::RemoveMember(person(name));
    let set = |name: &str, role| Administration::SetMember { person: person(name), role };
    let first = desk.invited(Role::Owner, 9);
    desk.accept("bob", first).expect("it stands");
    desk.accept("carol", first).expect("it stands");
    desk.accept("dave", first).expect("it stands");
    desk.administer("alice", &set("bob", Role::Reader)).expect("she is an owner");
    desk.administer("alice", &remove("carol")).expect("she is an owner");
    desk.administer("dave", &remove("dave")).expect("everybody may leave");
    let uses = desk.uses();
    assert_eq!(desk.accept("bob", first).expect("he is a member")["role"], "reader");
    for gone in ["carol", "dave"] {
        assert_eq!(desk.accept(gone, first), Err(OVER));
    }
    assert_eq!(desk.uses(), uses, "and nobody was counted");
    // Others it makes members as before, and a later one everybody.
    desk.accept("erin", first).expect("it stands");
    let second = desk.invited(Role::Writer, 9);
    for (name, invitation, role) in [
        ("bob", second, "writer"),
        ("carol", second, "writer"),
        ("bob", first, "writer"),
        ("carol", first, "writer"),
    ] {
        assert_eq!(desk.accept(name, invitation).expect("a member")["role"], role, "{name}");
    }
    desk.administer("alice", &remove("bob")).expect("she is an owner");
    assert_eq!((desk.accept("bob", first), desk.accept("bob", second)), (Err(OVER), Err(OVER)));
}

#[test]
fn what_was_done_about_members_is_noted_only_while_an_invitation_could_undo_it() {
    let mut desk = Desk::staffed();
    let remove = Administration::RemoveMember(person("rita"));
    desk.administer("alice", &remove).expect("she is an owner");
    let noted = |desk: &mut Desk| desk.core.ledger().private_rows("set_member", "", 9).expect("rows").len();
    assert_eq!(noted(&mut desk), 0, "there is no invitation");
    let number = desk.invited(Role::Reader, 1);
    desk.accept("rita", number).expect("it was made later");
    assert_eq!(desk.uses(), Vec::<u64>::new());
    let number = desk.invited(Role::Reader, 1);
    desk.administer("alice", &remove).expect("she is an owner");
    assert_eq!((noted(&mut desk), desk.accept("rita", number)), (1, Err(OVER)));
    desk.administer("alice", &Administration::Uninvite { number }).expect("she is an owner");
    let number = desk.invited(Role::Reader, 1);
    assert_eq!(noted(&mut desk), 0, "no invitation stands that is older");
    desk.accept("rita", number).expect("it was made later");
    desk.invited(Role::Reader, 1);
    desk.administer("alice", &remove).expect("she is an owner");
    desk.administer("alice", &Administration::Delete).expect("she is an owner");
    assert_eq!(noted(&mut desk), 0, "nothing stays with the space");
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
