//! A part of the configuration that belongs to one kind of broker.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::place::{Mistakes, Place};
use super::read::read;
use super::tree::{Data, Node};
use crate::Result;

/// What the configuration says under a binder's own name, already merged over its levels.
///
/// Every value remembers where it was written, so that [`read`](Self::read) can say it.
#[derive(Clone)]
pub struct Section {
    node: Node,
}

impl Section {
    /// Creates a section from a value; `path` is where it stands, for messages.
    pub fn new(path: impl Into<String>, value: Value) -> Self {
        let mut node = Node::from_json(value, &Place::Code);
        node.locate(&path.into());
        Self { node }
    }

    /// Takes over what sources say; `path` is where it stands.
    pub(super) fn of(node: Option<Node>, path: &str) -> Self {
        let mut node = node.unwrap_or(Node::new(Data::Null, None));
        node.path = path.into();
        Self { node }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Returns where it stands: `stream.bindings.orders.consumer.kafka`.
    pub fn path(&self) -> &str {
        &self.node.path
    }

    /// Returns where a key was set, as `stream.yaml:12` or `environment variable …`; `None` if it was not.
    ///
    /// `key` goes down by dots. For messages about a setting that turns out wrong later.
    pub fn place_of(&self, key: &str) -> Option<String> {
        let keys: Vec<&str> = key.split('.').collect();
        self.node.at(&keys)?.place.as_ref().map(Place::to_string)
    }

    /// Reads the section into a struct of properties.
    ///
    /// A number or boolean without quotes is also read as a text; what comes from the environment is read as whatever type is asked
    /// for, lists by their commas. Keys without a value count as not given. An empty section is `T::default()`. Avoid
    /// `#[serde(flatten)]`: it hides from the reader which type is asked for, and the place of a mistake.
    ///
    /// # Errors
    /// Unknown keys, wrong types and bad values: all of them in one error, each with its place, path and what is meant. Keys that `T`
    /// would ignore are unknown too. Values of keys that look secret are not repeated.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T> {
        let mut mistakes = Mistakes::default();
        let value = read(&self.node, &[], &mut mistakes);
        mistakes.or(value)
    }
}

impl Default for Section {
    fn default() -> Self {
        Self::of(None, "")
    }
}

impl fmt::Debug for Section {
    /// Prints where it stands only: its values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("path", &self.path()).finish_non_exhaustive()
    }
}
