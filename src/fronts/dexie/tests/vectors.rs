//! Changes of values, against what the code of the client makes of them: `fixtures/dexie.mjs`.

use serde_json::Value;

use crate::fronts::dexie::spec::changed;

#[test]
fn a_change_comes_to_what_the_client_has_made_of_its_own_row() {
    let cases: Value = serde_json::from_str(include_str!("../../../../fixtures/dexie.json")).expect("JSON");
    let mut wrong = Vec::new();
    for case in cases.as_array().expect("a list") {
        let [value, spec, expected] = [0, 1, 2].map(|at| case[at].as_str().expect("a text"));
        let result = changed(value, spec, &[], &mut usize::MAX.clone()).map_err(|why| why.detail);
        // The order of names says nothing, and numbers may be spelled as they came.
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        if result.as_deref().map(read) != Ok(read(expected)) {
            wrong.push(format!("{value} + {spec} = {expected}, not {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
