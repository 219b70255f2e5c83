//! A change of a value: by the paths of its properties, as the client's own code walks them.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    propmod::{Modified, PropMod},
    tson::{UNDEFINED, Value, escaped, is_own, number_of_text, unescaped},
};
use crate::{
    json::{Members, decoded, elements, json_text, members, text_of},
    limits,
    mutation::{RejectCode, Rejection},
};

/// A value after a change. `primary` are the properties that make its key: those are left as they are. `work` is how many bytes of
/// texts may be gone through, and becomes less.
///
/// # Errors
/// When the result would be no value that may be stored, or too much work.
pub(super) fn changed(
    value: &str,
    spec: &str,
    primary: &[String],
    work: &mut usize,
) -> Result<String, Rejection> {
    if spec.len() > limits::VALUE_BYTES_MAX {
        return Err(Rejection::new(RejectCode::TooLarge, "what changes a record has at most 256 KiB"));
    }
    spend(work, spec.len())?;
    let mut object = Object::of(value, work)?;
    for (path, change) in members(spec) {
        let Some(path) = text_of(path) else { continue };
        let path = unescaped(&path);
        if primary.iter().any(|name| name == path) {
            continue;
        }
        if let Some(change) = PropMod::of(change) {
            let there = object.found(path, 0);
            spend(work, there.as_deref().map_or(0, str::len))?;
            match change.execute(there.as_deref()) {
                Modified::Unchanged => false,
                Modified::Undefined => object.set(path, None, 1, work)?,
                Modified::Now(now) => object.set(path, Some(&now), 1, work)?,
            };
        } else {
            let change = Some(change).filter(|change| Value::of(change) != Value::Undefined);
            object.set(path, change, 1, work)?;
        }
    }
    Ok(object.text())
}

fn spend(work: &mut usize, bytes: usize) -> Result<(), Rejection> {
    *work = work.checked_sub(bytes).ok_or_else(too_much)?;
    Ok(())
}

/// What a transaction is rejected for that has used up its work.
pub(super) fn too_much() -> Rejection {
    Rejection::new(RejectCode::TooLarge, "a transaction goes through at most 64 MiB of values")
}

/// An object whose members are being changed.
struct Object<'a> {
    members: Vec<(Cow<'a, str>, Option<Cow<'a, str>>)>,
    /// Where in `members` a name is.
    by_name: BTreeMap<Cow<'a, [u8]>, usize>,
}

impl<'a> Object<'a> {
    fn of(text: &'a str, work: &mut usize) -> Result<Self, Rejection> {
        spend(work, text.len())?;
        let mut object = Self { members: Vec::new(), by_name: BTreeMap::new() };
        for member in Members::of(text) {
            object.by_name.insert(decoded(member.name), object.members.len());
            object.members.push((member.name.into(), Some(member.value.into())));
        }
        Ok(object)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.members[*self.by_name.get(name.as_bytes())?].1.as_deref()
    }

    fn put(&mut self, name: &str, value: Option<&str>) {
        let value = value.map(|value| Cow::Owned(value.to_owned()));
        match self.by_name.get(name.as_bytes()) {
            Some(at) => self.members[*at].1 = value,
            None if value.is_some() => {
                self.by_name.insert(name.as_bytes().to_vec().into(), self.members.len());
                self.members.push((json_text(name).into(), value));
            }
            None => {}
        }
    }

    /// What stands at a path. A property whose own name has dots comes first.
    fn found(&self, path: &str, level: usize) -> Option<Cow<'_, str>> {
        if let Some(there) = self.get(&escaped(path)) {
            return Some(there.into());
        }
        let (name, rest) = path.split_once('.')?;
        found_in(self.get(&escaped(name))?, rest, level + 1)
    }

    /// Sets what stands at a path, or removes it. Whether anything may be different.
    fn set(
        &mut self,
        path: &str,
        value: Option<&str>,
        level: usize,
        work: &mut usize,
    ) -> Result<bool, Rejection> {
        let (name, rest) = step(path);
        if !is_own(name) {
            return Ok(false);
        }
        let name = escaped(name);
        let Some(rest) = rest else {
            self.put(&name, value);
            return Ok(true);
        };
        let inner = within(self.get(&name), rest, value, level, work)?;
        if let Some(inner) = &inner {
            self.put(&name, Some(inner));
        }
        Ok(inner.is_some())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.members {
            let Some(value) = value else { continue };
            text.push(if text.is_empty() { '{' } else { ',' });
            text.extend([name, ":", value]);
        }
        text.push_str(if text.is_empty() { "{}" } else { "}" });
        text
    }
}

/// The first name of a path, and the rest of it. A dot at the end says nothing.
fn step(path: &str) -> (&str, Option<&str>) {
    match path.split_once('.') {
        Some((name, "")) => (name, None),
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    }
}

/// What a property is after a change of what is within it; none if it stays as it is.
fn within(
    there: Option<&str>,
    path: &str,
    value: Option<&str>,
    level: usize,
    work: &mut usize,
) -> Result<Option<String>, Rejection> {
    let is_there = there.filter(|there| Value::of(there).is_truthy());
    if is_there.is_none() && value.is_none() {
        return Ok(None);
    }
    if level >= limits::VALUE_DEPTH_MAX {
        let rule = "a value is nested at most 64 deep";
        return if value.is_some() { Err(Rejection::new(RejectCode::TooLarge, rule)) } else { Ok(None) };
    }
    let there = is_there.unwrap_or("{}");
    match Value::of(there) {
        Value::Object(_) => {
            let mut object = Object::of(there, work)?;
            Ok(object.set(path, value, level + 1, work)?.then(|| object.text()))
        }
        Value::Array(_) => within_array(there, path, value, level, work),
        // Nothing sticks to what is neither.
        _ => Ok(None),
    }
}

fn within_array(
    array: &str,
    path: &str,
    value: Option<&str>,
    level: usize,
    work: &mut usize,
) -> Result<Option<String>, Rejection> {
    spend(work, array.len())?;
    let mut all: Vec<Cow<'_, str>> = elements(array).map(Cow::Borrowed).collect();
    let (name, rest) = step(path);
    let at = index(name);
    match (rest, value, at) {
        (None, None, _) => {
            let Some(at) = splice_start(name, all.len()) else { return Ok(None) };
            if at < all.len() {
                all.remove(at);
            }
        }
        // An element beyond the bounds of a value.
        (_, Some(_), Some(at)) if at > all.len() + limits::VALUE_BYTES_MAX / UNDEFINED.len() => {
            let rule = "a value has at most 256 KiB";
            return Err(Rejection::new(RejectCode::TooLarge, rule));
        }
        (None, Some(value), Some(at)) => put_element(&mut all, at, value),
        (Some(rest), _, Some(at)) => {
            let inner = within(all.get(at).map(|element| &**element), rest, value, level + 1, work)?;
            let Some(inner) = inner else { return Ok(None) };
            put_element(&mut all, at, &inner);
        }
        // A property of an array is no part of its text.
        (_, _, None) => return Ok(None),
    }
    Ok(Some(format!("[{}]", all.join(","))))
}

fn put_element(all: &mut Vec<Cow<'_, str>>, at: usize, value: &str) {
    if at >= all.len() {
        all.resize(at + 1, UNDEFINED.into());
    }
    all[at] = Cow::Owned(value.to_owned());
}

/// The index that a property of an array is.
fn index(name: &str) -> Option<usize> {
    let is_index = name == "0" || !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_index)
}

/// Which element `splice(name, 1)` removes, if the name begins with a number.
fn splice_start(name: &str, length: usize) -> Option<usize> {
    let digits = name.trim_start().strip_prefix(['+', '-']).unwrap_or(name.trim_start());
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let number = number_of_text(name.as_bytes());
    let from = if number.is_nan() { 0.0 } else { number.trunc() };
    // As a cast of a double goes: below 0 to 0, and beyond all numbers to the last.
    Some(if from < 0.0 { (length as f64 + from) as usize } else { from as usize })
}

/// What stands at a path in a value.
fn found_in<'a>(value: &'a str, path: &str, level: usize) -> Option<Cow<'a, str>> {
    if level > limits::VALUE_DEPTH_MAX {
        return None;
    }
    let named = |wanted: &str| {
        let wanted = escaped(wanted);
        let found = Members::of(value).filter(|member| *decoded(member.name) == *wanted.as_bytes());
        found.last().map(|member| member.value)
    };
    match Value::of(value) {
        Value::Object(_) => {
            if let Some(there) = named(path) {
                return Some(there.into());
            }
            let (name, rest) = path.split_once('.')?;
            found_in(named(name)?, rest, level + 1)
        }
        Value::Array(_) => match path.split_once('.') {
            None => elements(value).nth(index(path)?).map(Cow::Borrowed),
            Some((name, rest)) => found_in(elements(value).nth(index(name)?)?, rest, level + 1),
        },
        _ => None,
    }
}
