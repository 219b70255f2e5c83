//! The body of a push, against a second reading of the same JSON.

use headwater::{
    call::{PushRequest, Reading},
    error::ApiError,
    ids::ClientId,
    limits,
    mutation::{Change, Decision, Mutation, MutationDigest, Op, Resolution, Submitted},
    value::{Path, compact},
    version::{ConflictId, Epoch, Version},
};

use super::reference::{
    canonical::{canonical, respelled},
    json::{
        elements, has_repeated, is_fit, is_json, kept, members, nesting, number, raw_members, spaced, string,
    },
    reading::{MUTATION, has_only_its_fields},
};

/// A body whose envelope is in order is a push, whatever its mutations are; anything else is refused with 400 or 413. What
/// is accepted says what the JSON says and lies within the limits. White space changes nothing, digests included.
pub(crate) fn push(body: &[u8]) {
    let read = PushRequest::parse(body);
    let text = std::str::from_utf8(body).ok();
    let envelope = text.and_then(envelope);
    let push = match read {
        Ok(push) => push,
        Err(ApiError::TooLarge(_)) => return,
        Err(ApiError::Malformed(detail)) => {
            assert!(envelope.is_none(), "the envelope is in order and was refused: {detail}");
            return;
        }
        Err(other) => panic!("a push is refused with {other:?}"),
    };
    let text = text.expect("a push is text");
    assert!(is_json(text));
    let Some(mutations) = envelope else { panic!("the envelope is not in order and was taken") };
    assert_eq!(push.mutations.len(), mutations.len());
    for (submitted, text) in push.mutations.iter().zip(&mutations) {
        assert_submitted(submitted, text);
    }
    let wide = spaced(text, "\r\n \t");
    if wide.len() < limits::MUTATION_BYTES_MAX {
        let again = PushRequest::parse(wide.as_bytes()).expect("white space is nothing");
        assert_eq!(format!("{again:?}"), format!("{push:?}"));
    }
}

/// The mutations of a push whose envelope is in order.
fn envelope(text: &str) -> Option<Vec<&str>> {
    let members = members(text)?;
    let known = ["client", "epoch", "since", "acked", "onConflict", "mutations"];
    let is_once = |name: &String| members.iter().filter(|(other, _)| other == name).count() == 1;
    if !members.iter().all(|(name, _)| known.contains(&name.as_str()) && is_once(name)) {
        return None;
    }
    let field = |wanted: &str| {
        members.iter().find(|(name, _)| name == wanted).map(|(_, text)| *text).filter(|text| *text != "null")
    };
    ClientId::parse(&string(field("client")?)?).ok()?;
    if let Some(epoch) = field("epoch") {
        Epoch::parse(&string(epoch)?)?;
    }
    let since = field("since").map_or(Some(0), number)?;
    field("acked").map_or(Some(0), number)?;
    if let Some(policy) = field("onConflict") {
        ["reject", "merge", "overwrite"].contains(&string(policy)?.as_str()).then_some(())?;
    }
    if since > 0 && field("epoch").is_none() {
        return None;
    }
    let mutations = elements(field("mutations")?)?;
    let ids = mutations.iter().map(|mutation| only(mutation, "id").and_then(number).filter(|id| *id > 0));
    let ids: Vec<u64> = ids.collect::<Option<_>>()?;
    ids.windows(2).all(|pair| pair[0] + 1 == pair[1]).then_some(mutations)
}

/// The one member of that name.
pub(super) fn only<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let members = raw_members(object)?;
    let is_it = |other: &str| string(other).as_deref() == Some(name);
    let mut found = members.into_iter().filter(|(other, _)| is_it(other)).map(|(_, text)| text);
    found.next().filter(|_| found.next().is_none())
}

fn assert_submitted(submitted: &Submitted, text: &str) {
    assert_eq!(Some(submitted.id), only(text, "id").and_then(number));
    assert_same(submitted, text);
    let Some(mutation) = submitted.intent.mutation() else { return };
    let names = members(text).expect("a mutation is an object");
    assert!(names.iter().all(|(name, _)| MUTATION.contains(&name.as_str())), "nothing is passed over");
    let changes = only(text, "changes").expect("a mutation has changes");
    assert_eq!(submitted.changes, kept(changes), "what is parked is what was pushed");
    assert!(is_fit(changes) && !has_repeated(changes), "every device can read it");
    let after = only(text, "after").filter(|after| *after != "null");
    let after = after.map_or_else(Vec::new, |after| elements(after).unwrap_or_else(|| vec![after]));
    let after: Vec<_> = after.into_iter().map(|name| string(name).expect("a name is a string")).collect();
    assert_eq!(mutation.after.iter().map(ConflictId::to_string).collect::<Vec<_>>(), after);
    let base = only(text, "base").filter(|base| *base != "null");
    let changes = elements(changes).expect("changes are an array");
    assert_eq!(mutation.changes.len() + mutation.resolutions.len(), changes.len());
    assert!(mutation.size() <= limits::MUTATION_CHANGES_MAX);
    let (mut ordinary, mut resolutions) = (mutation.changes.iter().enumerate(), mutation.resolutions.iter());
    let mut read = 0;
    for text in changes {
        if only(text, "op").and_then(string).as_deref() == Some("resolve") {
            let resolution = resolutions.next().expect("a resolution");
            assert_eq!(resolution.at, read, "it stands where it was written");
            assert_resolution(resolution, text, base);
        } else {
            let (at, change) = ordinary.next().expect("a change");
            read = at + 1;
            assert_change(change, text, base);
        }
    }
    let parked = elements(&submitted.changes).expect("an array");
    let parked = Mutation::parked(parked.into_iter()).expect("what was taken is taken again");
    assert_eq!(parked.size(), mutation.size());
}

/// The digest is that of the canonical text, and another spelling has it too.
fn assert_same(submitted: &Submitted, text: &str) {
    let Some(canonical) = canonical(text) else { return };
    // Halves of surrogate pairs have no place in the order of names; what has one is rejected.
    if spaced(text, "\n").split('\n').all(|token| !token.starts_with('"') || string(token).is_some()) {
        assert_eq!(submitted.digest, MutationDigest::of(&canonical), "{canonical}");
    }
    let respelled = respelled(text, submitted.id).expect("a mutation is an object");
    let push = format!(r#"{{"client":"client-0","mutations":[{respelled}]}}"#);
    if let Ok(again) = PushRequest::parse(push.as_bytes()) {
        assert_eq!(again.mutations[0].digest, submitted.digest, "{respelled}");
    }
}

fn assert_resolution(resolution: &Resolution, text: &str, base: Option<&str>) {
    assert!(has_only_its_fields(text, Some("resolve")), "nothing is passed over");
    let given = |name: &str| only(text, name).filter(|text| *text != "null");
    assert_eq!(given("conflict").and_then(string), Some(resolution.conflict.to_string()));
    let base = given("base").or(base);
    assert_eq!(
        resolution.base.map(Version::get),
        base.map(|base| number(base).expect("a base is a version"))
    );
    let take = match &resolution.decision {
        Decision::Mine => Some("mine"),
        Decision::Theirs => Some("theirs"),
        Decision::Records(records) => {
            let written = given("records").and_then(elements).expect("records are an array");
            assert_eq!(records.len(), written.len());
            for (record, text) in records.iter().zip(written) {
                assert_record(record, text, base);
            }
            None
        }
    };
    assert_eq!(given("take").and_then(string).as_deref(), take);
}

fn assert_record(record: &Change, text: &str, base: Option<&str>) {
    assert!(has_only_its_fields(text, None), "nothing is passed over");
    let given = |name: &str| only(text, name).filter(|text| *text != "null");
    assert_eq!(given("collection").and_then(string).as_deref(), Some(record.key.collection.as_str()));
    assert_eq!(given("id").and_then(string).as_deref(), Some(record.key.id.as_str()));
    let base = given("base").or(base).map(|base| number(base).expect("a base is a version"));
    assert_eq!(record.base.map(Version::get), base);
    match &record.op {
        Op::Put(value) => assert_value(Some(value), given("value")),
        Op::Delete => assert_eq!((given("deleted"), given("value")), (Some("true"), None)),
        other => panic!("a record of a resolution is put or deleted, not {other:?}"),
    }
}

/// The body of `POST /sync/conflict` is the push of one mutation of resolutions, or refused with 400 or 413.
pub(crate) fn resolutions(body: &[u8]) {
    let push = match PushRequest::read_resolutions(body.to_vec()).and_then(Reading::finish) {
        Ok(push) => push,
        Err(ApiError::TooLarge(_) | ApiError::Malformed(_)) => return,
        Err(other) => panic!("resolutions are refused with {other:?}"),
    };
    let text = std::str::from_utf8(body).expect("resolutions are text");
    assert!(is_json(text));
    let member = |name: &str| only(text, name);
    assert_eq!(Some(push.client.as_str()), member("client").and_then(string).as_deref());
    assert_eq!(push.mutations.len(), 1);
    let submitted = &push.mutations[0];
    assert_eq!(Some(submitted.id), member("id").and_then(number));
    if let Some(mutation) = submitted.intent.mutation() {
        assert!(
            mutation.changes.is_empty() && mutation.after.is_empty(),
            "it resolves and does nothing else"
        );
        let written = member("resolutions").and_then(elements).expect("resolutions are an array");
        assert_eq!(mutation.resolutions.len(), written.len());
        let base = member("base").filter(|base| *base != "null");
        for (resolution, text) in mutation.resolutions.iter().zip(&written) {
            assert_resolution(resolution, text, base);
        }
        let op = |text: &&str| kept(text).replacen('{', "{\"op\":\"resolve\",", 1);
        let changes: Vec<_> = written.iter().map(op).collect();
        let at = member("at").map_or_else(String::new, |at| format!("\"at\":{at},"));
        let push = format!("{{{at}\"changes\":[{}]}}", changes.join(","));
        assert_same(submitted, &push);
    }
    let wide = spaced(text, "\r\n \t");
    if wide.len() < limits::MUTATION_BYTES_MAX {
        let again = PushRequest::read_resolutions(wide.into_bytes())
            .and_then(Reading::finish)
            .expect("white space is nothing");
        assert_eq!(format!("{again:?}"), format!("{push:?}"));
    }
}

fn assert_change(change: &Change, text: &str, base: Option<&str>) {
    let given = |name: &str| only(text, name).filter(|text| *text != "null");
    let named = |name: &str| given(name).and_then(string);
    assert_eq!(named("collection").as_deref(), Some(change.key.collection.as_str()));
    assert_eq!(named("id").as_deref(), Some(change.key.id.as_str()));
    let base = given("base").or(base).map(|base| number(base).expect("a base is a version"));
    assert_eq!(change.base.map(Version::get), base);
    let name = match &change.op {
        Op::Put(value) => {
            assert_value(Some(value), given("value"));
            "put"
        }
        Op::Delete => "delete",
        Op::Patch { set, unset, or_put } => {
            let written = given("set").map_or_else(Vec::new, |set| members(set).expect("set is an object"));
            assert_eq!(set.len(), written.len());
            for ((path, value), (name, text)) in set.iter().zip(written) {
                assert_eq!(Ok(path), Path::parse(&name).as_ref());
                assert_eq!(*value, kept(text));
                assert!(path.names() + nesting(value) <= limits::VALUE_DEPTH_MAX);
            }
            let written = given("unset").map_or_else(Vec::new, |text| elements(text).expect("an array"));
            let written = written.iter().map(|name| Path::parse(&string(name).expect("a string")));
            assert_eq!(written.collect::<Result<Vec<_>, _>>().as_ref(), Ok(unset));
            assert_value(or_put.as_ref(), given("orPut"));
            "patch"
        }
        Op::Add { path, by, or_put } => {
            let written = given("by").expect("by is given");
            assert_eq!(written.parse(), Ok(*by), "as the nearest double");
            assert!(by.is_finite());
            assert_on_path(path, or_put, &given);
            "add"
        }
        Op::Include { path, values, or_put } => {
            assert_scalars(values, given("values"));
            assert_on_path(path, or_put, &given);
            "include"
        }
        Op::Exclude { path, values, or_put } => {
            assert_scalars(values, given("values"));
            assert_on_path(path, or_put, &given);
            "exclude"
        }
    };
    assert_eq!(named("op").as_deref(), Some(name));
    assert!(has_only_its_fields(text, Some(name)), "nothing is passed over");
}

fn assert_on_path<'a>(path: &Path, or_put: &Option<String>, given: &impl Fn(&str) -> Option<&'a str>) {
    let written = given("path").and_then(string).expect("a path");
    assert_eq!(Ok(path), Path::parse(&written).as_ref());
    assert_value(or_put.as_ref(), given("orPut"));
}

/// A record's value is the object that was written, compact and within the limits.
fn assert_value(value: Option<&String>, written: Option<&str>) {
    assert_eq!(value.cloned(), written.map(kept));
    if let Some(value) = value {
        assert!(value.starts_with('{') && is_json(value));
        assert!(value.len() <= limits::VALUE_BYTES_MAX && compact(value).depth <= limits::VALUE_DEPTH_MAX);
    }
}

fn assert_scalars(values: &[String], written: Option<&str>) {
    let written = elements(written.expect("values are given")).expect("values are an array");
    assert!(values.iter().eq(written.into_iter().map(kept).collect::<Vec<_>>().iter()));
    assert!(values.iter().all(|value| nesting(value) == 0 && is_json(value)));
}
