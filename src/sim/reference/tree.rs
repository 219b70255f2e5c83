//! A plain tree of JSON and the operations on it as the protocol tells them: slow, recursive and obvious.

use std::cmp::Ordering;

/// Text is UTF-16, as in JavaScript; numbers keep their text; an object holds each name once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Word(String),
    Number(String),
    Text(Vec<u16>),
    List(Vec<Self>),
    Object(Fields),
}

type Fields = Vec<(Vec<u16>, Tree)>;

/// The protocol refuses.
#[derive(Debug, PartialEq)]
pub(crate) struct No;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Patch(Vec<(String, String)>, Vec<String>),
    Add(String, f64),
    Include(String, Vec<String>),
    Exclude(String, Vec<String>),
}

impl Tree {
    /// Reads valid JSON, white space and all.
    pub(crate) fn parse(json: &str) -> Self {
        let mut reader = Reader { characters: json.chars().collect(), at: 0 };
        let tree = reader.value();
        assert_eq!(reader.peek(), '\0', "all of {json} is read");
        tree
    }

    #[cfg(test)]
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::List(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(fields) => 1 + fields.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    pub(crate) fn after(&self, op: &Op) -> Result<Self, No> {
        let mut tree = self.clone();
        match op {
            Op::Patch(set, unset) => tree.patch(set, unset)?,
            Op::Add(path, by) => tree.at(path, true, |fields, name| {
                let number = find(fields, &name).and_then(|at| fields[at].1.number());
                let sum = number.unwrap_or(0.0) + by;
                if !sum.is_finite() {
                    return Err(No);
                }
                put(fields, name, Self::Number(as_javascript(sum)));
                Ok(())
            })?,
            Op::Include(path, values) => tree.list_at(path, values, true, |list, value| {
                if !list.iter().any(|element| element.same_scalar(&value)) {
                    list.push(value);
                }
            })?,
            Op::Exclude(path, values) => {
                tree.list_at(path, values, false, |list, value| {
                    list.retain(|element| !element.same_scalar(&value))
                })?;
            }
        }
        Ok(tree)
    }

    fn patch(&mut self, set: &[(String, String)], unset: &[String]) -> Result<(), No> {
        let paths: Vec<_> = set.iter().map(|(path, _)| path).chain(unset).collect();
        for (at, path) in paths.iter().enumerate() {
            let within = |other: &String| format!("{other}.").starts_with(&format!("{path}."));
            if paths.iter().enumerate().any(|(other, text)| other != at && within(text)) {
                return Err(No);
            }
        }
        for (path, value) in set {
            self.at(path, true, |fields, name| {
                put(fields, name, Self::parse(value));
                Ok(())
            })?;
        }
        for path in unset {
            self.at(path, false, |fields, name| {
                fields.retain(|(other, _)| *other != name);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn list_at(
        &mut self,
        path: &str,
        values: &[String],
        create: bool,
        mut edit: impl FnMut(&mut Vec<Self>, Self),
    ) -> Result<(), No> {
        let values: Vec<_> = values.iter().map(|value| Self::parse(value)).collect();
        if values.iter().any(|value| matches!(value, Self::List(_) | Self::Object(_))) {
            return Err(No);
        }
        self.at(path, create, |fields, name| {
            let existing = find(fields, &name).map(|at| fields[at].1.clone());
            let is_list = matches!(existing, Some(Self::List(_)));
            let mut list = if let Some(Self::List(list)) = existing { list } else { Vec::new() };
            values.into_iter().for_each(|value| edit(&mut list, value));
            if create || is_list {
                put(fields, name, Self::List(list));
            }
            Ok(())
        })
    }

    fn at(
        &mut self,
        path: &str,
        create: bool,
        edit: impl FnOnce(&mut Fields, Vec<u16>) -> Result<(), No>,
    ) -> Result<(), No> {
        let Self::Object(fields) = self else { panic!("a path begins in an object") };
        let Some((name, rest)) = path.split_once('.') else {
            return edit(fields, path.encode_utf16().collect());
        };
        let name: Vec<u16> = name.encode_utf16().collect();
        match find(fields, &name).map(|at| &mut fields[at].1) {
            Some(Self::List(_)) => return Err(No),
            Some(Self::Object(_)) => {}
            _ if !create => return Ok(()),
            _ => put(fields, name.clone(), Self::Object(Vec::new())),
        }
        let at = find(fields, &name).expect("it is there now");
        fields[at].1.at(rest, create, edit)
    }

    fn number(&self) -> Option<f64> {
        if let Self::Number(text) = self { Some(text.parse().expect("a number")) } else { None }
    }

    fn same_scalar(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(_), Self::Number(_)) => self.number() == other.number(),
            (Self::List(_) | Self::Object(_), _) => false,
            _ => self == other,
        }
    }
}

/// The steps of Number::toString in ECMA-262, from the exact decimal expansion of the double.
pub(crate) fn as_javascript(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{:.1100e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e').expect("an exponent");
    let exact = mantissa.replace('.', "");
    let exponent: i32 = exponent.parse().expect("an integer");
    let (digits, point) =
        (1..=17).find_map(|count| shortest(number.abs(), &exact, exponent, count)).expect("17 do");
    let count = digits.len() as i32;
    let zeros = |many: i32| "0".repeat(many as usize);
    let sign = if number < 0.0 { "-" } else { "" };
    let positive = if (count..=21).contains(&point) {
        digits.clone() + &zeros(point - count)
    } else if (1..=21).contains(&point) {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", zeros(-point))
    } else {
        let rest = if count == 1 { String::new() } else { format!(".{}", &digits[1..]) };
        format!("{}{rest}e{:+}", &digits[..1], point - 1)
    };
    format!("{sign}{positive}")
}

/// The digits, and how many of them stand before the point, if `count` digits are enough.
fn shortest(number: f64, exact: &str, exponent: i32, count: usize) -> Option<(String, i32)> {
    let below: u64 = exact[..count].parse().expect("digits");
    let middle = format!("5{}", "0".repeat(exact.len() - count - 1));
    let nearer_above = match exact[count..].cmp(&middle) {
        Ordering::Less => false,
        Ordering::Equal => below % 2 == 1,
        Ordering::Greater => true,
    };
    let candidates = if nearer_above { [below + 1, below] } else { [below, below + 1] };
    let reads_back = |digits: &u64| format!("{digits}e{}", exponent + 1 - count as i32).parse() == Ok(number);
    let digits = candidates.into_iter().find(reads_back)?.to_string();
    let point = exponent + 1 + (digits.len() - count) as i32;
    Some((digits.trim_end_matches('0').to_owned(), point))
}

fn find(fields: &Fields, name: &[u16]) -> Option<usize> {
    fields.iter().position(|(other, _)| other == name)
}

fn put(fields: &mut Fields, name: Vec<u16>, value: Tree) {
    match find(fields, &name) {
        Some(at) => fields[at].1 = value,
        None => fields.push((name, value)),
    }
}

struct Reader {
    characters: Vec<char>,
    at: usize,
}

impl Reader {
    /// The next character that is not white space, or NUL at the end.
    fn peek(&mut self) -> char {
        while self.characters.get(self.at).is_some_and(|next| " \t\r\n".contains(*next)) {
            self.at += 1;
        }
        self.characters.get(self.at).copied().unwrap_or_default()
    }

    fn take(&mut self) -> char {
        self.at += 1;
        self.characters[self.at - 1]
    }

    /// Whether the next token is `token`, which is then taken.
    fn took(&mut self, token: char) -> bool {
        let there = self.peek() == token;
        self.at += usize::from(there);
        there
    }

    fn value(&mut self) -> Tree {
        match self.peek() {
            '"' => Tree::Text(self.text()),
            '[' => Tree::List(self.list()),
            '{' => Tree::Object(self.object()),
            _ => {
                let mut text = String::new();
                while self
                    .characters
                    .get(self.at)
                    .is_some_and(|next| next.is_alphanumeric() || "+-.".contains(*next))
                {
                    text.push(self.take());
                }
                if text.starts_with(char::is_alphabetic) { Tree::Word(text) } else { Tree::Number(text) }
            }
        }
    }

    fn list(&mut self) -> Vec<Tree> {
        let mut list = Vec::new();
        assert!(self.took('['));
        while !self.took(']') {
            assert!(list.is_empty() || self.took(','));
            list.push(self.value());
        }
        list
    }

    fn object(&mut self) -> Fields {
        let mut fields = Vec::new();
        let mut first = true;
        assert!(self.took('{'));
        while !self.took('}') {
            assert!(first || self.took(','));
            first = false;
            assert_eq!(self.peek(), '"');
            let name = self.text();
            assert!(self.took(':'));
            let value = self.value();
            // The last of a name is the field, and it stands where it is written.
            fields.retain(|(other, _)| *other != name);
            fields.push((name, value));
        }
        fields
    }

    fn text(&mut self) -> Vec<u16> {
        let mut units = Vec::new();
        assert_eq!(self.take(), '"');
        loop {
            match self.take() {
                '"' => return units,
                '\\' => units.push(match self.take() {
                    'u' => {
                        let digits: String = (0..4).map(|_| self.take()).collect();
                        u16::from_str_radix(&digits, 16).expect("four digits")
                    }
                    'b' => 8,
                    'f' => 12,
                    'n' => 10,
                    'r' => 13,
                    't' => 9,
                    other => other as u16,
                }),
                other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }
}
