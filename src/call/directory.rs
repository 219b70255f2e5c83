//! What is said about a user's directory, the list of the shared spaces that the user is in: what a space says of a
//! membership, what the edge asks of a directory, and what that answers.

use crate::{
    ids::SpaceId,
    json::{Texts, Written, text_field},
    mutation::RejectCode,
    role::Role,
    version::{Epoch, Position, Version},
};

/// The header in which a space's object says something to the edge that is not for the client.
pub const ASIDE_HEADER: &str = "headwater-aside";

/// What a user is in a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A member with this role.
    Member(Role),
    /// Not a member.
    None,
    /// The space was deleted.
    Gone,
}

impl Standing {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member(role) => role.as_str(),
            Self::None => "none",
            Self::Gone => "gone",
        }
    }

    /// The standing that [`Self::as_str`] named.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "none" => Some(Self::None),
            "gone" => Some(Self::Gone),
            role => Role::parse(role).map(Self::Member),
        }
    }

    /// The role of a member.
    #[must_use]
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Member(role) => Some(role),
            Self::None | Self::Gone => None,
        }
    }
}

/// What a space says of a user's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The first epoch of the space: what tells it from an earlier one of the same id.
    pub incarnation: Epoch,
    /// What the user is.
    pub standing: Standing,
    /// Where the space stood when it said so.
    pub at: Position,
    /// The step since which that is so, as far as the space remembers.
    pub since: Version,
}

impl Membership {
    /// Whether `later` is about the same state of the same membership: then a directory that knows one of them need not
    /// hear the other.
    #[must_use]
    pub fn is_same_as(&self, later: &Self) -> bool {
        let of = |one: &Self| (one.incarnation.clone(), one.at.epoch.clone(), one.since, one.standing);
        of(self) == of(later)
    }
}

/// What a space's object says to the edge beside its answer to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aside {
    /// What the caller is in the space.
    Membership(Membership),
    /// The user whom the request is about has become a member, and was none before.
    Invited,
    /// The caller is refused because of what all users of the space have taken together.
    OfSpace,
    /// Something of the push was rejected, the first of it for this reason.
    Rejected(RejectCode),
}

impl Aside {
    /// As it stands in the header [`ASIDE_HEADER`].
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Membership(Membership { incarnation, standing, at, since }) => {
                format!("{} {incarnation} {at} {since}", standing.as_str())
            }
            Self::Invited => "invited".to_owned(),
            Self::OfSpace => "of-space".to_owned(),
            Self::Rejected(why) => format!("rejected {}", why.as_str()),
        }
    }

    /// Out of [`Self::to_text`]; none for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "invited" => return Some(Self::Invited),
            "of-space" => return Some(Self::OfSpace),
            _ => {}
        }
        if let Some(why) = text.strip_prefix("rejected ") {
            return RejectCode::parse(why).map(Self::Rejected);
        }
        let mut words = text.split(' ');
        let mut word = || words.next();
        let standing = Standing::parse(word()?)?;
        let incarnation = Epoch::parse(word()?)?;
        let (at, since) = (Position::parse(word()?)?, Version::parse(word()?)?);
        let membership = Membership { incarnation, standing, at, since };
        word().is_none().then_some(Self::Membership(membership))
    }
}

/// What stands in a directory about a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The space.
    pub space: SpaceId,
    /// Its first epoch.
    pub incarnation: Epoch,
    /// What the directory's user is in it.
    pub standing: Standing,
    /// Where the space stood when it said so: of two entries the one from further on holds.
    pub at: Position,
}

impl Entry {
    /// What `membership` says about `space`.
    #[must_use]
    pub fn of(space: &SpaceId, membership: &Membership) -> Self {
        let Membership { incarnation, standing, at, .. } = membership.clone();
        Self { space: space.clone(), incarnation, standing, at }
    }
}

/// What the edge asks of a directory, on behalf of a [`super::Caller`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryCall {
    /// `GET /spaces`: the page behind this space.
    List {
        /// None for the first page.
        cursor: Option<SpaceId>,
    },
    /// What a space has said to its user.
    Note(Entry),
    /// The caller has made the directory's user a member of this space.
    Hint {
        /// The space.
        space: SpaceId,
    },
    /// The caller has invited whoever has the address that the directory is of to this space.
    Invite {
        /// The space.
        space: SpaceId,
    },
    /// Its user is about to make this space.
    Reserve {
        /// The space.
        space: SpaceId,
    },
}

impl DirectoryCall {
    /// Whether it is the directory's own user who calls. A hint comes from somebody else.
    #[must_use]
    pub const fn is_users_own(&self) -> bool {
        match self {
            Self::List { .. } | Self::Note(_) | Self::Reserve { .. } => true,
            Self::Hint { .. } | Self::Invite { .. } => false,
        }
    }

    /// Whether a directory that was never used begins with it. Strangers do not bring one into being, and neither does its
    /// user by asking for spaces of others. But that of an address begins with the first invitation: whoever has it may come later.
    #[must_use]
    pub fn begins(&self) -> bool {
        match self {
            Self::List { .. } | Self::Reserve { .. } | Self::Invite { .. } => true,
            Self::Note(entry) => entry.standing.role().is_some(),
            Self::Hint { .. } => planted!(HintCreatesStorage),
        }
    }

    /// As it travels.
    pub(super) fn written(&self) -> Written {
        let call = |name| Written::default().and("call", name);
        match self {
            Self::List { cursor } => call("list").and_some("cursor", cursor.as_ref().map(SpaceId::to_string)),
            Self::Hint { space } => call("hint").and("space", space.as_str()),
            Self::Invite { space } => call("invite").and("space", space.as_str()),
            Self::Reserve { space } => call("reserve").and("space", space.as_str()),
            Self::Note(Entry { space, incarnation, standing, at }) => call("note")
                .and("space", space.as_str())
                .and("incarnation", incarnation.as_str())
                .and("standing", standing.as_str())
                .and("at", &at.to_string()),
        }
    }

    /// Out of what [`Self::written`] wrote. Of anything else it may be none, or say less.
    pub(super) fn read(texts: &Texts<'_>) -> Option<Self> {
        let space = |name| SpaceId::parse(texts.get(name)?).ok();
        Some(match texts.get("call")? {
            "list" => Self::List { cursor: space("cursor") },
            "note" => Self::Note(Entry {
                space: space("space")?,
                incarnation: Epoch::parse(texts.get("incarnation")?)?,
                standing: Standing::parse(texts.get("standing")?)?,
                at: Position::parse(texts.get("at")?)?,
            }),
            "hint" => Self::Hint { space: space("space")? },
            "invite" => Self::Invite { space: space("space")? },
            "reserve" => Self::Reserve { space: space("space")? },
            _ => return None,
        })
    }
}

/// What a directory answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryAnswer {
    /// Nothing has to be said.
    Done,
    /// A page of the list, as the client gets it.
    Page(String),
    /// It knows of this later position of the space, and has noted nothing.
    Later(Position),
    /// It has noted nothing, because it is full of spaces that its user is in.
    Full,
}

impl DirectoryAnswer {
    /// The body of the answer; none if nothing has to be said.
    #[must_use]
    pub fn into_body(self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Page(page) => Some(page),
            Self::Later(at) => Some(format!(r#"{{"later":"{at}"}}"#)),
            Self::Full => Some(r#"{"full":"entries"}"#.to_owned()),
        }
    }

    /// Out of a body. What is nothing else is a page.
    #[must_use]
    pub fn of(body: String) -> Self {
        match text_field(&body, "later").and_then(|at| Position::parse(&at)) {
            _ if body.is_empty() => Self::Done,
            Some(at) => Self::Later(at),
            None if text_field(&body, "full").is_some() => Self::Full,
            None => Self::Page(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSEQUENCE: &str = "lists of spaces would go wrong while a deployment is under way";

    fn space() -> SpaceId {
        SpaceId::stored("team")
    }

    fn membership(standing: Standing) -> Membership {
        let incarnation = Epoch::parse("0mwrnsa6yk3v9q2").expect("an epoch");
        let at = Position::parse("0mwrnsa6yk3v9q3.57").expect("a position");
        Membership { incarnation, standing, at, since: Version::new(12).expect("a version") }
    }

    #[test]
    fn asides_survive_their_texts_which_are_pinned() {
        for (standing, text) in [
            (Standing::Member(Role::Owner), "owner 0mwrnsa6yk3v9q2 0mwrnsa6yk3v9q3.57 12"),
            (Standing::None, "none 0mwrnsa6yk3v9q2 0mwrnsa6yk3v9q3.57 12"),
            (Standing::Gone, "gone 0mwrnsa6yk3v9q2 0mwrnsa6yk3v9q3.57 12"),
        ] {
            let aside = Aside::Membership(membership(standing));
            assert_eq!(aside.to_text(), text, "{CONSEQUENCE}");
            assert_eq!(Aside::parse(text), Some(aside));
        }
        assert_eq!(Aside::parse(&Aside::Invited.to_text()), Some(Aside::Invited));
        assert_eq!(Aside::parse("of-space"), Some(Aside::OfSpace));
        assert_eq!(Aside::OfSpace.to_text(), "of-space");
        let rejected = Aside::Rejected(RejectCode::TooLarge);
        assert_eq!(Aside::parse(&rejected.to_text()), Some(rejected));
        for text in
            ["", "later", "rejected later", "owner", "owner 0mwrnsa6yk3v9q2 0mwrnsa6yk3v9q3.57 12 more"]
        {
            assert_eq!(Aside::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_shell_knows_the_header_of_asides_by_its_name() {
        let shell = include_str!("../worker/js/calls.js");
        assert!(
            shell.contains(&format!(".get(\"{ASIDE_HEADER}\")")),
            "asides would reach clients, and no directory"
        );
        assert!(shell.contains(&format!(".delete(\"{ASIDE_HEADER}\")")), "asides would reach clients");
    }

    #[test]
    fn answers_are_read_as_they_were_meant() {
        for answer in [
            DirectoryAnswer::Later(membership(Standing::None).at),
            DirectoryAnswer::Full,
            DirectoryAnswer::Page("{\"spaces\":[]}".to_owned()),
            DirectoryAnswer::Done,
        ] {
            assert_eq!(DirectoryAnswer::of(answer.clone().into_body().unwrap_or_default()), answer);
        }
    }

    #[test]
    fn only_what_makes_an_entry_or_asks_for_the_list_begins_a_directory() {
        let note = |standing| DirectoryCall::Note(Entry::of(&space(), &membership(standing)));
        assert!(DirectoryCall::List { cursor: None }.begins());
        assert!(DirectoryCall::Reserve { space: space() }.begins());
        assert!(note(Standing::Member(Role::Reader)).begins());
        assert!(!note(Standing::None).begins() && !note(Standing::Gone).begins());
        assert!(!DirectoryCall::Hint { space: space() }.begins());
        assert!(DirectoryCall::Invite { space: space() }.begins());
    }
}
