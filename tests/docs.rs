//! What the documentation names exists: files and headings that it links to, tests, faults, commands. A page that says
//! "this test shows it" is worth something only as long as there is such a test.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What stands in a title where its test fills something in.
const ANYTHING: char = '…';

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below a folder whose names end like this.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().ends_with(ending) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

/// Every page of the documentation.
fn pages() -> Vec<PathBuf> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|page| root().join(page));
    [top.to_vec(), files("docs", ".md"), files("kv-schema", ".md")].concat()
}

/// Those that say what shows what.
fn index() -> Vec<PathBuf> {
    ["docs/INVARIANTS.md", "docs/SECURITY.md", "docs/TESTING.md", "docs/DEXIE-CLOUD.md", "CHANGELOG.md"]
        .map(|page| root().join(page))
        .to_vec()
}

/// The text without its fenced blocks.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// What stands in backticks, on one line.
fn names(text: &str) -> Vec<String> {
    let words = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ");
    prose(text).split('`').skip(1).step_by(2).map(words).collect()
}

fn is_code(name: &str) -> bool {
    name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// A name of two words or more, as enums have them: `HeadBeforeObjects`.
fn is_variant(name: &str) -> bool {
    let is_upper = |char: char| char.is_ascii_uppercase();
    is_code(name) && name.starts_with(is_upper) && name.matches(is_upper).count() > 1 && !name.contains('_')
}

/// The functions under `#[test]`, and the claims that `run_claims!` makes tests of.
fn native_tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in [files("src", ".rs"), files("tests", ".rs")].concat() {
        let (mut is_test, mut is_claim) = (false, false);
        for line in read(&file).lines() {
            is_claim = line == "run_claims! {" || (is_claim && line != "}");
            let line = line.trim();
            is_test |= line == "#[test]";
            if let (true, Some(rest)) = (is_test, line.strip_prefix("fn ")) {
                tests.insert(rest.split('(').next().expect("a first piece").to_owned());
                is_test = false;
            } else if let (true, Some(claim)) = (is_claim, line.strip_suffix(',')) {
                tests.insert(claim.to_owned());
            }
        }
    }
    tests
}

/// The titles of the tests and groups of a file, with [`ANYTHING`] for what is filled in.
fn titles(source: &str) -> BTreeSet<String> {
    let calls = source.lines().map(str::trim).filter_map(|line| {
        let call = line.strip_prefix("test(").or_else(|| line.strip_prefix("describe("))?;
        let quote = call.chars().next().filter(|first| ['"', '`'].contains(first))?;
        Some(call[1..].split(quote).next().expect("a first piece").to_owned())
    });
    let filled = |title: String| {
        let mut pieces = title.split("${");
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |title, piece| {
            let rest = piece.split_once('}').map_or(piece, |(_, rest)| rest);
            format!("{title}{ANYTHING}{rest}")
        })
    };
    calls.map(filled).collect()
}

/// The variants of the first enum of this name.
fn variants(source: &str, name: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("enum {name} {{")).expect("the enum");
    let (body, _) = body.split_once("\n}").expect("its end");
    let lines = body.lines().map(str::trim).filter_map(|line| line.strip_suffix(','));
    lines.filter(|line| is_code(line)).map(str::to_owned).collect()
}

fn contains_word(text: &str, word: &str) -> bool {
    let continues = |char: char| char.is_alphanumeric() || char == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(continues) && !text[at + word.len()..].starts_with(continues))
}

/// The anchor that a heading has on GitHub.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|char| char.is_alphanumeric() || [' ', '-', '_'].contains(char));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn assert_none(wrong: &[String], what: &str) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_relative_link_points_at_something_that_exists() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = prose(&read(&page));
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            seen += 1;
            let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
            let folder = page.parent().expect("a folder");
            let file = if path.is_empty() { page.clone() } else { folder.join(path) };
            let has_heading = || {
                let text = read(&file);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                headings.any(|line| anchor(line.trim_start_matches('#')) == fragment)
            };
            if !file.exists() || !(fragment.is_empty() || has_heading()) {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} links were found");
    assert_none(&wrong, "links that lead nowhere");
}

#[test]
fn every_native_test_that_is_named_exists() {
    let tests = native_tests();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in index() {
        for name in names(&read(&page)) {
            let start = name.trim_end_matches(ANYTHING);
            // A claim has at least four words; what has fewer is a function or a field. `h07_…` is every test of H7.
            let is_all = start != name && start.ends_with('_');
            if !is_code(start) || start.contains(|char: char| char.is_ascii_uppercase()) {
                continue;
            }
            if is_all || start.matches('_').count() > 2 {
                seen += 1;
                let exists = if is_all {
                    tests.iter().any(|test| test.starts_with(start))
                } else {
                    tests.contains(start)
                };
                if !exists {
                    wrong.push(format!("{}: {name}", page.display()));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} names of tests were found");
    assert_none(&wrong, "native tests that do not exist");
}

#[test]
fn every_test_on_the_runtime_that_is_named_exists() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in index() {
        for name in names(&read(&page)) {
            let Some((file, title)) = name.split_once(".test.mjs: ") else { continue };
            seen += 1;
            // One of another folder stands there with it: `dexie-cloud/sync.test.mjs: …`.
            let folder = if file.contains('/') { "tests" } else { "tests/runtime" };
            let file = root().join(folder).join(format!("{file}.test.mjs"));
            if !file.exists() || !titles(&read(&file)).contains(title) {
                wrong.push(format!("{}: {name}", page.display()));
            }
        }
    }
    assert!(seen > 30, "only {seen} titles were found");
    assert_none(&wrong, "tests on the runtime that do not exist (`…` stands for what a title has filled in)");
}

#[test]
fn every_function_that_is_named_with_its_type_exists() {
    let sources: Vec<String> = files("src", ".rs").iter().map(|file| read(file)).collect();
    let is_there = |word: &str| sources.iter().any(|source| contains_word(source, word));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in index() {
        for name in names(&read(&page)) {
            let path: Vec<&str> = name.split("::").collect();
            if path.len() == 2
                && path.iter().all(|word| is_code(word))
                && path[0].starts_with(char::is_uppercase)
            {
                seen += 1;
                if !path.iter().all(|word| is_there(word)) {
                    wrong.push(format!("{}: {name}", page.display()));
                }
            }
        }
    }
    assert!(seen > 30, "only {seen} functions were found");
    assert_none(&wrong, "functions that do not exist");
}

#[test]
fn the_faults_of_an_invariant_are_faults_that_tests_plant() {
    let text = read(&root().join("docs/INVARIANTS.md"));
    let rows = |start: &str| -> BTreeSet<String> {
        let rows = text.lines().filter(|line| line.starts_with(start));
        rows.flat_map(names).filter(|name| is_variant(name)).collect()
    };
    let planted = variants(&read(&root().join("src/sim/tests/planted.rs")), "Fault");
    let mistakes = variants(&read(&root().join("tests/model/rules.rs")), "Mistake");
    assert!(!planted.is_empty() && !mistakes.is_empty(), "the enums were read");
    let wrong: Vec<String> = rows("| Planted fault").difference(&planted).cloned().collect();
    assert_none(&wrong, "faults that nobody plants");
    let wrong: Vec<String> =
        rows("| Mistake in the model").symmetric_difference(&mistakes).cloned().collect();
    assert_none(&wrong, "mistakes that the page has and the model has not, or the other way round");
}

#[test]
fn every_command_that_is_named_exists() {
    let package = read(&root().join("package.json"));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages() {
        let text = read(&page);
        for rest in text.split("npm run ").skip(1) {
            let is_part = |char: &char| char.is_ascii_alphanumeric() || *char == '-';
            let command: String = rest.trim_start_matches("-s ").chars().take_while(is_part).collect();
            seen += 1;
            if !package.contains(&format!("\"{command}\": \"")) {
                wrong.push(format!("{}: npm run {command}", page.display()));
            }
        }
    }
    assert!(seen > 10, "only {seen} commands were found");
    assert_none(&wrong, "commands that do not exist");
}

/// Whatever stands in `wrangler.toml` is deployed.
#[test]
fn whoever_reads_how_to_set_a_jurisdiction_reads_that_it_never_changes_over_the_same_namespace() {
    for page in ["README.md", "docs/OPERATIONS.md", "wrangler.toml"] {
        // Comments of the settings are broken into lines.
        let text = read(&root().join(page)).replace("\n# ", " ");
        let says = text.contains("never change it over the same KV namespace")
            || text.lines().any(|line| line.contains("fedramp-high") && line.contains("same KV namespace"));
        assert!(says, "{page}");
    }
}

#[test]
fn wrangler_toml_deploys_nothing_of_local_development() {
    for line in read(&root().join("wrangler.toml")).lines().filter(|line| !line.starts_with('#')) {
        for local in ["localhost", "127.0.0.1", "development", "SECRET"] {
            assert!(!line.contains(local), "`{line}` belongs into .dev.vars: scripts/setup.mjs");
        }
    }
}

/// What is left out there is not left as it was: each deployment sets it anew.
#[test]
fn wrangler_toml_says_what_the_platform_would_otherwise_decide() {
    let config = read(&root().join("wrangler.toml"));
    for (line, why) in [
        (
            r#"compatibility_flags = ["global_fetch_strictly_public"]"#,
            "issuers of the same zone are not reached",
        ),
        ("[observability]", "each deployment turns the platform's logs off"),
        ("redact_query_string = true", "logs hold the names of spaces"),
        ("logs = { invocation_logs = false }", "logs cost three times what polls do"),
        (r#"name = "RATE_LIMITER""#, "nothing bounds what one account makes"),
    ] {
        assert!(config.lines().any(|there| there == line), "without `{line}` {why}");
    }
}
