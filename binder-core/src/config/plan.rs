//! The merged configuration, taken apart and checked as far as it can be without the application.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::check;
use super::level::{Level, OF_ONE_CHANNEL, Types};
use super::place::Mistakes;
use super::properties::StreamProperties;
use super::read::read;
use super::shape::Shape;
use super::suggest;
use super::tree::{Node, join};

/// The keys of the whole application.
pub(super) static STREAM: LazyLock<Shape> = LazyLock::new(Shape::of::<StreamProperties>);

/// What stands under `stream` beside [`STREAM`].
pub(super) const PARTS: [&str; 3] = ["bindings", "binders", "default"];

/// The parts of the configuration.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stream: Node,
    pub(super) properties: StreamProperties,
    pub(super) default: Level,
    pub(super) binders: BTreeMap<String, BinderPlan>,
    pub(super) bindings: BTreeMap<String, Level>,
    pub(super) types: Types,
}

/// An entry of `binders`.
#[derive(Debug)]
pub(super) struct BinderPlan {
    pub(super) type_node: Option<Node>,
    pub(super) default: Level,
    /// All else, which belongs to the binder.
    pub(super) section: Node,
}

impl Plan {
    /// Takes the located tree below `stream` apart and notes what is wrong in each of its parts.
    pub(super) fn new(mut root: Node, types: Types, mistakes: &mut Mistakes) -> Self {
        let bindings = part(&mut root, "bindings", mistakes);
        let binders = part(&mut root, "binders", mistakes);
        let default =
            root.take("default").map_or_else(|| Level::empty("stream.default"), |node| Level::split(node, &types));
        let properties: StreamProperties = read(&root, &PARTS, mistakes);
        check::stream(&root, &properties, mistakes);
        let bindings =
            bindings.into_iter().map(|(name, node)| (name, Level::split(unless_null(node), &types))).collect();
        let binders = binders.into_iter().map(|(name, node)| (name, BinderPlan::new(node, &types, mistakes))).collect();
        let plan = Self { stream: root, properties, default, binders, bindings, types };
        plan.check(mistakes);
        plan
    }

    fn check(&self, mistakes: &mut Mistakes) {
        let shared = self.binders.values().map(|binder| &binder.default).chain([&self.default]);
        for level in shared {
            refuse_keys_of_one_channel(level, mistakes);
            check_level(level, &self.types, mistakes);
        }
        self.bindings.values().for_each(|level| check_level(level, &self.types, mistakes));
        refuse_alike("binder", self.binders.keys().map(String::as_str), mistakes);
    }

    /// Returns the settings of a channel at its own level.
    pub(super) fn own_level(&self, channel: &str) -> Level {
        let path = join("stream.bindings", channel);
        self.bindings.get(channel).cloned().unwrap_or_else(|| Level::empty(&path))
    }

    /// Returns the settings of a channel, merged over all levels.
    pub(super) fn merged_level(&self, channel: &str, binder: Option<&str>) -> Level {
        let own = self.own_level(channel);
        let (path, place) = (Arc::clone(&own.own.path), own.own.place.clone());
        let mut level = self.default.clone();
        if let Some(binder) = binder.and_then(|name| self.binders.get(name)) {
            level.merge(binder.default.clone());
        }
        level.merge(own);
        (level.own.path, level.own.place) = (path, place);
        level
    }
}

impl BinderPlan {
    fn new(mut node: Node, types: &Types, mistakes: &mut Mistakes) -> Self {
        if node.is_null() {
            node = Node { data: Node::empty_map().data, ..node };
        }
        let path = join(&node.path, "default");
        let default = node.take("default").map_or_else(|| Level::empty(&path), |level| Level::split(level, types));
        let type_node = node.take("type").filter(|name| !name.is_null());
        if node.as_map().is_none() {
            mistakes.add(node.place.as_ref(), node.path.as_ref(), "expected a map of keys with `type`");
        } else if type_node.is_none() {
            let known = suggest::list(types.names());
            mistakes.add(node.place.as_ref(), join(&node.path, "type"), format!("is missing; one of: {known}"));
        }
        if let Some(name) = type_node.as_ref().filter(|name| name.as_text().is_none_or(str::is_empty)) {
            mistakes.add(name.place.as_ref(), name.path.as_ref(), "expected the name of a type of binder");
        }
        Self { type_node, default, section: node }
    }

    pub(super) fn type_name(&self) -> Option<&str> {
        self.type_node.as_ref()?.as_text()
    }
}

fn unless_null(node: Node) -> Node {
    if node.is_null() { Node { data: Node::empty_map().data, ..node } } else { node }
}

/// Takes a part that is a map of names.
fn part(root: &mut Node, key: &str, mistakes: &mut Mistakes) -> BTreeMap<String, Node> {
    let Some(mut node) = root.take(key) else { return BTreeMap::new() };
    match node.as_map_mut() {
        Some(map) => std::mem::take(map),
        None => {
            if !node.is_null() {
                mistakes.add(node.place.as_ref(), node.path.as_ref(), "expected a map of names");
            }
            BTreeMap::new()
        }
    }
}

fn check_level(level: &Level, types: &Types, mistakes: &mut Mistakes) {
    let properties = level.read(types, mistakes);
    check::values(level, &properties, mistakes);
}

fn refuse_keys_of_one_channel(level: &Level, mistakes: &mut Mistakes) {
    for key in OF_ONE_CHANNEL {
        let Some(node) = level.own.get(key) else { continue };
        let instead = if key == "binder" { "`stream.default-binder`" } else { "`stream.bindings.<channel>`" };
        mistakes.add(node.place.as_ref(), node.path.as_ref(), format!("can't be a default; set it at {instead}"));
    }
}

/// Refuses names that a variable could not tell apart.
pub(super) fn refuse_alike<'a>(what: &str, names: impl IntoIterator<Item = &'a str>, mistakes: &mut Mistakes) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        match seen.insert(suggest::plain(name), name) {
            Some(other) if other == name => mistakes.add(None, "", format!("the {what} `{name}` is declared twice")),
            Some(other) => {
                let text = format!("the {what}s `{other}` and `{name}` differ only in case, `-`, `_` or `.`");
                mistakes.add(None, "", text);
            }
            None => {}
        }
    }
}
