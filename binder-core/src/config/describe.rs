//! The resolved configuration as a text that is itself a configuration.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::level::{self, BINDING};
use super::plan::STREAM;
use super::resolve::{Resolved, ResolvedBinding};
use super::section::Section;
use super::shape::Shape;
use super::tree::{Data, Node, Scalar, Style, join};
use super::{secret, yaml};
use crate::binding::Direction;

impl Resolved {
    /// Writes the whole configuration of the declared channels, defaults included, as YAML.
    ///
    /// What was set ends with a comment that says where; secrets are `***`. With secrets filled in the text may be used as a file.
    pub(crate) fn describe(&self) -> String {
        let mut page = Page { text: String::new(), depth: 0 };
        page.open("stream");
        page.properties(&STREAM, &value(&self.stream), Some(&self.stream_node), "stream");
        if !self.binders.is_empty() {
            page.below("binders", |page| self.binders.iter().for_each(|entry| page.binder(entry)));
        }
        if !self.bindings.is_empty() {
            page.below("bindings", |page| {
                self.bindings.iter().for_each(|(channel, binding)| page.below(channel, |page| page.binding(binding)));
            });
        }
        page.text
    }
}

/// Writes a merged tree as it is.
pub(super) fn tree(root: &Node) -> String {
    let mut page = Page { text: String::new(), depth: 0 };
    page.below("stream", |page| page.entries(root));
    page.text
}

fn value(properties: &impl Serialize) -> Value {
    serde_json::to_value(properties).unwrap_or(Value::Null)
}

struct Page {
    text: String,
    depth: usize,
}

impl Page {
    fn open(&mut self, key: &str) {
        self.line(key, "", None);
        self.depth += 1;
    }

    fn below(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.open(key);
        write(self);
        self.depth -= 1;
    }

    fn line(&mut self, key: &str, value: &str, set: Option<&Node>) {
        let indent = self.depth * 2;
        let gap = if value.is_empty() { "" } else { " " };
        let place = set.and_then(|node| node.place.as_ref());
        let origin = place.map(|place| format!(" # {place}")).unwrap_or_default();
        // Writing to a `String` can't fail.
        let _ = writeln!(self.text, "{:indent$}{}:{gap}{value}{origin}", "", quoted(key));
    }

    fn binder(&mut self, entry: &super::BinderEntry) {
        self.below(&entry.name, |page| {
            page.line("type", &quoted(&entry.type_name), entry.type_node.as_ref());
            page.entries(entry.section.node());
        });
    }

    fn binding(&mut self, binding: &ResolvedBinding) {
        let (side, section, not) = match binding.direction {
            Direction::Input => ("consumer", &binding.consumer_section, ""),
            Direction::Output => ("producer", &binding.producer_section, "group"),
        };
        let properties = value(&binding.properties);
        let keys = BINDING.entries().iter().filter(|(key, below)| *below == Shape::Leaf && *key != not);
        for (key, _) in keys {
            let value = if *key == "binder" { &Value::from(binding.binder.as_str()) } else { &properties[*key] };
            self.property(key, value, binding.level.own.get(key), &join(&binding.level.own.path, key));
        }
        let node = if side == "consumer" { &binding.level.consumer.own } else { &binding.level.producer.own };
        self.below(side, |page| {
            page.properties(level::below(side), &properties[side], Some(node), &node.path);
            page.section(&binding.type_name, section);
        });
    }

    fn section(&mut self, type_name: &str, section: &Section) {
        if section.node().as_map().is_some_and(|map| !map.is_empty()) {
            self.below(type_name, |page| page.entries(section.node()));
        }
    }

    fn properties(&mut self, shape: &Shape, values: &Value, node: Option<&Node>, path: &str) {
        for (key, below) in shape.entries() {
            let (value, node, path) = (&values[*key], node.and_then(|node| node.get(key)), join(path, key));
            match below {
                Shape::Leaf => self.property(key, value, node, &path),
                Shape::Keys(_) => self.below(key, |page| page.properties(below, value, node, &path)),
            }
        }
    }

    fn property(&mut self, key: &str, value: &Value, set: Option<&Node>, path: &str) {
        let set = set.filter(|node| !node.is_null());
        self.line(key, &written(value, path), set);
    }

    fn entries(&mut self, node: &Node) {
        for (key, node) in node.as_map().into_iter().flatten() {
            match &node.data {
                Data::Map(map) if !map.is_empty() => self.below(key, |page| page.entries(node)),
                _ => self.line(key, &node_written(node), Some(node)),
            }
        }
    }
}

/// A value of the properties that core knows.
fn written(value: &Value, path: &str) -> String {
    match value {
        Value::String(text) => quoted(&secret::shown(path, text)),
        Value::Array(items) => flow(items.iter().map(|item| written(item, path))),
        other => other.to_string(),
    }
}

/// A value of a binder's own.
fn node_written(node: &Node) -> String {
    match &node.data {
        Data::Null => "null".to_owned(),
        Data::Scalar(scalar) => scalar_written(scalar, &node.path),
        Data::List(items) => flow(items.iter().map(node_written)),
        Data::Map(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, node)| format!("{}: {}", quoted(key), node_written(node))).collect();
            if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
        }
    }
}

fn scalar_written(scalar: &Scalar, path: &str) -> String {
    let shown = secret::shown(path, &scalar.text);
    let is_value = scalar.style != Style::Text && !shown.is_empty() && !yaml::is_text(&shown);
    if is_value { shown.into_owned() } else { quoted(&shown) }
}

fn flow(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A text in YAML: in quotes only where it would otherwise be something else.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':');
    let safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/') && text.chars().all(plain);
    if safe && !text.ends_with(':') && yaml::is_text(text) { text.to_owned() } else { Value::from(text).to_string() }
}
