//! The changes of simulated mutations, as clients write them, and what stands at a position. Their meaning is the
//! [reference](super::reference)'s.

use std::{collections::BTreeMap, rc::Rc};

use super::{client::Name, reference::reading};
use crate::version::{ConflictId, Version};

/// By which each value tells the space and the incarnation that it was written into: the first letter of its filler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brand(pub char);

/// What stands before the brand in every value.
const BEFORE_BRAND: &str = "\"filler\":\"";

impl Brand {
    fn filler(self, bytes: usize) -> String {
        format!("{BEFORE_BRAND}{}{}\"", self.0, "x".repeat(bytes))
    }

    /// The brand of another space that stands in `text`, if one does.
    #[must_use]
    pub fn foreign_in(self, text: &str) -> Option<char> {
        // Every text that anybody reads is looked through, and one letter is found much faster than a text.
        let brands = text.match_indices('f').filter_map(|(at, _)| {
            let before = text[..at].strip_suffix('"')?;
            text[before.len()..].strip_prefix(BEFORE_BRAND)?.chars().next()
        });
        brands.into_iter().find(|brand| *brand != self.0)
    }
}

/// What a simulated record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Counted up by `add`.
    pub count: i64,
    /// Written by `patch`.
    pub tag: u64,
    /// Bytes that only take room.
    pub filler: usize,
}

impl Row {
    /// The JSON text in the space of this brand, its members in order: a client that writes it anew writes this again.
    #[must_use]
    pub fn text(&self, brand: Brand) -> String {
        let Self { count, tag, filler } = self;
        format!("{{\"count\":{count},{},\"tag\":{tag}}}", brand.filler(*filler))
    }
}

/// A change of a simulated record.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Writes all of it.
    Put(Name, Row),
    /// Writes the tag, or the whole row where there is none.
    Patch(Name, u64, Row),
    /// Writes the filler, where there is a row.
    Fill(Name, usize),
    /// Counts up.
    Add(Name, i64),
    /// Removes it.
    Delete(Name),
}

impl Edit {
    /// The change as clients write it, perhaps with a base of its own.
    fn written(&self, base: Option<Version>, brand: Brand) -> Written {
        let (op, rest): (&str, Vec<(&str, String)>) = match self {
            Self::Put(_, row) => ("put", vec![("value", row.text(brand))]),
            Self::Patch(_, tag, row) => {
                ("patch", vec![("set", format!("{{\"tag\":{tag}}}")), ("orPut", row.text(brand))])
            }
            Self::Fill(_, filler) => ("patch", vec![("set", format!("{{{}}}", brand.filler(*filler)))]),
            Self::Add(_, by) => ("add", vec![("path", "\"count\"".to_owned()), ("by", by.to_string())]),
            Self::Delete(_) => ("delete", Vec::new()),
        };
        let (collection, id) = self.name();
        let base = base.map(|base| base.to_string());
        let base = base.iter().map(|base| ("base", Text::Json(base)));
        let named = [("op", op), ("collection", collection), ("id", id)]
            .map(|(name, text)| (name, Text::Quoted(text)));
        let rest = rest.iter().map(|(name, json)| (*name, Text::Json(json)));
        Written::object(base.chain(named).chain(rest).collect())
    }

    /// A put or a deletion as a resolution has it.
    fn as_merged(&self, brand: Brand) -> Written {
        let (collection, id) = self.name();
        let (name, json) = match self {
            Self::Put(_, row) => ("value", row.text(brand)),
            _ => ("deleted", "true".to_owned()),
        };
        let named = [("collection", Text::Quoted(collection)), ("id", Text::Quoted(id))];
        Written::object(named.into_iter().chain([(name, Text::Json(&json))]).collect())
    }

    /// The record it changes.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::Put(name, _)
            | Self::Patch(name, ..)
            | Self::Fill(name, _)
            | Self::Add(name, _)
            | Self::Delete(name) => name,
        }
    }
}

/// What a mutation consists of.
#[derive(Debug, Clone)]
pub enum Change {
    /// A change of a record.
    Edit(Edit),
    /// One that has a base of its own.
    Since(Version, Edit),
    /// The end of a conflict.
    Resolve(ConflictId, Take),
}

/// How a conflict is resolved.
#[derive(Debug, Clone)]
pub enum Take {
    /// What is parked is applied.
    Mine,
    /// Nothing is.
    Theirs,
    /// These puts and deletions are.
    Records(Vec<Edit>),
}

impl Change {
    /// The change as clients write it.
    #[must_use]
    pub fn written(&self, brand: Brand) -> Written {
        let (id, take) = match self {
            Self::Edit(edit) => return edit.written(None, brand),
            Self::Since(base, edit) => return edit.written(Some(*base), brand),
            Self::Resolve(id, take) => (id.to_string(), take),
        };
        let records: Vec<_> = match take {
            Take::Records(records) => records.iter().map(|record| record.as_merged(brand)).collect(),
            Take::Mine | Take::Theirs => Vec::new(),
        };
        let records = Written::list(records.iter());
        let taken = match take {
            Take::Mine => ("take", Text::Quoted("mine")),
            Take::Theirs => ("take", Text::Quoted("theirs")),
            Take::Records(_) => ("records", Text::Written(&records)),
        };
        Written::object(vec![("op", Text::Quoted("resolve")), ("conflict", Text::Quoted(&id)), taken])
    }

    /// The records that it changes, but for those that are parked.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        let edits = match self {
            Self::Edit(edit) | Self::Since(_, edit) => std::slice::from_ref(edit),
            Self::Resolve(_, Take::Records(records)) => records,
            Self::Resolve(..) => &[],
        };
        edits.iter().map(Edit::name)
    }
}

/// JSON in the two ways in which clients write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As it comes.
    pub plain: Rc<str>,
    /// As another library writes it: with the members of each object in order.
    pub ordered: Rc<str>,
}

/// The value of a member.
#[derive(Clone, Copy)]
enum Text<'a> {
    Quoted(&'a str),
    Json(&'a str),
    Written(&'a Written),
}

impl Written {
    /// Any JSON.
    #[must_use]
    pub fn of(json: &str) -> Self {
        let ordered = serde_json::from_str::<serde_json::Value>(json).expect("JSON").to_string();
        Self { plain: json.into(), ordered: ordered.into() }
    }

    /// A list.
    #[must_use]
    pub fn list<'a>(elements: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let list = |text: fn(&Self) -> &str| -> Rc<str> {
            let texts: Vec<&str> = elements.clone().map(text).collect();
            format!("[{}]", texts.join(",")).into()
        };
        Self { plain: list(|element| &element.plain), ordered: list(|element| &element.ordered) }
    }

    fn object(mut members: Vec<(&str, Text<'_>)>) -> Self {
        let plain = object_text(&members, false);
        members.sort_unstable_by_key(|(name, _)| *name);
        Self { plain: plain.into(), ordered: object_text(&members, true).into() }
    }

    /// Whether `text` is one of the two.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        *self.plain == *text || *self.ordered == *text
    }
}

fn object_text(members: &[(&str, Text<'_>)], is_ordered: bool) -> String {
    let mut object = String::with_capacity(256);
    for (name, text) in members {
        object.extend([if object.is_empty() { "{\"" } else { ",\"" }, name, "\":"]);
        match text {
            Text::Quoted(text) => object.extend(["\"", text, "\""]),
            Text::Json(json) => object.push_str(json),
            Text::Written(written) => {
                object.push_str(if is_ordered { &written.ordered } else { &written.plain });
            }
        }
    }
    object + "}"
}

/// A change with its texts.
#[derive(Debug)]
pub struct Planned {
    /// The change.
    pub change: Change,
    /// As clients write it.
    pub written: Written,
    /// What it does to records, but for those that are parked, as the reference reads that.
    pub(super) edits: Vec<Rc<reading::Change>>,
}

impl Planned {
    pub(super) fn new(change: Change, brand: Brand) -> Self {
        let written = change.written(brand);
        let read = |written: &Written| {
            let read = reading::Change::read(&written.plain, None);
            Rc::new(read.expect("a change that can be understood"))
        };
        let edits = match &change {
            Change::Edit(_) | Change::Since(..) => vec![read(&written)],
            Change::Resolve(_, Take::Records(records)) => {
                records.iter().map(|record| read(&record.written(None, brand))).collect()
            }
            Change::Resolve(..) => Vec::new(),
        };
        Self { change, written, edits }
    }
}

/// Records with their text.
pub type State = BTreeMap<Rc<Name>, Rc<str>>;

/// What stands at a position.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// What users wrote.
    pub rows: State,
    /// What Headwater did.
    pub own: State,
}

impl Snapshot {
    /// All records by name, as a client has them: what Headwater did comes first, because its collections begin with `$`.
    pub fn all(&self) -> impl Iterator<Item = (&Name, &str)> {
        self.own.iter().chain(&self.rows).map(|(name, text)| (&**name, &**text))
    }
}
