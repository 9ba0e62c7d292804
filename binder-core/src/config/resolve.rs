//! The configuration of the channels that an application declares.

use std::collections::BTreeMap;
use std::fmt;

use super::check;
use super::level::{Level, Side};
use super::place::{Mistakes, Place};
use super::plan::{Plan, refuse_alike};
use super::properties::{BindingProperties, StreamProperties};
use super::section::Section;
use super::sources::Config;
use super::suggest;
use super::tree::{Node, join};
use crate::Result;
use crate::binding::Direction;

/// The type of binder that needs no entry.
const MEMORY: &str = "memory";

/// What the application has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    /// Its channels so far.
    pub(crate) channels: Vec<(String, Direction)>,
    /// The registered types of binders.
    pub(crate) binder_types: Vec<String>,
}

/// The configuration of what was declared.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) stream: StreamProperties,
    /// The binders that a declared channel uses, by name.
    pub(crate) binders: Vec<BinderEntry>,
    /// By channel.
    pub(crate) bindings: BTreeMap<String, ResolvedBinding>,
    /// Whether a channel runs on memory only because no binder is configured: worth one warning.
    pub(crate) implicit_memory: bool,
    pub(super) stream_node: Node,
}

/// A binder that is used.
#[derive(Clone, Debug)]
pub(crate) struct BinderEntry {
    pub(crate) name: String,
    pub(crate) type_name: String,
    /// The entry without `type` and `default`.
    pub(crate) section: Section,
    pub(super) type_node: Option<Node>,
}

/// The configuration of one channel.
#[derive(Clone)]
pub(crate) struct ResolvedBinding {
    pub(crate) direction: Direction,
    /// With `destination` filled in. The other side's settings are the built-in defaults.
    pub(crate) properties: BindingProperties,
    /// The destinations, at least one; exactly one for an output.
    pub(crate) destinations: Vec<String>,
    /// Name of the binder.
    pub(crate) binder: String,
    pub(super) type_name: String,
    /// `consumer.<type>`, merged over the levels.
    pub(crate) consumer_section: Section,
    /// `producer.<type>`, merged over the levels.
    pub(crate) producer_section: Section,
    pub(super) level: Level,
}

impl ResolvedBinding {
    /// Returns where a property was set, as `stream.yaml:12`; `key` goes down by dots: `destination`, `consumer.backoff.max`.
    pub(crate) fn place_of(&self, key: &str) -> Option<String> {
        let keys: Vec<&str> = key.split('.').collect();
        self.level.at(&keys)?.place.as_ref().map(Place::to_string)
    }
}

impl fmt::Debug for ResolvedBinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedBinding")
            .field("direction", &self.direction)
            .field("properties", &self.properties)
            .field("binder", &self.binder)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Resolves the channels declared so far; may be called again with more of them.
    pub(crate) fn resolve(&self, declared: &Declared) -> Result<Resolved> {
        let mut mistakes = Mistakes::default();
        let names: Vec<String> = declared.channels.iter().map(|(name, _)| name.clone()).collect();
        refuse_alike("channel", names.iter().map(String::as_str), &mut mistakes);
        let plan = self.plan(&names, Some(&declared.binder_types), &mut mistakes);
        let mut resolver =
            Resolver { plan: &plan, declared, mistakes, binders: BTreeMap::new(), implicit_memory: false };
        let bound = declared.channels.iter().filter_map(|(name, direction)| {
            let binding = resolver.bind(name, *direction)?;
            Some((name.clone(), binding))
        });
        let bindings = bound.collect();
        let Resolver { binders, implicit_memory, mistakes, .. } = resolver;
        let binders = binders.into_values().collect();
        let (stream, stream_node) = (plan.properties, plan.stream);
        mistakes.or(Resolved { stream, binders, bindings, implicit_memory, stream_node })
    }

    /// Refuses channels that the configuration names and nobody declares: a typo, most likely. Called once all are declared.
    pub(crate) fn check_undeclared(&self, declared: &Declared) -> Result<()> {
        let names: Vec<String> = declared.channels.iter().map(|(name, _)| name.clone()).collect();
        let merged = self.merged(&names, Some(&declared.binder_types), &mut Mistakes::default());
        let mut mistakes = Mistakes::default();
        let configured = merged.root.get("bindings").and_then(Node::as_map);
        for (channel, node) in configured.into_iter().flatten().filter(|(channel, _)| !names.contains(channel)) {
            let text = format!("no binding declares this channel{}", among(channel, &names));
            mistakes.add(node.place.as_ref(), node.path.as_ref(), text);
        }
        for (variable, channel) in merged.of_unknown_channels {
            let text = format!("no binding declares a channel `{channel}`{}", among(&channel, &names));
            mistakes.add(Some(&Place::Variable(variable.into())), "", text);
        }
        mistakes.or(())
    }
}

fn among(channel: &str, names: &[String]) -> String {
    suggest::among(channel, "declared", names.iter().map(String::as_str))
}

impl Plan {
    /// Checks the channels that files name, before their directions are known.
    pub(super) fn check_together(&self, mistakes: &mut Mistakes) {
        for channel in self.bindings.keys() {
            let binder = self.own_level(channel).own.get("binder").and_then(Node::as_text).map(str::to_owned);
            let binder = binder.or_else(|| self.properties.default_binder.clone()).or_else(|| self.only_binder());
            let level = self.merged_level(channel, binder.as_deref());
            let properties = level.read(&self.types, &mut Mistakes::default());
            check::together(&level, &properties, mistakes);
        }
    }

    fn only_binder(&self) -> Option<String> {
        let mut names = self.binders.keys();
        names.next().filter(|_| names.next().is_none()).cloned()
    }
}

struct Resolver<'a> {
    plan: &'a Plan,
    declared: &'a Declared,
    mistakes: Mistakes,
    binders: BTreeMap<String, BinderEntry>,
    implicit_memory: bool,
}

impl Resolver<'_> {
    fn bind(&mut self, channel: &str, direction: Direction) -> Option<ResolvedBinding> {
        let own = self.plan.own_level(channel);
        self.check_direction(&own, direction);
        let binder = self.binder_of(&own)?;
        let type_name = self.use_binder(&own, &binder)?;
        let mut level = self.plan.merged_level(channel, Some(&binder));
        match direction {
            Direction::Input => level.producer = Level::empty(&level.own.path).producer,
            Direction::Output => level.consumer = Level::empty(&level.own.path).consumer,
        }
        let mut properties = level.read(&self.plan.types, &mut Mistakes::default());
        check::together(&level, &properties, &mut self.mistakes);
        check::key(&level, &properties, &mut self.mistakes);
        let destinations = self.destinations(&level, channel, direction, &properties);
        properties.destination = Some(destinations.join(","));
        let section = |side: &Side, name| section(&level, side, name, &type_name);
        Some(ResolvedBinding {
            direction,
            properties,
            destinations,
            binder,
            type_name: type_name.clone(),
            consumer_section: section(&level.consumer, "consumer"),
            producer_section: section(&level.producer, "producer"),
            level,
        })
    }

    fn check_direction(&mut self, own: &Level, direction: Direction) {
        let (not, what) = match direction {
            Direction::Input => (&["producer"][..], "an input"),
            Direction::Output => (&["consumer", "group"][..], "an output"),
        };
        for key in not {
            let node = match *key {
                "consumer" => Some(&own.consumer).filter(|side| !is_silent(side)).map(|side| &side.own),
                "producer" => Some(&own.producer).filter(|side| !is_silent(side)).map(|side| &side.own),
                _ => own.own.get(key),
            };
            if let Some(node) = node.filter(|node| *key != "group" || !node.is_null()) {
                let text = format!("the channel is {what}, which has no `{key}`");
                self.mistakes.add(node.place.as_ref(), node.path.as_ref(), text);
            }
        }
    }

    /// Finds the binder of a channel: its own, the default, the only one, else memory.
    fn binder_of(&mut self, own: &Level) -> Option<String> {
        let named = own.own.get("binder").and_then(Node::as_text).map(str::to_owned);
        if let Some(name) = named.or_else(|| self.plan.properties.default_binder.clone()) {
            return Some(name);
        }
        if self.plan.binders.is_empty() {
            self.implicit_memory = true;
            return Some(MEMORY.to_owned());
        }
        let only = self.plan.only_binder();
        if only.is_none() {
            let names = suggest::list(self.plan.binders.keys().map(String::as_str));
            let text = format!("is missing; name one of {names} here or as `stream.default-binder`");
            self.mistakes.add(own.own.place.as_ref(), join(&own.own.path, "binder"), text);
        }
        only
    }

    /// Notes that a binder is used; returns its type.
    fn use_binder(&mut self, own: &Level, name: &str) -> Option<String> {
        if let Some(entry) = self.binders.get(name) {
            return Some(entry.type_name.clone());
        }
        let entry = match self.plan.binders.get(name) {
            Some(binder) => BinderEntry {
                name: name.to_owned(),
                type_name: binder.type_name()?.to_owned(),
                section: Section::of(Some(binder.section.clone()), &join("stream.binders", name)),
                type_node: binder.type_node.clone(),
            },
            None if name == MEMORY => BinderEntry {
                name: name.to_owned(),
                type_name: name.to_owned(),
                section: Section::of(None, "stream.binders.memory"),
                type_node: None,
            },
            None => return self.unknown_binder(own, name),
        };
        if !self.declared.binder_types.contains(&entry.type_name) {
            return self.unregistered(&entry);
        }
        let type_name = entry.type_name.clone();
        self.binders.insert(name.to_owned(), entry);
        Some(type_name)
    }

    fn unknown_binder(&mut self, own: &Level, name: &str) -> Option<String> {
        let names = self.plan.binders.keys().map(String::as_str);
        let text = format!("there is no binder `{name}`{}", suggest::among(name, "binders", names));
        let node = own.own.get("binder").or_else(|| self.plan.stream.get("default-binder"));
        self.mistakes.add(
            node.and_then(|node| node.place.as_ref()),
            node.map(|node| node.path.as_ref()).unwrap_or_default(),
            text,
        );
        None
    }

    fn unregistered(&mut self, entry: &BinderEntry) -> Option<String> {
        let kind = &entry.type_name;
        let registered = self.declared.binder_types.iter().map(String::as_str);
        let text = format!(
            "binder type `{kind}` is not registered{}. Enable the cargo feature or call `.binder(\"{kind}\", …)`",
            suggest::among(kind, "registered", registered)
        );
        let node = self.plan.binders.get(&entry.name).and_then(|binder| binder.type_node.as_ref());
        let path = join(&join("stream.binders", &entry.name), "type");
        self.mistakes.add(node.and_then(|node| node.place.as_ref()), path, text);
        None
    }

    fn destinations(
        &mut self,
        level: &Level,
        channel: &str,
        direction: Direction,
        properties: &BindingProperties,
    ) -> Vec<String> {
        let Some(given) = &properties.destination else { return vec![channel.to_owned()] };
        let names: Vec<String> = given.split(',').map(|name| name.trim().to_owned()).collect();
        if names.len() > 1 && direction == Direction::Output {
            level.wrong(&["destination"], "an output has one destination; for more, send `.to(…)`", &mut self.mistakes);
        }
        if names.len() > 1 && names.iter().any(String::is_empty) {
            level.wrong(&["destination"], "expected names between the commas", &mut self.mistakes);
        }
        names
    }
}

fn is_silent(side: &Side) -> bool {
    let says = side.own.as_map().is_none_or(|map| !map.is_empty());
    side.of_type.is_empty() && (!says || side.own.is_null())
}

fn section(level: &Level, side: &Side, name: &str, type_name: &str) -> Section {
    let path = join(&join(&level.own.path, name), type_name);
    Section::of(side.of_type.get(type_name).cloned(), &path)
}
