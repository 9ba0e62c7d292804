//! Why a value can't be read, and how that is told.

use std::fmt;

use serde::de;

use super::secret;
use super::suggest;
use super::tree::{Data, Node, Style};

/// Says no more than that.
const REFUSED: &str = "the value is not accepted";

/// One reason why a tree can't be read into a type, and the way down to it.
#[derive(Debug)]
pub(super) struct Fault {
    wrong: Wrong,
    /// Innermost first.
    way: Vec<Step>,
}

#[derive(Debug)]
enum Wrong {
    UnknownKey(&'static [&'static str]),
    UnknownVariant(&'static [&'static str]),
    Expected(String),
    Missing(&'static str),
    Other(String),
}

#[derive(Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Fault {
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Wrong::Expected(what.into()).into()
    }

    pub(super) fn unknown_key(known: &'static [&'static str]) -> Self {
        Wrong::UnknownKey(known).into()
    }

    /// Names the keys of the struct in which a key was ignored.
    pub(super) fn known(mut self, fields: &'static [&'static str]) -> Self {
        if let (Wrong::UnknownKey([]), true) = (&self.wrong, self.way.is_empty()) {
            self.wrong = Wrong::UnknownKey(fields);
        }
        self
    }

    /// Says that it happened below a step.
    pub(super) fn below(mut self, step: Step) -> Self {
        self.way.push(step);
        self
    }

    /// Returns the node that is wrong, or the deepest one on the way to it.
    pub(super) fn node<'n>(&self, root: &'n Node) -> &'n Node {
        let mut node = root;
        for step in self.way.iter().rev() {
            match child(node, step) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// Takes what is wrong out of the tree; `false` if that is the tree itself.
    pub(super) fn cut(&self, root: &mut Node) -> bool {
        cut(root, &self.way)
    }

    /// Says what is wrong; `known` are keys that the root has beside those of the struct.
    pub(super) fn tell(&self, root: &Node, known: &[&str]) -> String {
        let node = self.node(root);
        match &self.wrong {
            Wrong::UnknownKey(fields) => {
                let given = match self.way.first() {
                    Some(Step::Key(key)) => key.as_str(),
                    _ => "",
                };
                let more = if self.way.len() == 1 { known } else { &[] };
                format!("unknown key{}", suggest::hint(given, "known keys", fields.iter().chain(more).copied()))
            }
            Wrong::UnknownVariant(allowed) => tell_variant(node, allowed),
            Wrong::Expected(what) => format!("expected {what}, found {}", shown(node)),
            Wrong::Missing(key) => format!("`{key}` is missing"),
            Wrong::Other(_) if secret::is_secret_path(&node.path) => REFUSED.to_owned(),
            Wrong::Other(text) => told(node, text),
        }
    }
}

impl From<Wrong> for Fault {
    fn from(wrong: Wrong) -> Self {
        Self { wrong, way: Vec::new() }
    }
}

fn child<'n>(node: &'n Node, step: &Step) -> Option<&'n Node> {
    match (&node.data, step) {
        (Data::Map(map), Step::Key(key)) => map.get(key),
        (Data::List(items), Step::Index(index)) => items.get(*index),
        _ => None,
    }
}

fn child_mut<'n>(node: &'n mut Node, step: &Step) -> Option<&'n mut Node> {
    match (&mut node.data, step) {
        (Data::Map(map), Step::Key(key)) => map.get_mut(key),
        (Data::List(items), Step::Index(index)) => items.get_mut(*index),
        _ => None,
    }
}

fn cut(node: &mut Node, way: &[Step]) -> bool {
    let Some((step, below)) = way.split_last() else { return false };
    let Some(next) = child_mut(node, step) else { return false };
    if cut(next, below) {
        return true;
    }
    match (&mut node.data, step) {
        (Data::Map(map), Step::Key(key)) => map.remove(key).is_some(),
        (Data::List(items), Step::Index(index)) => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

fn tell_variant(node: &Node, allowed: &[&str]) -> String {
    let names: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
    let meant = node.as_text().and_then(|text| suggest::closest(text, allowed.iter().copied()));
    let meant = meant.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("expected one of {}, found {}{meant}", names.join(", "), shown(node))
}

/// A message of a property's own type, without the secrets of the value that it may repeat whole or in part.
fn told(node: &Node, text: &str) -> String {
    let value = node.as_text().unwrap_or_default();
    let shown = secret::shown(&node.path, value);
    if shown == value {
        return text.to_owned();
    }
    let text = text.replace(value, &shown);
    let hidden = value.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty() && !shown.contains(part));
    if hidden.into_iter().any(|part| text.contains(part)) { REFUSED.to_owned() } else { text }
}

/// A value as a message shows it.
pub(super) fn shown(node: &Node) -> String {
    match &node.data {
        Data::Null => "nothing".to_owned(),
        Data::List(_) => "a list".to_owned(),
        Data::Map(_) => "a map of keys".to_owned(),
        Data::Scalar(scalar) => {
            let text = secret::shown(&node.path, &scalar.text);
            if scalar.style == Style::Text { format!("the text `\"{text}\"`") } else { format!("`{text}`") }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value can't be read")
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Wrong::Other(text.to_string()).into()
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_key(known)
    }

    fn unknown_variant(_: &str, allowed: &'static [&'static str]) -> Self {
        Wrong::UnknownVariant(allowed).into()
    }

    fn missing_field(key: &'static str) -> Self {
        Wrong::Missing(key).into()
    }
}
