//! What makes two mutations the same, a second time and in the plainest way.

use super::{
    json::nesting,
    tree::{Tree, as_javascript},
};

/// Below so many brackets the contract orders nothing.
const LEVELS: usize = 100;

/// The canonical text of a mutation; none where the contract orders nothing.
pub fn canonical(mutation: &str) -> Option<String> {
    if nesting(mutation) > LEVELS {
        return None;
    }
    let Tree::Object(members) = Tree::parse(mutation) else { return None };
    let counts = |name: &[u16]| [units("at"), units("changes")].iter().any(|counting| counting == name);
    let members = members.into_iter().filter(|(name, value)| counts(name) && !is_word(value, "null"));
    let members = members.map(|(name, value)| {
        let value = if name == units("changes") { changes(value) } else { value };
        (name, value)
    });
    Some(text(&Tree::Object(members.collect())))
}

/// The same mutation, written as differently as it can be.
pub fn respelled(mutation: &str, number: u64) -> Option<String> {
    let Tree::Object(members) = Tree::parse(mutation) else { return None };
    let members = members.iter().rev().filter(|(name, _)| *name != units("id"));
    let members: Vec<_> =
        members.map(|(name, value)| format!("{}:{}", escaped(name), other(value))).collect();
    Some(format!("{{\"id\":{number},{}}}", members.join(",")).replace(",}", "}"))
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn is_word(tree: &Tree, word: &str) -> bool {
    matches!(tree, Tree::Word(text) if text == word)
}

/// Changes, or the records of a resolution, without what says nothing about what is done.
fn changes(list: Tree) -> Tree {
    let Tree::List(list) = list else { return list };
    let change = |change| {
        let Tree::Object(members) = change else { return change };
        let says = |name: &[u16], value: &Tree| match String::from_utf16_lossy(name).as_str() {
            "base" => false,
            "set" => *value != Tree::Object(Vec::new()),
            "unset" => *value != Tree::List(Vec::new()),
            "deleted" => !is_word(value, "false"),
            _ => true,
        };
        let members =
            members.into_iter().filter(|(name, value)| !is_word(value, "null") && says(name, value));
        let members = members.map(|(name, value)| {
            let value = if name == units("records") { changes(value) } else { value };
            (name, value)
        });
        Tree::Object(members.collect())
    };
    Tree::List(list.into_iter().map(change).collect())
}

/// The text of a value, with its members in order.
pub(crate) fn text(tree: &Tree) -> String {
    match tree {
        Tree::Word(word) => word.clone(),
        Tree::Number(digits) => number(digits),
        Tree::Text(units) => quoted(units),
        Tree::List(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(",")),
        Tree::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            let members = members.iter().map(|(name, value)| format!("{}:{}", quoted(name), text(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
    }
}

fn quoted(units: &[u16]) -> String {
    let mut text = String::new();
    for character in char::decode_utf16(units.iter().copied()) {
        text += &match character {
            Err(half) => format!("\\u{:04x}", half.unpaired_surrogate()),
            Ok('"') => "\\\"".to_owned(),
            Ok('\\') => "\\\\".to_owned(),
            Ok('\u{8}') => "\\b".to_owned(),
            Ok('\t') => "\\t".to_owned(),
            Ok('\n') => "\\n".to_owned(),
            Ok('\u{c}') => "\\f".to_owned(),
            Ok('\r') => "\\r".to_owned(),
            Ok(control @ '\0'..' ') => format!("\\u{:04x}", u32::from(control)),
            Ok(other) => other.to_string(),
        };
    }
    format!("\"{text}\"")
}

/// An integer is written out, anything else is a double.
fn number(text: &str) -> String {
    let unsigned = text.trim_start_matches('-');
    let sign = if text == unsigned { "" } else { "-" };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !mantissa.contains(|digit: char| ('1'..='9').contains(&digit)) {
        return "0".to_owned();
    }
    // The number is an integer of these digits, times a power of ten.
    let all = format!("{whole}{fraction}");
    let digits = all.trim_end_matches('0');
    let zeros = all.len() - digits.len();
    let power = exponent
        .parse::<i64>()
        .ok()
        .map(|exponent| i128::from(exponent) + zeros as i128 - fraction.len() as i128);
    let digits = digits.trim_start_matches('0');
    let point = power.and_then(|power| i64::try_from(power + digits.len() as i128).ok());
    let (Some(power), Some(point)) = (power, point) else {
        return if exponent.starts_with('-') { "0".to_owned() } else { text.to_owned() };
    };
    let double: f64 = text.parse().expect("a number");
    if power < 0 && double.is_finite() {
        return as_javascript(double);
    }
    if power >= 0 && point <= 21 {
        return format!("{sign}{digits}{}", "0".repeat(usize::try_from(power).expect("small")));
    }
    let rest = if digits.len() == 1 { String::new() } else { format!(".{}", &digits[1..]) };
    format!("{sign}{}{rest}e{:+}", &digits[..1], point - 1)
}

/// Whether a number stays as it is written.
fn is_beyond_counting(text: &str) -> bool {
    let exponent = text.split_once(['e', 'E']).map_or("0", |(_, exponent)| exponent);
    exponent.parse::<i64>().is_err()
}

fn escaped(units: &[u16]) -> String {
    format!("\"{}\"", units.iter().map(|unit| format!("\\u{unit:04X}")).collect::<String>())
}

fn other(tree: &Tree) -> String {
    match tree {
        Tree::Word(word) => word.clone(),
        Tree::Number(number) if is_beyond_counting(number) => number.clone(),
        Tree::Number(number) if number.contains(['e', 'E']) => number.replace('e', "E"),
        Tree::Number(number) if number.contains('.') => format!("{number}0E-0"),
        Tree::Number(number) => format!("{number}.0E+0"),
        Tree::Text(units) => escaped(units),
        Tree::List(list) => format!("[ {}]", list.iter().map(other).collect::<Vec<_>>().join(" ,\n")),
        Tree::Object(members) => {
            let members =
                members.iter().rev().map(|(name, value)| format!("{} :\t{}", escaped(name), other(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(","))
        }
    }
}
