//! One level of settings of a binding: `default`, `binders.<name>.default` or `bindings.<channel>`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::place::Mistakes;
use super::properties::{BindingProperties, ConsumerProperties, ProducerProperties};
use super::read::read;
use super::shape::Shape;
use super::suggest;
use super::tree::{Node, join};

/// The keys of a binding.
pub(super) static BINDING: LazyLock<Shape> = LazyLock::new(Shape::of::<BindingProperties>);

/// Keys of a binding that say something only of one channel.
pub(super) const OF_ONE_CHANNEL: [&str; 3] = ["destination", "group", "binder"];

/// Types that may have settings in a binding also where they are not registered, so that one file serves several builds.
const WELL_KNOWN: [&str; 3] = ["memory", "kafka", "rabbit"];

/// The types of binders that may have settings of their own in a binding.
#[derive(Clone, Debug)]
pub(super) struct Types {
    names: Vec<String>,
    /// Whether others are unknown; before the application has said what it registers, they may be meant.
    complete: bool,
}

impl Types {
    pub(super) fn new(named: impl IntoIterator<Item = String>, registered: Option<&[String]>) -> Self {
        let known = WELL_KNOWN.iter().map(|name| (*name).to_owned());
        let mut names: Vec<String> = known.chain(named).chain(registered.into_iter().flatten().cloned()).collect();
        names.sort();
        names.dedup();
        Self { names, complete: registered.is_some() }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.iter().map(String::as_str)
    }

    fn owns(&self, key: &str, node: &Node, fields: &Shape) -> bool {
        let may_be_meant = || !self.complete && node.as_map().is_some();
        self.names.iter().any(|name| name == key)
            || may_be_meant() && suggest::closest(key, fields.keys().chain(self.names())).is_none()
    }
}

/// The settings of one side: those that every binder knows, and those of each type.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) own: Node,
    pub(super) of_type: BTreeMap<String, Node>,
}

impl Side {
    fn split(mut node: Node, fields: &Shape, types: &Types) -> Self {
        let mut of_type = BTreeMap::new();
        if let Some(map) = node.as_map_mut() {
            let known = |key: &str| fields.keys().any(|field| field == key);
            let taken = map.iter().filter(|(key, node)| !known(key) && types.owns(key, node, fields));
            let taken: Vec<String> = taken.map(|(key, _)| key.clone()).collect();
            of_type = taken.into_iter().filter_map(|key| map.remove_entry(&key)).collect();
        }
        Self { own: node, of_type }
    }

    fn merge(&mut self, later: Self) {
        self.own.merge(later.own);
        for (name, node) in later.of_type {
            match self.of_type.get_mut(&name) {
                Some(earlier) => earlier.merge(node),
                None => drop(self.of_type.insert(name, node)),
            }
        }
    }

    fn check_types(&self, mistakes: &mut Mistakes) {
        for node in self.of_type.values().filter(|node| node.as_map().is_none() && !node.is_null()) {
            let text = "expected a map of keys: the settings of a type of binder";
            mistakes.add(node.place.as_ref(), node.path.as_ref(), text);
        }
    }
}

/// The settings of a binding at one level, or merged over several.
#[derive(Clone, Debug)]
pub(super) struct Level {
    pub(super) own: Node,
    pub(super) consumer: Side,
    pub(super) producer: Side,
}

impl Level {
    /// Takes a level apart.
    pub(super) fn split(mut node: Node, types: &Types) -> Self {
        let mut side = |name: &str| {
            let mut part = node.take(name).unwrap_or_else(Node::empty_map);
            if part.path.is_empty() {
                part.path = Arc::from(join(&node.path, name));
            }
            Side::split(part, below(name), types)
        };
        let (consumer, producer) = (side("consumer"), side("producer"));
        Self { own: node, consumer, producer }
    }

    /// A level that says nothing.
    pub(super) fn empty(path: &str) -> Self {
        let side = |name| Side { own: located(&join(path, name)), of_type: BTreeMap::new() };
        Self { own: located(path), consumer: side("consumer"), producer: side("producer") }
    }

    /// Lays a later level over this one.
    pub(super) fn merge(&mut self, later: Self) {
        self.own.merge(later.own);
        self.consumer.merge(later.consumer);
        self.producer.merge(later.producer);
    }

    /// Reads the settings that every binder knows.
    pub(super) fn read(&self, types: &Types, mistakes: &mut Mistakes) -> BindingProperties {
        let known: Vec<&str> = types.names().collect();
        let mut properties: BindingProperties = read(&self.own, &[], mistakes);
        properties.consumer = read::<ConsumerProperties>(&self.consumer.own, &known, mistakes);
        properties.producer = read::<ProducerProperties>(&self.producer.own, &known, mistakes);
        self.consumer.check_types(mistakes);
        self.producer.check_types(mistakes);
        properties
    }

    /// Returns what stands under a path of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Node> {
        match keys.split_first() {
            Some((&"consumer", below)) => self.consumer.own.at(below),
            Some((&"producer", below)) => self.producer.own.at(below),
            _ => self.own.at(keys),
        }
    }

    /// Notes that what stands under a path of keys is wrong.
    pub(super) fn wrong(&self, keys: &[&str], text: impl Into<String>, mistakes: &mut Mistakes) {
        match self.at(keys) {
            Some(node) => mistakes.add(node.place.as_ref(), node.path.as_ref(), text),
            None => {
                let path = keys.iter().fold(self.own.path.to_string(), |path, key| join(&path, key));
                mistakes.add(self.own.place.as_ref(), path, text);
            }
        }
    }
}

fn located(path: &str) -> Node {
    Node { path: Arc::from(path), ..Node::empty_map() }
}

/// Returns the keys below a key of a binding.
pub(super) fn below(key: &str) -> &'static Shape {
    let found = BINDING.entries().iter().find(|(name, _)| *name == key);
    found.map_or(&Shape::Leaf, |(_, shape)| shape)
}
