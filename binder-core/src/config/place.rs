//! Where a value was written, and what is wrong there.

use std::fmt;
use std::sync::Arc;

use super::secret;
use crate::{Error, ErrorKind, Result};

/// Where a value comes from. The order is that of a report: files by line, variables, code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A line, from 1, of a file or of an inline text.
    Line { name: Arc<str>, line: usize },
    /// A file as a whole.
    File(Arc<str>),
    /// An environment variable.
    Variable(Arc<str>),
    /// A call of the application.
    Code,
    /// Nowhere: Spring does so where nothing is said.
    Spring,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { name, line } => write!(f, "{name}:{line}"),
            Self::File(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Code => f.write_str("set in code"),
            Self::Spring => f.write_str("Spring's default"),
        }
    }
}

/// One thing that is wrong. The order is that of the places.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mistake {
    place: Option<Place>,
    path: String,
    text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&secret::mask_userinfo(&self.text))
    }
}

/// Collects what is wrong, so that all of it is told at once.
#[derive(Debug, Default)]
pub(super) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// Notes a mistake; what was noted before in the same words is noted once.
    pub(super) fn add(&mut self, place: Option<&Place>, path: impl Into<String>, text: impl Into<String>) {
        let mistake = Mistake { place: place.cloned(), path: path.into(), text: text.into() };
        if !self.0.contains(&mistake) {
            self.0.push(mistake);
        }
    }

    /// Returns `value` if nothing was wrong, else one error with a line for each mistake, sorted by place.
    pub(super) fn or<T>(mut self, value: T) -> Result<T> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort();
        let lines: Vec<String> = self.0.iter().map(Mistake::to_string).collect();
        Err(Error::new(ErrorKind::Config, lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, line: usize) -> Place {
        Place::Line { name: name.into(), line }
    }

    #[test]
    fn mistakes_are_told_at_once_and_in_the_order_of_their_places() {
        let mut mistakes = Mistakes::default();
        mistakes.add(Some(&Place::Code), "b", "last");
        mistakes.add(Some(&line("stream.yaml", 10)), "a", "second");
        mistakes.add(Some(&line("stream.yaml", 9)), "c", "first");
        mistakes.add(Some(&line("stream.yaml", 9)), "c", "first");
        let error = mistakes.or(()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.message(), "stream.yaml:9: c: first\nstream.yaml:10: a: second\nset in code: b: last");
    }

    #[test]
    fn a_password_in_an_address_is_not_told() {
        let mut mistakes = Mistakes::default();
        mistakes.add(None, "", "no such host in amqp://me:pa55@mq/v");
        assert_eq!(mistakes.or(()).unwrap_err().message(), "no such host in amqp://***@mq/v");
    }
}
