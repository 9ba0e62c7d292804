//! What a file says that has no effect here, or another one than in Spring.

use std::fmt;

use crate::config::place::Place;

/// A property of a Spring file that has no effect here, or another one than there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpringNote {
    place: Option<Place>,
    key: String,
    text: String,
}

impl SpringNote {
    /// Returns where it was written, as `application.yml:12`; `None` if it was not.
    pub fn place(&self) -> Option<String> {
        self.place.as_ref().map(Place::to_string)
    }

    /// Returns the property, as it was written.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns why it has no effect, or which.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SpringNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {}", self.key, self.text)
    }
}

/// Collects notes, each once.
#[derive(Debug, Default)]
pub(super) struct Notes(Vec<SpringNote>);

impl Notes {
    pub(super) fn add(&mut self, place: Option<&Place>, key: impl Into<String>, text: impl Into<String>) {
        let note = SpringNote { place: place.cloned(), key: key.into(), text: text.into() };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Returns the notes in the order of their places.
    pub(super) fn sorted(mut self) -> Vec<SpringNote> {
        self.0.sort();
        self.0
    }
}
