//! The house: which room may import which, how long files and functions are, and that the two executors have no thresholds of
//! their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The rooms of `src/`, lowest first. Those of one floor do not import each other; each may import those below it, …
const FLOORS: &[&[&str]] = &[
    &["ids", "limits", "log", "planted", "role", "time"],
    &["shares", "version"],
    &["json"],
    &["value", "snapshot"],
    &["mutation"],
    &["error"],
    &["call"],
    &["access"],
    &["fronts"],
    &["edge", "coordinator"],
    &["config"],
    &["sim"],
];

/// … but for these: what decides once per space learns of no front, and of nobody's tokens.
const NEVER: &[(&str, &str)] = &[("coordinator", "fronts"), ("coordinator", "access")];

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "js") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path below `src/`.
fn name(path: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    path.strip_prefix(root).expect("below src").to_str().expect("a name").to_owned()
}

fn is_test(path: &Path) -> bool {
    let name = name(path);
    name.ends_with("/tests.rs") || name.contains("/tests/")
}

/// The text of a file as it ships: without its tests.
fn shipped(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a file");
    let end = ["mod tests", "pub(crate) mod tests"]
        .iter()
        .filter_map(|tests| text.find(&format!("#[cfg(test)]\n{tests} {{")))
        .min();
    text[..end.unwrap_or(text.len())].to_owned()
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The rooms that a text imports: the first name of each path that begins with `crate::`.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => rooms.push(rest),
            Some(group) => {
                let mut depth = 0;
                let mut begins = true;
                for (at, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        character if begins && character.is_ascii_alphabetic() => {
                            rooms.push(&group[at..]);
                            begins = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let word =
        |text: &str| text.chars().take_while(|one| one.is_ascii_alphanumeric() || *one == '_').collect();
    rooms.into_iter().map(word).collect()
}

#[test]
fn imports_run_one_way() {
    let mut wrong = String::new();
    for path in sources("src") {
        let name = name(&path);
        let room = name.split(['/', '.']).next().unwrap_or_default();
        if is_test(&path) || matches!(room, "lib" | "planted" | "worker") {
            continue;
        }
        let own = floor_of(room).unwrap_or_else(|| panic!("{name}: FLOORS has no room {room}"));
        for imported in imports(&shipped(&path)).iter().filter(|imported| *imported != room) {
            let is_forbidden = NEVER.contains(&(room, imported.as_str()));
            if is_forbidden || floor_of(imported).is_some_and(|floor| floor >= own) {
                wrong += &format!("{name} imports {imported}, which is not below {room}\n");
            }
        }
        // Paths out of the room by another way than `crate::` would not be seen above.
        let depth = name.split('/').filter(|part| *part != "mod.rs").count();
        let climbs = "super::".repeat(depth);
        let text = shipped(&path);
        let leaves = |line: &str| line.contains(&climbs) || line.contains("use crate as ");
        if text.lines().any(|line| leaves(&code(line))) {
            wrong += &format!("{name} leaves its room by `super`, or renames `crate`\n");
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn no_file_has_more_than_400_lines_without_its_tests() {
    let long = sources("src").into_iter().filter(|path| !is_test(path)).filter_map(|path| {
        let lines = shipped(&path).lines().count();
        (lines > 400).then(|| format!("{} has {lines} lines", name(&path)))
    });
    assert_eq!(long.collect::<Vec<_>>().join("\n"), "");
}

#[test]
fn no_function_has_more_than_70_lines() {
    let mut long = String::new();
    for path in sources("src").into_iter().filter(|path| !is_test(path)) {
        let text = shipped(&path);
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let head = line.trim_start();
            let is_function = ["fn ", "function "]
                .iter()
                .any(|word| head.starts_with(word) || head.contains(&format!(" {word}")));
            if !is_function || head.starts_with("//") || head.ends_with(';') {
                continue;
            }
            // It ends with the next line that is indented as it is, and is neither the end of its head nor of its bounds.
            let indent = &line[..line.len() - head.len()];
            let goes_on = |line: &&str| line.ends_with('{') || *line == format!("{indent}where");
            let ends = |line: &&str| {
                let rest = line.strip_prefix(indent).unwrap_or(" ");
                !rest.is_empty() && !rest.starts_with(' ') && !goes_on(line)
            };
            let length = lines[at + 1..].iter().position(ends).map_or(1, |last| last + 2);
            if length > 70 {
                long += &format!("{}:{} has {length} lines\n", name(&path), at + 1);
            }
        }
    }
    assert_eq!(long, "");
}

/// A line of Rust or JavaScript without its comment, and without what stands in quotes.
fn code(line: &str) -> String {
    let line = line.split(" //").next().unwrap_or_default();
    if line.trim_start().starts_with("//") || line.trim_start().starts_with("#[") {
        return String::new();
    }
    line.split(['"', '`']).step_by(2).collect()
}

/// The numbers in a line, without those that are part of a name.
fn numbers(line: &str) -> Vec<String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = line.split(|character| !is_of_name(character));
    words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned).collect()
}

/// How much and how long is said in `limits.rs` and in the rooms that decide. Left to those who carry out are bases and units,
/// statuses, and places in a list.
#[test]
fn the_executors_have_no_thresholds_of_their_own() {
    const KNOWN: &[&str] =
        &["8", "36", "1000", "1_000", "101", "200", "304", "429", "500", "9_007_199_254_740_992"];
    /// Facts about the platform: how often and how soon it repeats an alarm whose handler has failed.
    const OF_THE_PLATFORM: &[&str] = &["RETRIES_MAX", "RETRY_MS"];
    let of_sim = |path: &PathBuf| {
        let name = name(path);
        name.starts_with("sim/host/")
            || ["sim/location.rs", "sim/visits.rs", "sim/errands.rs"].contains(&name.as_str())
    };
    let (mut wrong, mut met) = (String::new(), BTreeSet::new());
    for path in sources("src/worker").into_iter().chain(sources("src/sim").into_iter().filter(of_sim)) {
        for (at, line) in shipped(&path).lines().enumerate() {
            if OF_THE_PLATFORM.iter().any(|fact| line.contains(fact)) {
                continue;
            }
            for number in numbers(&code(line)) {
                let digits: String = number.chars().filter(char::is_ascii_digit).collect();
                let is_place = digits.parse().is_ok_and(|number: u64| number <= 4);
                if !is_place && !KNOWN.contains(&number.as_str()) {
                    wrong += &format!("{}:{}: {}\n", name(&path), at + 1, line.trim());
                }
                met.insert(number);
            }
        }
    }
    let gone = KNOWN.iter().filter(|known| !met.contains(**known));
    assert_eq!(gone.collect::<Vec<_>>(), Vec::<&&str>::new(), "nobody needs these any more");
    assert_eq!(wrong, "");
}

#[test]
fn no_type_has_the_name_of_one_in_another_room() {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources("src").into_iter().filter(|path| !is_test(path)) {
        let room = name(&path).split(['/', '.']).next().unwrap_or_default().to_owned();
        if matches!(room.as_str(), "sim" | "worker") {
            continue;
        }
        for line in shipped(&path).lines() {
            let line = ["pub ", "pub(crate) ", "pub(super) "].iter().find_map(|seen| line.strip_prefix(seen));
            let line = line.unwrap_or_default();
            let named =
                ["struct ", "enum ", "trait ", "type "].iter().find_map(|kind| line.strip_prefix(kind));
            if let Some(named) = named {
                let named = named.chars().take_while(char::is_ascii_alphanumeric).collect();
                types.entry(named).or_default().push(room.clone());
            }
        }
    }
    let mut twice = String::new();
    for (named, mut rooms) in types {
        rooms.sort();
        rooms.dedup();
        // Both machines, object and visit, have events and effects.
        if rooms.len() > 1 && !["Effect", "Event"].contains(&named.as_str()) {
            twice += &format!("{named}: {}\n", rooms.join(", "));
        }
    }
    assert_eq!(twice, "", "one name, several things");
}
