//! The properties, one by one, as a configuration of ours.

use super::binders::{self, BinderPlan, Kind, Owner, locate};
use super::names::{Key, Segment, joined, shown};
use super::note::Notes;
use super::source::{Entry, Environment, Properties, text};
use super::table::{Area, Fate};
use super::{convert, kafka, rabbit};
use crate::config::place::{Mistakes, Place};
use crate::config::secret;
use crate::config::suggest;
use crate::config::tree::{Node, Style};

/// A property with its value resolved.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) entry: Entry,
    /// Its name as it was written.
    pub(super) path: String,
    /// What of its name is the file's own, where a row ends in `.*`.
    pub(super) rest: String,
}

impl Given {
    pub(super) fn text(&self) -> String {
        text(&self.entry.value)
    }

    /// Makes a text that is written where the property is.
    pub(super) fn node(&self, text: impl Into<String>, style: Style) -> Node {
        Node::scalar(text, style, Some(self.entry.place.clone()))
    }
}

/// Where what becomes of a property is put.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// Our keys above it.
    pub(super) base: Vec<String>,
    /// The kind of binder, if it is known.
    pub(super) kind: Option<Kind>,
    /// The binder whose setting it is.
    pub(super) binder: Option<usize>,
    /// The binding whose setting it is.
    pub(super) channel: Option<String>,
}

impl Spot {
    fn new(base: &[&str]) -> Self {
        let base = base.iter().map(|key| (*key).to_owned()).collect();
        Self { base, kind: None, binder: None, channel: None }
    }

    /// Whether it is a binder itself, not what its bindings share.
    pub(super) fn is_binder(&self) -> bool {
        self.base.len() == 2 && self.base[0] == "binders"
    }
}

/// The conversion while it goes on.
pub(super) struct Work<'a> {
    pub(super) all: Properties,
    pub(super) tree: Node,
    pub(super) binders: Vec<BinderPlan>,
    mistakes: &'a mut Mistakes,
    notes: &'a mut Notes,
    /// Names of bindings, as they were first written.
    channels: Vec<String>,
}

/// Converts all properties.
pub(super) fn convert(
    properties: &Properties,
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
    notes: &mut Notes,
) -> Node {
    let mut all = Properties::default();
    for entry in properties.entries().filter(|entry| locate(&entry.key).is_some()) {
        match properties.resolved(entry, environment) {
            Ok(entry) => all.insert(entry),
            Err(why) => mistakes.add(Some(&entry.place), shown(&entry.key.0), why),
        }
    }
    let binders = binders::find(&all);
    let mut work = Work { all, tree: Node::empty_map(), binders, mistakes, notes, channels: Vec::new() };
    work.run(environment);
    work.tree
}

impl Work<'_> {
    fn run(&mut self, environment: Environment<'_>) {
        let given: Vec<Given> = self.all.entries().map(given).collect();
        self.collect_effective(&given);
        self.place_binders();
        for given in &given {
            self.one(given);
        }
        for index in 0..self.binders.len() {
            let mut effective: Vec<Given> = self.binders[index].effective.values().cloned().collect();
            effective.sort_by_key(|given| rank(&given.entry.key));
            effective.iter().for_each(|given| self.one_of_binder(index, given));
            match self.binders[index].kind {
                Some(Kind::Kafka) => kafka::finish(self, index),
                Some(Kind::Rabbit) => rabbit::finish(self, index),
                None => {}
            }
        }
        super::common::finish(self, environment);
    }

    /// Finds what each binder sees: what stands in the file, and over it its own environment.
    fn collect_effective(&mut self, given: &[Given]) {
        for index in 0..self.binders.len() {
            let (name, kind) = (self.binders[index].name.clone(), self.binders[index].kind);
            let inherits = format!("spring.cloud.stream.binders[{name}].inherit-environment");
            let inherits = self.all.get(&inherits).is_none_or(|entry| convert::flag(&text(&entry.value)) != Ok(false));
            let shared = given.iter().filter(|_| inherits).map(|given| (given.clone(), false));
            let own = given.iter().filter_map(|given| match locate(&given.entry.key) {
                Some((_, Owner::Environment(of), rest)) if of.eq_ignore_ascii_case(&name) => {
                    let key = Key::parse(&shown(&rest));
                    Some((Given { entry: Entry { key, ..given.entry.clone() }, ..given.clone() }, true))
                }
                _ => None,
            });
            for (given, is_own) in shared.chain(own) {
                let owner = locate(&given.entry.key).map(|(_, owner, _)| owner);
                match owner {
                    Some(Owner::Binders(of) | Owner::DefaultOf(of)) if Some(of) == kind => {
                        self.binders[index].effective.insert(given.entry.key.canonical(), given);
                    }
                    Some(Owner::Bundle) => {
                        self.binders[index].effective.insert(given.entry.key.canonical(), given);
                    }
                    _ if !is_own => {}
                    Some(Owner::Binders(_) | Owner::DefaultOf(_)) => {
                        self.note(&given, "has no effect: the binder is of another type");
                    }
                    Some(_) => self.wrong(&given, "is no property of a binder; it stands outside of `environment`"),
                    None => self.note(&given, "has no effect: it is none of a binder's connection"),
                }
            }
        }
    }

    fn place_binders(&mut self) {
        for index in 0..self.binders.len() {
            let name = self.binders[index].name.clone();
            let entry = self.all.get(&format!("spring.cloud.stream.binders[{name}].type")).cloned();
            let place = entry.as_ref().map_or(Place::Spring, |entry| entry.place.clone());
            let kind = match (self.binders[index].kind, entry) {
                (Some(kind), _) => kind.name().to_owned(),
                (None, Some(entry)) => text(&entry.value),
                (None, None) => continue,
            };
            if ["kstream", "ktable", "globalktable"].contains(&kind.to_lowercase().as_str()) {
                self.mistakes.add(
                    Some(&place),
                    format!("spring.cloud.stream.binders.{name}.type"),
                    "is refused: Kafka Streams is not in this library; write the processor with channels",
                );
            }
            self.tree
                .put(&["binders".to_owned(), name, "type".to_owned()], Node::scalar(kind, Style::Text, Some(place)));
        }
    }

    fn one(&mut self, given: &Given) {
        let Some((area, owner, name)) = locate(&given.entry.key) else { return };
        match owner {
            Owner::Service => self.apply(area, &Spot::new(&[]), given, &name),
            Owner::Default => self.apply(area, &Spot::new(&["default"]), given, &name),
            Owner::Binding(channel) => {
                let spot = self.spot_of(&channel, given);
                self.apply(area, &spot, given, &name);
            }
            Owner::BindingOf(kind, channel) => {
                let spot = self.spot_of(&channel, given);
                match spot.kind {
                    Some(other) if other != kind => {
                        let text = format!("has no effect: the binding is on {}", other.name());
                        self.note(given, text);
                    }
                    _ => self.apply(area, &Spot { kind: Some(kind), ..spot }, given, &name),
                }
            }
            Owner::Entry(_) => self.apply(area, &Spot::new(&[]), given, &name),
            Owner::Environment(name) => self.check_environment(&name, given),
            Owner::Binders(kind) | Owner::DefaultOf(kind) => {
                let canonical = given.entry.key.canonical();
                if !self.binders.iter().any(|binder| binder.effective.contains_key(&canonical)) {
                    self.note(given, format!("has no effect: no binder of {} reads it", kind.name()));
                }
            }
            Owner::Bundle => {}
        }
    }

    fn check_environment(&mut self, name: &str, given: &Given) {
        let binder = self.binders.iter().find(|binder| binder.name.eq_ignore_ascii_case(name));
        if binder.is_some_and(|binder| binder.kind.is_none()) {
            self.wrong(
                given,
                "is refused: only binders of the types `kafka` and `rabbit` are configured by Spring's properties",
            );
        }
    }

    fn one_of_binder(&mut self, index: usize, given: &Given) {
        let Some((area, owner, name)) = locate(&given.entry.key) else { return };
        let (binder, kind) = (self.binders[index].name.clone(), self.binders[index].kind);
        let mut spot = Spot { kind, binder: Some(index), ..Spot::new(&["binders", &binder]) };
        if let Owner::DefaultOf(_) = owner {
            spot.base.push("default".to_owned());
        }
        if owner != Owner::Bundle {
            self.apply(area, &spot, given, &name);
        }
    }

    /// Says what becomes of one property at one place.
    fn apply(&mut self, area: Area, spot: &Spot, given: &Given, name: &[Segment]) {
        let Some((row, rest)) = area.find(name) else { return self.unknown(area, given, name) };
        let given = &Given { rest, ..given.clone() };
        let value = given.text();
        match row.fate {
            Fate::Key(key, convert) => match convert.apply(&given.entry) {
                Ok(node) => node.into_iter().for_each(|node| self.put(spot, key, node)),
                Err(why) => self.wrong(given, why),
            },
            Fate::Made(made) => (made.by)(self, spot, given),
            Fate::Only(values, why) => {
                if !value.is_empty() && !values.iter().any(|only| convert::is_value(only, &value)) {
                    self.refuse(given, why);
                }
            }
            Fate::Idle(why) => self.note(given, format!("has no effect: {why}")),
            Fate::Refused(why) => self.wrong(given, format!("is refused: {why}")),
        }
    }

    fn unknown(&mut self, area: Area, given: &Given, name: &[Segment]) {
        match (area, name.first()) {
            // Other libraries have properties there too.
            (Area::Function, _) => return,
            (Area::Service, Some(first))
                if Kind::of(&first.text).is_some() && name.get(1).is_some_and(|next| next.is("streams")) =>
            {
                return self.wrong(
                    given,
                    "is refused: Kafka Streams is not in this library; write the processor with channels",
                );
            }
            _ => {}
        }
        let written = joined(name);
        let more: &[&str] = match area {
            Area::Service => &["bindings", "binders", "default", "kafka", "rabbit"],
            Area::Binding => &["consumer", "producer"],
            _ => &[],
        };
        let names: Vec<&str> =
            area.rows().map(|row| row.name.trim_end_matches(".*")).chain(more.iter().copied()).collect();
        let first = name.first().map(|segment| segment.text.as_str()).unwrap_or_default();
        let meant = suggest::closest(&written, names.iter().copied())
            .or_else(|| suggest::closest(first, names.iter().copied()));
        match meant {
            Some(meant) => self.wrong(given, format!("unknown key; did you mean `{meant}`?")),
            None => self.wrong(given, format!("unknown key; the guide lists those of `{}`", area.prefix())),
        }
    }

    /// Finds where a binding is put, and notes its name.
    pub(super) fn spot_of(&mut self, channel: &str, given: &Given) -> Spot {
        let plain = |segment: &Segment| !segment.bracketed && segment.text == channel;
        if channel.contains('_') && given.entry.key.0.iter().any(plain) {
            let text = format!(
                "Spring takes the `_` out of `{channel}` unless it stands in brackets, `bindings[{channel}]`; here it stays"
            );
            self.notes.add(None, format!("spring.cloud.stream.bindings.{channel}"), text);
        }
        let known = self.channels.iter().find(|known| known.eq_ignore_ascii_case(channel)).cloned();
        let channel = known.unwrap_or_else(|| {
            self.channels.push(channel.to_owned());
            channel.to_owned()
        });
        let kind = self.kind_of(&channel);
        Spot { kind, channel: Some(channel.clone()), ..Spot::new(&["bindings", &channel]) }
    }

    /// Finds the binder of a binding: its own, the default, the only candidate.
    pub(super) fn binder_of(&self, channel: &str) -> Option<&BinderPlan> {
        let own = self.said(&format!("spring.cloud.stream.bindings[{channel}].binder"));
        let name = own.or_else(|| self.said("spring.cloud.stream.default-binder"));
        let by_name = |name: &String| self.binders.iter().find(|binder| binder.name.eq_ignore_ascii_case(name));
        match &name {
            Some(name) => by_name(name),
            None => {
                let mut candidates = self.binders.iter().filter(|binder| binder.candidate);
                candidates.next().filter(|_| candidates.next().is_none())
            }
        }
    }

    fn kind_of(&self, channel: &str) -> Option<Kind> {
        self.binder_of(channel)?.kind
    }

    /// Returns the bindings.
    pub(super) fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Returns a property of the file outside of binders, unless it is empty.
    pub(super) fn given(&self, name: &str) -> Option<Given> {
        self.all.get(name).map(given).filter(|given| !given.text().is_empty())
    }

    /// Returns its value.
    pub(super) fn said(&self, name: &str) -> Option<String> {
        Some(self.given(name)?.text())
    }

    /// Puts a value under a path of our keys, which may go down by dots.
    pub(super) fn put(&mut self, spot: &Spot, key: &str, node: Node) {
        let path: Vec<String> = spot.base.iter().cloned().chain(key.split('.').map(str::to_owned)).collect();
        self.tree.put(&path, node);
    }

    /// Puts a setting of the client under a path of our keys.
    pub(super) fn put_setting(&mut self, spot: &Spot, key: &str, name: &str, node: Node) {
        let keys = key.split('.').map(str::to_owned).chain([name.to_owned()]);
        let path: Vec<String> = spot.base.iter().cloned().chain(keys).collect();
        self.tree.put(&path, node);
    }

    /// Puts what is so in Spring unless something is said; `path` goes down by slashes.
    pub(super) fn put_default(&mut self, path: &str, value: &str) {
        let keys: Vec<&str> = path.split('/').collect();
        if self.tree.at(&keys).is_some() {
            return;
        }
        let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
        self.tree.put(&keys, Node::scalar(value, Style::Plain, Some(Place::Spring)));
    }

    pub(super) fn note(&mut self, given: &Given, text: impl Into<String>) {
        self.notes.add(Some(&given.entry.place), given.path.as_str(), text);
    }

    pub(super) fn wrong(&mut self, given: &Given, text: impl Into<String>) {
        self.mistakes.add(Some(&given.entry.place), given.path.as_str(), text);
    }

    /// Refuses a value for a reason.
    pub(super) fn refuse(&mut self, given: &Given, why: impl std::fmt::Display) {
        let value = given.text();
        let value = secret::shown(&given.path, &value);
        self.wrong(given, format!("`{value}` is refused: {why}"));
    }

    /// Says that something is wrong that stands nowhere.
    pub(super) fn wrong_anywhere(&mut self, path: &str, text: &str) {
        self.mistakes.add(None, path, text);
    }
}

/// What comes later wins: Spring Boot's own, then the binder's, what is said for all clients before what is said for one side's, and what has a
/// name of its own before what is passed on by the client's.
fn rank(key: &Key) -> u8 {
    let is = |rest: &[Segment], index: usize, name: &str| rest.get(index).is_some_and(|segment| segment.is(name));
    if let Some(rest) = key.below(&["spring", "kafka"]) {
        let of_side = ["consumer", "producer", "admin"].iter().any(|side| is(rest, 0, side));
        return match () {
            () if of_side && is(rest, 1, "properties") => 3,
            () if of_side => 2,
            () => u8::from(is(rest, 0, "properties")),
        };
    }
    match key.below(&["spring", "cloud", "stream"]) {
        Some(rest) if is(rest, 1, "default") => 6,
        Some(rest) if is(rest, 2, "consumer-properties") || is(rest, 2, "producer-properties") => 5,
        Some(_) => 4,
        None => 0,
    }
}

fn given(entry: &Entry) -> Given {
    Given { path: shown(&entry.key.0), entry: entry.clone(), rest: String::new() }
}
