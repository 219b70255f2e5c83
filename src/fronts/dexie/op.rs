//! An operation, read out of its text when its turn comes.

use super::{criteria::Criteria, tson::given};
use crate::json::{members, text_of};

/// The member of a deletion that is ours: it removes a record only if that names this realm.
pub(super) const MOVED_TO: &str = r#""movedTo""#;

/// What an operation does with the records of its keys. Lists are texts of arrays, in the order of the keys.
#[derive(Debug)]
pub(super) enum Operation<'a> {
    /// Writes values.
    Insert { values: &'a str },
    /// The same, and where a record is there and a change given, changes it.
    Upsert { values: &'a str, specs: Option<&'a str> },
    /// Changes records that are there.
    Update { specs: &'a str },
    /// The same for all that a condition means.
    Modify { spec: &'a str, criteria: Option<Condition<'a>> },
    /// Removes them, and all that a condition means.
    Delete { criteria: Option<Condition<'a>> },
}

/// A condition, and whether it was met before: its keys did not fit into one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition<'a> {
    text: &'a str,
    pub(super) is_repeated: bool,
}

impl Condition<'_> {
    /// None if it is not understood.
    pub(super) fn read(&self) -> Option<Criteria> {
        Criteria::parse(self.text)
    }
}

/// The members of an operation that count.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OpFields<'a> {
    kind: Option<&'a str>,
    /// The text of an array.
    pub(super) keys: Option<&'a str>,
    /// The text of a string.
    pub(super) txid: Option<&'a str>,
    /// Which operation of its transaction it is.
    pub(super) number: u32,
    values: Option<&'a str>,
    specs: Option<&'a str>,
    spec: Option<&'a str>,
    criteria: Option<&'a str>,
    is_repeated: bool,
    /// The text of a string: the realm into which the records were put that are removed here.
    pub(super) moved_to: Option<&'a str>,
    /// Whether records are put here because they come from another realm. It is ours too.
    pub(super) is_moved: bool,
}

impl<'a> OpFields<'a> {
    /// Those of any text: of what is no operation there are none.
    pub(super) fn of(text: &'a str) -> Self {
        let mut fields = Self::default();
        for (name, value) in members(text) {
            let array = Some(value).filter(|value| value.starts_with('['));
            let object = || given(value).filter(|value| value.starts_with('{'));
            match name {
                r#""type""# => fields.kind = Some(value),
                r#""keys""# => fields.keys = array,
                r#""txid""# => fields.txid = Some(value).filter(|value| value.starts_with('"')),
                r#""opNo""# => fields.number = value.parse().unwrap_or(0),
                r#""values""# => fields.values = array,
                r#""changeSpecs""# => fields.specs = array,
                r#""changeSpec""# => fields.spec = object(),
                r#""criteria""# => fields.criteria = object(),
                r#""isAdditionalChunk""# => fields.is_repeated = value == "true",
                MOVED_TO => fields.moved_to = Some(value),
                r#""isMoved""# => fields.is_moved = value == "true",
                _ => {}
            }
        }
        fields
    }

    /// Whether it may do anything.
    pub(super) fn has_effect(&self) -> bool {
        self.keys.is_some_and(|keys| keys.len() > "[]".len()) || self.criteria.is_some()
    }

    /// What it does; none if that is not understood.
    pub(super) fn op(&self) -> Option<Operation<'a>> {
        let criteria = self.criteria.map(|text| Condition { text, is_repeated: self.is_repeated });
        Some(match &*text_of(self.kind?)? {
            "insert" => Operation::Insert { values: self.values? },
            "upsert" => Operation::Upsert { values: self.values?, specs: self.specs },
            "update" => Operation::Update { specs: self.specs? },
            "modify" => Operation::Modify { spec: self.spec?, criteria },
            "delete" => Operation::Delete { criteria },
            _ => return None,
        })
    }
}
