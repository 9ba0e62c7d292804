//! Headers that keep order and duplicates.

use std::borrow::Cow;

use super::HeaderValue;

/// Name of a header; a literal costs no allocation.
pub type Name = Cow<'static, str>;

/// Named values in the order in which they were added; a name may occur several times.
///
/// ```
/// use binder_core::message::Headers;
///
/// let headers = Headers::new().with("tenant", "acme").with("hops", 2).with("hops", 3);
/// assert_eq!(headers.get("hops").and_then(|value| value.as_i64()), Some(3));
/// assert_eq!(headers.get_all("hops").count(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers(Vec<(Name, HeaderValue)>);

impl Headers {
    /// Creates empty headers; allocates nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Creates empty headers with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Appends copies of those that `keep` wants; a name that is a literal stays one.
    pub(crate) fn append_some(&mut self, from: &Self, keep: impl Fn(&str) -> bool) {
        self.0.extend(from.0.iter().filter(|(name, _)| keep(name)).cloned());
    }

    /// Appends a header and returns all.
    #[must_use]
    pub fn with(mut self, name: impl Into<Name>, value: impl Into<HeaderValue>) -> Self {
        self.append(name, value);
        self
    }

    /// Appends a header; those of the same name stay.
    pub fn append(&mut self, name: impl Into<Name>, value: impl Into<HeaderValue>) {
        self.0.push((name.into(), value.into()));
    }

    /// Replaces all headers of this name by one.
    pub fn set(&mut self, name: impl Into<Name>, value: impl Into<HeaderValue>) {
        let name = name.into();
        self.remove(&name);
        self.append(name, value);
    }

    /// Removes all headers of this name and returns whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(known, _)| known != name);
        self.0.len() != before
    }

    /// Returns the last value of this name, as Kafka's clients do.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Returns all values of this name, oldest first.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a HeaderValue> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value)
    }

    /// Returns names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Name>, V: Into<HeaderValue>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl IntoIterator for Headers {
    type Item = (Name, HeaderValue);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
