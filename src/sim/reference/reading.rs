//! What a mutation has to look like.

use std::collections::BTreeSet;

use super::{
    Name,
    json::{elements, has_repeated, is_fit, kept, members, nesting, number, string},
    tree::{Op, Tree},
};

/// The fields of a mutation, and those of a change by its op; a record of a resolution has none.
pub const MUTATION: [&str; 6] = ["id", "at", "base", "after", "epoch", "changes"];
const CHANGES: [(Option<&str>, &str); 8] = [
    (Some("put"), "op collection id base value"),
    (Some("patch"), "op collection id base set unset orPut"),
    (Some("delete"), "op collection id base"),
    (Some("add"), "op collection id base path by orPut"),
    (Some("include"), "op collection id base path values orPut"),
    (Some("exclude"), "op collection id base path values orPut"),
    (Some("resolve"), "op base conflict take records"),
    (None, "collection id base value deleted"),
];

/// Whether a change has no fields but those of its op: one of another op may be there as null.
pub fn has_only_its_fields(change: &str, op: Option<&str>) -> bool {
    let Some((_, own)) = CHANGES.iter().find(|(known, _)| *known == op) else { return false };
    let has = |fields: &str, name: &str| fields.split(' ').any(|field| field == name);
    let is_known = |name: &str| CHANGES.iter().any(|(_, fields)| has(fields, name));
    let members = members(change);
    members.is_some_and(|members| {
        members.iter().all(|(name, value)| has(own, name) || (*value == "null" && is_known(name)))
    })
}

/// A mutation that can be understood.
pub(crate) struct Mutation {
    pub(crate) epoch: Option<String>,
    /// The conflicts that it follows: each by its epoch and the version that opened it.
    pub(crate) after: Vec<(String, u64)>,
    pub(crate) changes: Vec<Change>,
}

#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) name: Name,
    pub(crate) base: Option<u64>,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Put(String),
    Delete,
    /// With `orPut`.
    Patch(Op, Option<String>),
    /// `add`, `include` and `exclude`, with `orPut`.
    Combine(Op, Option<String>),
}

impl Mutation {
    /// None for what is to be rejected.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let fields = Fields::read(text)?;
        if !fields.0.iter().all(|(name, _)| MUTATION.contains(&name.as_str())) {
            return None;
        }
        let base = fields.typed("base", number)?;
        let changes =
            elements(fields.get("changes").filter(|changes| is_fit(changes) && !has_repeated(changes))?)?;
        let is_epoch = |epoch: &String| {
            let allowed = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
            (12..=32).contains(&epoch.len()) && epoch.bytes().all(allowed)
        };
        let conflict = |text: &str| {
            let text = string(text)?;
            let (epoch, opened) = text.strip_prefix("x_")?.split_once('_')?;
            let epoch = Some(epoch.to_owned()).filter(is_epoch)?;
            Some((epoch, number(opened)?))
        };
        let after = |text: &str| match elements(text) {
            Some(names) => names.into_iter().map(conflict).collect::<Option<Vec<_>>>(),
            None => conflict(text).map(|one| vec![one]),
        };
        Some(Self {
            epoch: fields.typed("epoch", |text| string(text).filter(is_epoch))?,
            after: fields.typed("after", after)?.unwrap_or_default(),
            changes: changes.into_iter().map(|text| Change::read(text, base)).collect::<Option<_>>()?,
        })
    }
}

impl Change {
    /// `base` is that of its mutation. None for what is to be rejected.
    pub(crate) fn read(text: &str, base: Option<u64>) -> Option<Self> {
        let fields = Fields::read(text)?;
        let [op, collection, id, path] =
            ["op", "collection", "id", "path"].map(|name| fields.typed(name, string));
        let (op, collection, id, path) = (op??, collection??, id??, path?);
        let strings = |text: &str| elements(text)?.into_iter().map(string).collect::<Option<Vec<_>>>();
        let unset = fields.typed("unset", strings)?.unwrap_or_default();
        let set = fields.typed("set", members)?.unwrap_or_default();
        let values = fields.typed("values", elements)?;
        let base = fields.typed("base", number)?.or(base);
        if !has_only_its_fields(text, Some(&op)) || !is_collection(&collection) || !is_id(&id) {
            return None;
        }
        let kind = match op.as_str() {
            "put" => Kind::Put(fields.typed("value", object)??),
            "delete" => Kind::Delete,
            "patch" => {
                let depth_fits =
                    |(path, text): &(String, &str)| path.split('.').count() + nesting(text) <= 64;
                let is_good = set.iter().map(|(path, _)| path).chain(&unset).all(|path| is_path(path))
                    && set.iter().all(depth_fits);
                let set = set.into_iter().map(|(path, text)| (path, kept(text))).collect();
                let patch = Op::Patch(set, unset);
                // Nothing of an empty object is in the way: what is refused there names a path twice.
                let is_good = is_good && Tree::parse("{}").after(&patch).is_ok();
                Kind::Patch(Some(patch).filter(|_| is_good)?, fields.typed("orPut", object)?)
            }
            "add" | "include" | "exclude" => {
                let path = path.filter(|path| is_path(path))?;
                let combine = match op.as_str() {
                    "add" => Op::Add(path, finite(fields.get("by")?)?),
                    "include" => Op::Include(path, scalars(values?)?),
                    _ => Op::Exclude(path, scalars(values?)?),
                };
                Kind::Combine(combine, fields.typed("orPut", object)?)
            }
            _ => return None,
        };
        Some(Self { name: (collection, id), base, kind })
    }

    /// The top-level fields that a patch names; none for another change.
    pub(crate) fn tops(&self) -> Option<BTreeSet<String>> {
        let Kind::Patch(Op::Patch(set, unset), _) = &self.kind else { return None };
        let paths = set.iter().map(|(path, _)| path).chain(unset);
        Some(paths.filter_map(|path| path.split('.').next()).map(str::to_owned).collect())
    }
}

/// The members of an object.
struct Fields<'a>(Vec<(String, &'a str)>);

impl<'a> Fields<'a> {
    /// None for what is no object, or has a name twice.
    fn read(text: &'a str) -> Option<Self> {
        let fields = members(text)?;
        let is_once = |(name, _): &(String, _)| fields.iter().filter(|(other, _)| other == name).count() == 1;
        fields.iter().all(is_once).then_some(Self(fields))
    }

    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, text)| *text).filter(|text| *text != "null")
    }

    /// Of a member that is there it has to be a `read`; then `Some(None)` says that it is absent.
    fn typed<T>(&self, name: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Option<Option<T>> {
        self.get(name).map_or(Some(None), |text| read(text).map(Some))
    }
}

fn is_collection(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_id(id: &str) -> bool {
    (1..=256).contains(&id.len()) && !id.chars().any(char::is_control)
}

fn is_path(path: &str) -> bool {
    let names: Vec<_> = path.split('.').collect();
    let forbidden = ["", "__proto__", "prototype", "constructor"];
    names.len() <= 16 && !names.iter().any(|name| forbidden.contains(name))
}

fn object(text: &str) -> Option<String> {
    (text.starts_with('{') && nesting(text) <= 64).then(|| kept(text))
}

fn finite(text: &str) -> Option<f64> {
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

fn scalars(texts: Vec<&str>) -> Option<Vec<String>> {
    let scalars = texts.iter().all(|text| nesting(text) == 0);
    scalars.then(|| texts.into_iter().map(kept).collect())
}
