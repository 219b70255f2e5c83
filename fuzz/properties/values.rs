//! Values as text.

use std::{borrow::Cow, collections::BTreeMap};

use headwater::{
    json::{fields, touched},
    value::{Compact, compact},
};
use serde_json::Value;

use super::reference::json::{elements, is_fit, is_json, kept, members, nesting, spaced};

/// A JSON text without white space is the same value to another reader, and stays what it is; its fields are those of the
/// object. Other text makes nothing panic. Of an array of two objects also what differs between them.
pub(crate) fn value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Compact { text: short, depth, unfit } = compact(text);
    if !is_json(text) {
        let _ = (fields(text), touched(text, "{}"), touched("{}", text));
        return;
    }
    assert_eq!(short, kept(text), "nothing but the white space between tokens is gone");
    assert_eq!(unfit.is_none(), is_fit(text), "every device can read it, or it is refused");
    assert_eq!(depth, nesting(text));
    assert_eq!(compact(&short), Compact { text: Cow::Borrowed(&short), depth, unfit });
    assert!(matches!(compact(&short).text, Cow::Borrowed(_)));
    assert_eq!(compact(&spaced(text, " \r\n\t")).text, short, "whatever white space there was");
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    assert_eq!(read(&short), read(text), "another reader reads the same");
    if short.starts_with('{') {
        assert_fields(&short);
    }
    if let Some([before, after]) = elements(&short).as_deref()
        && before.starts_with('{')
        && after.starts_with('{')
    {
        assert_touched(before, after);
    }
}

fn assert_fields(object: &str) {
    let own = fields(object);
    for (_, value) in &own {
        assert!(is_json(value), "{value} is no value");
    }
    // A name that is no Rust text cannot be read by the other reader.
    let Some(others) = members(object) else { return };
    let own: Vec<_> = own.iter().map(|(name, value)| (&**name, *value)).collect();
    let others = others.iter().enumerate().filter(|(at, (name, _))| {
        let later = others.get(at + 1..).into_iter().flatten();
        !later.into_iter().any(|(later, _)| later == name)
    });
    let others: Vec<_> = others.map(|(_, (name, value))| (name.as_str(), *value)).collect();
    assert_eq!(own, others);
}

fn assert_touched(before: &str, after: &str) {
    let mut names = touched(before, after);
    let (Some(old), Some(new)) = (members(before), members(after)) else { return };
    let (old, new): (BTreeMap<_, _>, BTreeMap<_, _>) = (old.into_iter().collect(), new.into_iter().collect());
    let all: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differ: Vec<_> = all.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect();
    names.sort();
    assert_eq!(names, differ);
}
