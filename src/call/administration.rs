//! What may be done about a space, beside pushing to it and pulling from it.

use crate::{
    ids::{Collection, UserHash, is_in_blob_id},
    json::{Texts, Written},
    role::Role,
    version::{Epoch, Position, Version},
};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Administration {
    /// `PUT /spaces/{id}`
    Create {
        /// Its first member.
        owner: Person,
    },
    /// `GET /spaces/{id}`
    Show,
    /// `DELETE /spaces/{id}`
    Delete,
    /// `GET /spaces/{id}/members`: the page behind this member.
    Members {
        /// None for the first page.
        after: Option<UserHash>,
    },
    /// `GET /spaces/{id}/members/{sub}`
    Member(Person),
    /// `PUT /spaces/{id}/members/{sub}`
    SetMember {
        /// Who is a member from now on.
        person: Person,
        /// As what.
        role: Role,
    },
    /// `DELETE /spaces/{id}/members/{sub}`
    RemoveMember(Person),
    /// `GET /spaces/{id}/policies`
    Policies,
    /// `PUT /spaces/{id}/policies/{collection}`
    SetPolicy {
        /// What the policy is for.
        collection: Collection,
        /// The policy.
        policy: OnConflict,
    },
    /// `DELETE /spaces/{id}/policies/{collection}`
    RemovePolicy(Collection),
    /// `PUT /spaces/{id}/policies/$dexie`: the client of Dexie Cloud may neither write here nor read.
    ShutDexie,
    /// `DELETE /spaces/{id}/policies/$dexie`
    AdmitDexie,
    /// `POST /spaces/{id}/grant`
    Grant {
        /// A position of the space that the caller's directory knows of, where the space seems to have gone back.
        claim: Option<Position>,
    },
    /// `GET /spaces/{id}/usage`
    Usage,
    /// `POST /spaces/{id}/reset-epoch`
    ResetEpoch,
    /// `POST /spaces/{id}/invitations`
    Invite {
        /// What it makes of whoever accepts it.
        role: Role,
        /// Of how many people.
        uses: u64,
        /// How long it stands, in ms.
        lasts_ms: u64,
    },
    /// `GET /spaces/{id}/invitations`
    Invitations,
    /// `DELETE /spaces/{id}/invitations/{number}`
    Uninvite {
        /// Which.
        number: u64,
    },
    /// A file is about to be put beside the records: `PUT /dexie/blob/{id}`.
    Upload {
        /// How many bytes it has.
        bytes: u64,
    },
    /// Whether files that no record names are to be looked for.
    Collection,
    /// Which of these files no record names.
    Collect {
        /// Their ids, with a space between each two.
        ids: String,
        /// The version up to which records have been looked through.
        after: Version,
        /// Behind which file the next look begins; empty for the first one.
        behind: String,
    },
    /// `POST /invitations/{code}`, whose code the edge has signed.
    Accept {
        /// Who becomes a member.
        person: Person,
        /// The life of the space in which it was made.
        incarnation: Epoch,
        /// Which.
        number: u64,
    },
    /// Whether somebody is invited to the realm of Dexie Cloud whose space this is: the rows that say so.
    Invited(Guest),
    /// Somebody answers an invitation to that realm.
    Respond {
        /// Who.
        guest: Guest,
        /// The row of `members` that invites.
        row: String,
        /// Whether it is accepted.
        accepts: bool,
        /// When, as the row will say it.
        at: String,
    },
}

/// Somebody who may be invited to a realm of Dexie Cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Who.
    pub person: Person,
    /// The issuer of the person's subject.
    pub iss: String,
    /// The person's address, if the issuer says that it is theirs.
    pub email: Option<String>,
    /// The realm.
    pub realm: String,
}

/// A user, by both names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// As members' records name them.
    pub user: UserHash,
    /// The subject of their tokens.
    pub sub: String,
}

/// A policy for conflicting changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// The mutation is a conflict.
    #[default]
    Reject,
    /// A patch conflicts only where somebody else changed a top-level field that it touches.
    Merge,
    /// The change is applied.
    Overwrite,
}

impl Administration {
    /// Its name, the role that it needs, if it needs any, whether it is admitted whatever the space has left, and whether its answer has an aside.
    const fn row(&self) -> (&'static str, Option<Role>, bool, bool) {
        const READER: Option<Role> = Some(Role::Reader);
        const WRITER: Option<Role> = Some(Role::Writer);
        const OWNER: Option<Role> = Some(Role::Owner);
        match self {
            // Where the space is there already: an owner asks again, whose answer was lost.
            Self::Create { .. } => ("create", OWNER, false, true),
            Self::Show => ("show", READER, false, false),
            Self::Delete => ("delete", OWNER, true, true),
            Self::Members { .. } => ("members", READER, false, false),
            Self::Member(_) => ("member", READER, false, false),
            Self::SetMember { .. } => ("set-member", OWNER, true, true),
            Self::RemoveMember(_) => ("remove-member", OWNER, true, true),
            Self::Policies => ("policies", READER, false, false),
            Self::SetPolicy { .. } => ("set-policy", OWNER, true, false),
            Self::RemovePolicy(_) => ("remove-policy", OWNER, true, false),
            Self::ShutDexie => ("shut-dexie", OWNER, true, false),
            Self::AdmitDexie => ("admit-dexie", OWNER, true, false),
            Self::Grant { .. } => ("grant", READER, false, true),
            Self::Usage => ("usage", OWNER, false, false),
            Self::ResetEpoch => ("reset-epoch", OWNER, true, false),
            Self::Invite { .. } => ("invite", OWNER, false, false),
            Self::Invitations => ("invitations", OWNER, false, false),
            Self::Uninvite { .. } => ("uninvite", OWNER, true, false),
            Self::Upload { .. } => ("upload", WRITER, false, false),
            Self::Collection => ("collection", WRITER, false, false),
            Self::Collect { .. } => ("collect", WRITER, false, false),
            // The invitation lets its bearer in.
            Self::Accept { .. } => ("accept", None, false, true),
            // So does the row that invites.
            Self::Invited(_) => ("invited", None, false, false),
            Self::Respond { .. } => ("respond", None, false, true),
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.row().0
    }

    /// What `caller` has to be in the space; none where the call itself says why its caller may.
    #[must_use]
    pub fn needs(&self, caller: &UserHash) -> Option<Role> {
        // Everybody may leave.
        let leaves = matches!(self, Self::RemoveMember(person) if person.user == *caller);
        if leaves { Some(Role::Reader) } else { self.row().1 }
    }

    /// Whether it is admitted whatever the space has left: whoever uses up what all have together could not be removed
    /// otherwise.
    #[must_use]
    pub const fn is_owners(&self) -> bool {
        self.row().2
    }

    /// Whether it begins an epoch in a space that is there.
    #[must_use]
    pub const fn begins_epoch(&self) -> bool {
        match self {
            Self::Delete | Self::ResetEpoch => true,
            Self::Create { .. }
            | Self::Show
            | Self::Members { .. }
            | Self::Member(_)
            | Self::SetMember { .. }
            | Self::RemoveMember(_)
            | Self::Policies
            | Self::SetPolicy { .. }
            | Self::RemovePolicy(_)
            | Self::ShutDexie
            | Self::AdmitDexie
            | Self::Grant { .. }
            | Self::Usage
            | Self::Invite { .. }
            | Self::Invitations
            | Self::Uninvite { .. }
            | Self::Upload { .. }
            | Self::Collection
            | Self::Collect { .. }
            | Self::Accept { .. }
            | Self::Invited(_)
            | Self::Respond { .. } => false,
        }
    }

    /// Whether its answer says what the caller is in the space now, or whom the caller has invited: what directories are to
    /// know.
    #[must_use]
    pub const fn has_aside(&self) -> bool {
        self.row().3
    }

    /// What it says beside its name.
    pub(super) fn written(&self) -> Written {
        let nothing = Written::default();
        let about =
            |person: &Person| Written::default().and("user", person.user.as_str()).and("sub", &person.sub);
        let of_guest = |Guest { person, iss, email, realm }: &Guest| {
            about(person).and("iss", iss).and_some("email", email.clone()).and("realm", realm)
        };
        match self {
            Self::Create { owner: person } | Self::Member(person) | Self::RemoveMember(person) => {
                about(person)
            }
            Self::SetMember { person, role } => about(person).and("role", role.as_str()),
            Self::Members { after } => {
                nothing.and_some("after", after.as_ref().map(|user| user.as_str().to_owned()))
            }
            Self::SetPolicy { collection, policy } => {
                nothing.and("collection", collection.as_str()).and("policy", policy.as_str())
            }
            Self::RemovePolicy(collection) => nothing.and("collection", collection.as_str()),
            Self::Grant { claim } => nothing.and_some("claim", claim.as_ref().map(Position::to_string)),
            Self::Invite { role, uses, lasts_ms } => nothing
                .and("role", role.as_str())
                .and("uses", &uses.to_string())
                .and("lasts", &lasts_ms.to_string()),
            Self::Uninvite { number } => nothing.and("number", &number.to_string()),
            Self::Upload { bytes } => nothing.and("bytes", &bytes.to_string()),
            Self::Collect { ids, after, behind } => {
                nothing.and("ids", ids).and("after", &after.to_string()).and("behind", behind)
            }
            Self::Accept { person, incarnation, number } => {
                about(person).and("incarnation", incarnation.as_str()).and("number", &number.to_string())
            }
            Self::Invited(guest) => of_guest(guest),
            Self::Respond { guest, row, accepts, at } => {
                let answer = if *accepts { "accepted" } else { "rejected" };
                of_guest(guest).and("row", row).and("answer", answer).and("at", at)
            }
            Self::Show
            | Self::Delete
            | Self::Policies
            | Self::ShutDexie
            | Self::AdmitDexie
            | Self::Usage
            | Self::ResetEpoch
            | Self::Collection
            | Self::Invitations => nothing,
        }
    }

    /// Out of [`Self::name`] and what [`Self::written`] wrote. Of anything else it may be none, or say less.
    pub(super) fn read(name: &str, texts: &Texts<'_>) -> Option<Self> {
        let user = |name| UserHash::parse(texts.get(name)?).ok();
        let person = || Some(Person { user: user("user")?, sub: texts.get("sub")?.to_owned() });
        let collection = || Collection::parse(texts.get("collection")?).ok();
        let number = |name| texts.get(name)?.parse().ok();
        let guest = || {
            let (iss, realm) = (texts.get("iss")?.to_owned(), texts.get("realm")?.to_owned());
            Some(Guest { person: person()?, iss, email: texts.get("email").map(str::to_owned), realm })
        };
        Some(match name {
            "create" => Self::Create { owner: person()? },
            "show" => Self::Show,
            "delete" => Self::Delete,
            "members" => Self::Members { after: user("after") },
            "member" => Self::Member(person()?),
            "set-member" => Self::SetMember { person: person()?, role: Role::parse(texts.get("role")?)? },
            "remove-member" => Self::RemoveMember(person()?),
            "policies" => Self::Policies,
            "set-policy" => Self::SetPolicy {
                collection: collection()?,
                policy: OnConflict::parse(texts.get("policy")?)?,
            },
            "remove-policy" => Self::RemovePolicy(collection()?),
            "shut-dexie" => Self::ShutDexie,
            "admit-dexie" => Self::AdmitDexie,
            "grant" => Self::Grant { claim: texts.get("claim").and_then(Position::parse) },
            "usage" => Self::Usage,
            "reset-epoch" => Self::ResetEpoch,
            "invite" => Self::Invite {
                role: Role::parse(texts.get("role")?)?,
                uses: number("uses")?,
                lasts_ms: number("lasts")?,
            },
            "invitations" => Self::Invitations,
            "uninvite" => Self::Uninvite { number: number("number")? },
            "upload" => Self::Upload { bytes: number("bytes")? },
            "collection" => Self::Collection,
            "collect" => Self::Collect {
                ids: blob_ids(texts.get("ids")?)?,
                after: Version::parse(texts.get("after")?)?,
                behind: blob_ids(texts.get("behind")?)?,
            },
            "accept" => Self::Accept {
                person: person()?,
                incarnation: Epoch::parse(texts.get("incarnation")?)?,
                number: number("number")?,
            },
            "invited" => Self::Invited(guest()?),
            "respond" => Self::Respond {
                guest: guest()?,
                row: texts.get("row")?.to_owned(),
                accepts: match texts.get("answer")? {
                    "accepted" => true,
                    "rejected" => false,
                    _ => return None,
                },
                at: texts.get("at")?.to_owned(),
            },
            _ => return None,
        })
    }
}

/// Ids of files, with a space between each two.
fn blob_ids(text: &str) -> Option<String> {
    text.chars().all(|one| one == ' ' || is_in_blob_id(one)).then(|| text.to_owned())
}

impl OnConflict {
    const ALL: [Self; 3] = [Self::Reject, Self::Merge, Self::Overwrite];
    /// What there is, for whoever names something else.
    pub const RULE: &str = "onConflict is reject, merge or overwrite";

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Merge => "merge",
            Self::Overwrite => "overwrite",
        }
    }

    /// The policy of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }
}
