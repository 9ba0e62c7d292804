//! Environment variables: `STREAM__BINDINGS__ORDERS__GROUP`.
//!
//! A name has no case and no punctuation, so it is matched to the names that are known: those of the schema, of channels, of binders.

use std::collections::BTreeMap;

use super::level::{self, OF_ONE_CHANNEL, Types};
use super::place::{Mistakes, Place};
use super::plan::STREAM;
use super::shape::Shape;
use super::suggest::{self, plain};
use super::tree::{Node, Style};

/// What every name begins with.
pub(super) const PREFIX: &str = "STREAM__";

/// The names that variables are matched to.
pub(super) struct Names<'a> {
    /// Channels, the declared ones first.
    pub(super) channels: Vec<String>,
    pub(super) binders: Vec<String>,
    pub(super) types: &'a Types,
    /// What the other sources say: keys that belong to a binder are looked up here.
    pub(super) existing: &'a Node,
}

/// Variables as a tree.
pub(super) struct Matched {
    pub(super) tree: Node,
    /// Variables that name a channel which is not known (yet): the variable, and the channel as it was written.
    pub(super) of_unknown_channels: Vec<(String, String)>,
}

/// Where a variable leads.
enum Target {
    Path(Vec<String>),
    UnknownChannel(String),
    Unknown(String),
}

/// Splits a name into its segments; `None` if it is not one of ours.
pub(super) fn segments(name: &str) -> Option<Vec<&str>> {
    let prefix = name.get(..PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then(|| name[PREFIX.len()..].split("__").collect())
}

/// Returns the binders that exist only by variables, each with its `type`.
pub(super) fn new_binders(variables: &[(String, String)], known: &[String]) -> Vec<(String, String)> {
    let named = variables.iter().filter_map(|(name, value)| {
        let segments = segments(name)?;
        let (first, rest) = segments.split_first()?;
        let (last, binder) = rest.split_last()?;
        let is_type = plain(first) == "binders" && plain(last) == "type" && !binder.is_empty();
        let is_new = is_type && longest(binder, known).is_none();
        is_new.then(|| (binder.join("__").to_lowercase().replace('_', "-"), value.trim().to_owned()))
    });
    named.collect()
}

/// Matches all variables and makes a tree of them.
pub(super) fn matched(variables: &[(String, String)], names: &Names<'_>, mistakes: &mut Mistakes) -> Matched {
    let mut paths: BTreeMap<Vec<String>, (&String, &String)> = BTreeMap::new();
    let mut of_unknown_channels = Vec::new();
    for (name, value) in variables {
        let Some(segments) = segments(name) else { continue };
        let place = Place::Variable(name.as_str().into());
        match names.target(&segments) {
            Target::UnknownChannel(channel) => of_unknown_channels.push((name.clone(), channel)),
            Target::Unknown(text) => mistakes.add(Some(&place), "", text),
            Target::Path(path) => {
                if let Some((other, _)) = paths.insert(path, (name, value)) {
                    mistakes.add(Some(&place), "", format!("means the same key as {other}; keep one"));
                }
            }
        }
    }
    Matched { tree: tree(paths), of_unknown_channels }
}

fn tree(paths: BTreeMap<Vec<String>, (&String, &String)>) -> Node {
    let mut tree = Node::empty_map();
    let mut paths: Vec<_> = paths.into_iter().collect();
    // The longest first: a value where keys are expected then comes last, stands and is refused.
    paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    for (path, (name, value)) in paths {
        let place = Place::Variable(name.as_str().into());
        tree.put(&path, Node::scalar(value, Style::Untyped, Some(place)));
    }
    tree
}

impl Names<'_> {
    fn target(&self, segments: &[&str]) -> Target {
        let Some((first, rest)) = segments.split_first() else { return Target::Unknown("names no key".to_owned()) };
        match plain(first).as_str() {
            "bindings" => self.channel(rest),
            "binders" => self.binder(rest),
            "default" => self.level(vec!["default".to_owned()], rest, &OF_ONE_CHANNEL),
            _ => walk(&STREAM, Vec::new(), segments, &["bindings", "binders", "default"]),
        }
    }

    fn channel(&self, segments: &[&str]) -> Target {
        match longest(segments, &self.channels) {
            Some((name, rest)) => self.level(vec!["bindings".to_owned(), name], rest, &[]),
            None if segments.is_empty() => Target::Unknown("names no channel".to_owned()),
            None => Target::UnknownChannel(segments[0].to_owned()),
        }
    }

    fn binder(&self, segments: &[&str]) -> Target {
        let Some((name, rest)) = longest(segments, &self.binders) else {
            let given = segments.first().copied().unwrap_or_default();
            let known: Vec<String> = self.binders.iter().map(|name| spelt(name)).collect();
            let hint = suggest::hint(given, "binders", known.iter().map(String::as_str));
            let new = format!("; a new binder needs {PREFIX}BINDERS__{given}__TYPE");
            return Target::Unknown(format!("no binder is called `{given}`{hint}{new}"));
        };
        let path = vec!["binders".to_owned(), name];
        match rest.split_first() {
            Some((key, below)) if plain(key) == "default" => {
                self.level([path, vec!["default".to_owned()]].concat(), below, &OF_ONE_CHANNEL)
            }
            Some((key, [])) if plain(key) == "type" => Target::Path([path, vec!["type".to_owned()]].concat()),
            _ => self.free(path, rest),
        }
    }

    /// Goes on in a binding, without the keys of `not`.
    fn level(&self, mut path: Vec<String>, segments: &[&str], not: &[&str]) -> Target {
        let Some((first, rest)) = segments.split_first() else { return Target::Path(path) };
        let side = ["consumer", "producer"].into_iter().find(|side| plain(first) == *side);
        let Some(side) = side else {
            if let Some(key) = not.iter().find(|key| plain(key) == plain(first)) {
                return Target::Unknown(format!("`{}` belongs to one channel: {PREFIX}BINDINGS__…", spelt(key)));
            }
            return walk(&level::BINDING, path, segments, &[]);
        };
        path.push(side.to_owned());
        let types: Vec<&str> = self.types.names().collect();
        let of_type = rest.split_first().and_then(|(key, below)| {
            let name = types.iter().find(|name| plain(name) == plain(key))?;
            Some((*name, below))
        });
        match of_type {
            Some((name, below)) => {
                path.push(name.to_owned());
                self.free(path, below)
            }
            None => walk(level::below(side), path, rest, &types),
        }
    }

    /// Goes on in what belongs to a binder: a key that exists is meant, else one is made.
    fn free(&self, mut path: Vec<String>, segments: &[&str]) -> Target {
        for segment in segments {
            if segment.is_empty() {
                return Target::Unknown("an empty name between `__`".to_owned());
            }
            let here = path.iter().try_fold(self.existing, |node, key| node.get(key)).and_then(Node::as_map);
            let existing = here.and_then(|map| map.keys().find(|key| plain(key) == plain(segment)));
            let passed_through = path.iter().any(|key| key == "configuration");
            let made = || segment.to_lowercase().replace('_', if passed_through { "." } else { "-" });
            path.push(existing.cloned().unwrap_or_else(made));
        }
        Target::Path(path)
    }
}

/// Goes down the schema; `more` are keys that may stand beside those of `shape`, for suggestions.
fn walk(mut shape: &Shape, mut path: Vec<String>, segments: &[&str], more: &[&str]) -> Target {
    let mut more = more;
    for segment in segments {
        let found = shape.entries().iter().find(|(key, _)| plain(key) == plain(segment));
        let Some((key, below)) = found else {
            let known: Vec<String> = shape.keys().chain(more.iter().copied()).map(spelt).collect();
            let under = path.iter().fold("stream".to_owned(), |path, key| super::tree::join(&path, key));
            let hint = suggest::hint(segment, "known keys", known.iter().map(String::as_str));
            return Target::Unknown(format!("`{segment}` is no key of `{under}`{hint}"));
        };
        path.push((*key).to_owned());
        (shape, more) = (below, &[]);
    }
    Target::Path(path)
}

/// Finds the name that the most of the first segments spell; a name may itself hold `__`.
fn longest<'s, 'a>(segments: &'s [&'a str], names: &[String]) -> Option<(String, &'s [&'a str])> {
    (1..=segments.len()).rev().find_map(|count| {
        let given = plain(&segments[..count].concat());
        let name = names.iter().find(|name| plain(name) == given)?;
        Some((name.clone(), &segments[count..]))
    })
}

/// A name as it is spelt in a variable.
pub(super) fn spelt(name: &str) -> String {
    name.to_uppercase().replace(['-', '.'], "_")
}
