//! Where in a value an operation works.

use super::Refused;

/// The most names a path may have.
const MOST_NAMES: usize = 16;

/// Names a path may not contain: clients walk paths in JavaScript objects, where these lead to the prototype.
const FORBIDDEN: [&str; 3] = ["__proto__", "prototype", "constructor"];

/// A path of 1 to 16 field names, such as `meta.n`. It only ever leads through objects.
///
/// The text is the path: names hold no dot, so it splits back into the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// Reads names joined by `.` (the decoded text, not a JSON string).
    ///
    /// # Errors
    /// [`Refused::Path`] for more than 16 names, an empty one, or `__proto__`, `prototype` or `constructor`.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let allowed = |name: &str| !name.is_empty() && !FORBIDDEN.contains(&name);
        // The count comes first and stops early, so a long text costs no more than a short one.
        if text.split('.').nth(MOST_NAMES).is_some() || !text.split('.').all(allowed) {
            return Err(Refused::Path);
        }
        Ok(Self(text.to_owned()))
    }

    /// How many names it has.
    #[must_use]
    pub fn names(&self) -> usize {
        self.0.split('.').count()
    }

    /// The first name: the top-level field this path touches.
    pub fn top(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }

    /// The names on the way, from the top down and perhaps none, and the last name.
    pub(super) fn way_and_last(&self) -> (impl Iterator<Item = &str>, &str) {
        let (way, last) = match self.0.rsplit_once('.') {
            Some((way, last)) => (Some(way), last),
            None => (None, self.0.as_str()),
        };
        (way.into_iter().flat_map(|way| way.split('.')), last)
    }
}
