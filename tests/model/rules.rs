//! The rules of the protocol, and how each can be got wrong: what shows that the model can tell.

use crate::{
    properties::Invariant,
    world::{
        Bounds,
        bounds::{DELETIONS, INCARNATIONS, ONE_READER, PUBLICATION, TWO_EPOCHS, TWO_READERS},
    },
};

/// A rule broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Mistake {
    /// The head is put, and then the parts that it names.
    HeadBeforeObjects,
    /// `published` is noted when the head is sent.
    PublishedBeforeThePut,
    /// `published` is noted as what is durable when the answer comes, not as what the head holds.
    PublishedIsWhatIsDurable,
    /// The turn does not set an alarm before its first put.
    NoWatchdog,
    /// The watchdog fires while a put of the dead instance may still land.
    WatchdogTooShort,
    /// A push brings an alarm forward that may be the watchdog of another instance.
    WatchdogBroughtForward,
    /// A put without an answer is only tried again.
    NoSettling,
    /// A put settles if its *answer* comes late enough, not if it was made late enough.
    SettledByTheTimeOfTheAnswer,
    /// A later epoch that is empty, in storage that has never published, is taken for one that nobody has to be told of.
    EmptyEpochIsNotPublished,
    /// A run is said to end where the space stood when its last part was cut.
    RunEndsWhenComplete,
    /// A deletion is forgotten that the base still has as a record.
    ForgetsUnderAnOlderBase,
    /// A client below the horizon gets an increment.
    HorizonIgnoredForClients,
    /// A head below the horizon is continued by an overlay.
    HorizonIgnoredAboveHeads,
    /// An overlay is laid over a head that ends before it begins.
    OverlayOnAnyHead,
    /// What the newest lines hold is taken for all that the client needs.
    SinceIgnored,
    /// Any other epoch resets the client, an earlier one too.
    EpochsByEquality,
    /// A reader is given what the layer has.
    SessionRuleDropped,
    /// `min` is compared as a version, without its epoch.
    MinByBareVersion,
    /// "Nothing new" when the versions are equal, whatever the epochs are.
    NothingNewByBareVersion,
    /// Two incarnations of a space share their keys.
    IncarnationLeftOutOfKeys,
}

impl Mistake {
    /// Each with the invariant that it breaks, and within which bounds it is found out.
    pub(crate) const ALL: [(Self, Invariant, Bounds); 20] = [
        (Self::HeadBeforeObjects, Invariant::I5, PUBLICATION),
        (Self::PublishedBeforeThePut, Invariant::I8, PUBLICATION),
        (Self::PublishedIsWhatIsDurable, Invariant::I8, PUBLICATION),
        (Self::NoWatchdog, Invariant::I8, PUBLICATION),
        (Self::WatchdogTooShort, Invariant::I8, PUBLICATION),
        (Self::WatchdogBroughtForward, Invariant::I8, PUBLICATION),
        (Self::NoSettling, Invariant::I8, PUBLICATION),
        (Self::SettledByTheTimeOfTheAnswer, Invariant::I8, PUBLICATION),
        (Self::EmptyEpochIsNotPublished, Invariant::I8, PUBLICATION),
        (Self::RunEndsWhenComplete, Invariant::I7, TWO_READERS),
        (Self::ForgetsUnderAnOlderBase, Invariant::I7, DELETIONS),
        (Self::HorizonIgnoredForClients, Invariant::I7, DELETIONS),
        (Self::HorizonIgnoredAboveHeads, Invariant::I7, DELETIONS),
        (Self::OverlayOnAnyHead, Invariant::I7, TWO_READERS),
        (Self::SinceIgnored, Invariant::I7, DELETIONS),
        (Self::EpochsByEquality, Invariant::I3, TWO_EPOCHS),
        (Self::SessionRuleDropped, Invariant::I3, TWO_READERS),
        (Self::MinByBareVersion, Invariant::I3, TWO_EPOCHS),
        (Self::NothingNewByBareVersion, Invariant::I7, ONE_READER),
        (Self::IncarnationLeftOutOfKeys, Invariant::I9, INCARNATIONS),
    ];
}

/// The rules as they are, or all but one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Rules {
    pub(crate) broken: Option<Mistake>,
}

impl Rules {
    pub(crate) fn breaks(self, mistake: Mistake) -> bool {
        self.broken == Some(mistake)
    }
}
