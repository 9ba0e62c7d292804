//! Files of a Spring Boot application as one set of properties: documents and profiles are laid over each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{Key, shown, variable};
use super::note::Notes;
use super::{placeholders, profiles, properties, scalar};
use crate::config::place::{Mistakes, Place};
use crate::config::tree::{Data, Node, Style};
use crate::config::yaml::{self, Unreadable};

/// Extensions of a profile's files; the later wins.
const EXTENSIONS: [&str; 3] = ["yml", "yaml", "properties"];

/// Names the active profiles.
const ACTIVE: &str = "spring.profiles.active";

/// What a property says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    List(Vec<String>),
}

/// A property with its value, as it was written.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) value: Value,
    pub(super) place: Place,
}

/// The environment of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment<'a>(pub(super) &'a [(String, String)]);

impl Environment<'_> {
    /// Returns a variable by its own name, or by that of a property.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let find = |wanted: &str| self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        find(name).or_else(|| find(&variable(name)))
    }
}

/// Properties by what their spellings have in common.
#[derive(Debug, Default)]
pub(super) struct Properties(BTreeMap<String, Entry>);

impl Properties {
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.0.insert(entry.key.canonical(), entry);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(&Key::parse(name).canonical())
    }

    /// Returns an entry with the placeholders of its value resolved, and blanks around it removed.
    pub(super) fn resolved(&self, entry: &Entry, environment: Environment<'_>) -> Result<Entry, String> {
        let resolve = |text: &str| {
            let resolved = placeholders::resolve(text, &|name| self.lookup(name, environment))?;
            Ok::<_, String>(resolved.trim().to_owned())
        };
        let value = match &entry.value {
            Value::Text(text) => Value::Text(resolve(text)?),
            Value::List(items) => Value::List(items.iter().map(|item| resolve(item)).collect::<Result<_, _>>()?),
        };
        Ok(Entry { value, ..entry.clone() })
    }

    fn lookup(&self, name: &str, environment: Environment<'_>) -> Option<String> {
        environment.get(name).or_else(|| match &self.get(name)?.value {
            Value::Text(text) => Some(text.clone()),
            Value::List(items) => Some(items.join(",")),
        })
    }
}

/// One document of a file.
struct Document {
    properties: Properties,
    /// When it is in force; `None` is always.
    condition: Option<Entry>,
}

/// Reads the files of an application: `path` and the files of active profiles beside it. Returns their names too.
pub(super) fn load(
    directory: &Path,
    path: &Path,
    asked: &[String],
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
    notes: &mut Notes,
) -> (Properties, Vec<String>) {
    let mut names = vec![path.display().to_string()];
    let documents = file(directory, path, mistakes);
    let active = active(&documents, asked, environment, mistakes);
    let mut used: Vec<String> = Vec::new();
    let mut all = Properties::default();
    lay(&mut all, documents, &active, &mut used, mistakes);
    for profile in &active {
        let base = path.with_extension("").display().to_string();
        let files = EXTENSIONS.map(|extension| PathBuf::from(format!("{base}-{profile}.{extension}")));
        for path in files.iter().filter(|path| directory.join(path).is_file()) {
            names.push(path.display().to_string());
            used.push(profile.clone());
            lay(&mut all, file(directory, path, mistakes), &active, &mut used, mistakes);
        }
    }
    if let Some(entry) = all.get("spring.config.import") {
        let text = "is not read: what stands there is missing here; name the file by itself, or put a stream.yaml after this one";
        notes.add(Some(&entry.place), shown(&entry.key.0), text);
    }
    for profile in active.iter().filter(|profile| *profile != "default" && !used.contains(profile)) {
        notes.add(None, ACTIVE, format!("the profile `{profile}` has neither a document nor a file"));
    }
    (all, names)
}

/// Lays documents that are in force over what there is.
fn lay(
    all: &mut Properties,
    documents: Vec<Document>,
    active: &[String],
    used: &mut Vec<String>,
    mistakes: &mut Mistakes,
) {
    for document in documents {
        if let Some(condition) = &document.condition {
            let expression = text(&condition.value);
            let named = active.iter().filter(|profile| expression.contains(profile.as_str()));
            used.extend(named.cloned());
            match profiles::holds(&expression, active) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    mistakes.add(Some(&condition.place), shown(&condition.key.0), why);
                    continue;
                }
            }
        }
        document.properties.0.into_values().for_each(|entry| all.insert(entry));
    }
}

/// Returns the active profiles, those that win last.
fn active(
    documents: &[Document],
    asked: &[String],
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let mut unconditional = Properties::default();
    for document in documents.iter().filter(|document| document.condition.is_none()) {
        document.properties.entries().for_each(|entry| unconditional.insert(entry.clone()));
    }
    let mut listed = |name: &str| match unconditional.get(name) {
        _ if environment.get(name).is_some() => split(&environment.get(name).unwrap_or_default()),
        Some(entry) => match unconditional.resolved(entry, environment) {
            Ok(entry) => split(&text(&entry.value)),
            Err(why) => {
                mistakes.add(Some(&entry.place), shown(&entry.key.0), why);
                Vec::new()
            }
        },
        None => Vec::new(),
    };
    let chosen = match environment.get(ACTIVE) {
        _ if !asked.is_empty() => asked.to_vec(),
        Some(names) => split(&names),
        None => listed(ACTIVE),
    };
    let mut named: Vec<String> = listed("spring.profiles.include").into_iter().chain(chosen).collect();
    if named.is_empty() {
        named = listed("spring.profiles.default");
    }
    if named.is_empty() {
        named.push("default".to_owned());
    }
    // a group stands for its members, which may be groups
    let mut active: Vec<String> = Vec::new();
    let mut waiting: Vec<String> = named.into_iter().rev().collect();
    while let Some(profile) = waiting.pop() {
        if !active.contains(&profile) {
            waiting.extend(listed(&format!("spring.profiles.group.{profile}")).into_iter().rev());
            active.push(profile);
        }
    }
    active
}

/// Splits a text at its commas.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// A value as one text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::List(items) => items.join(","),
    }
}

fn file(directory: &Path, path: &Path, mistakes: &mut Mistakes) -> Vec<Document> {
    let name: Arc<str> = path.display().to_string().into();
    let is_yaml = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml") => true,
        Some("properties") => false,
        _ => {
            let text = "expected a name that ends in .yml, .yaml or .properties";
            mistakes.add(Some(&Place::File(name)), "", text);
            return Vec::new();
        }
    };
    let content = match std::fs::read(directory.join(path)) {
        Ok(content) => decoded(content),
        Err(cause) => {
            mistakes.add(Some(&Place::File(name)), "", format!("can't be read: {cause}"));
            return Vec::new();
        }
    };
    match documents(&name, is_yaml, &content) {
        Ok(documents) => documents.into_iter().map(|entries| document(entries, mistakes)).collect(),
        Err(cause) => {
            mistakes.add(Some(&Place::Line { name, line: cause.line }), "", cause.reason);
            Vec::new()
        }
    }
}

/// Java reads `.properties` as Latin-1; what is UTF-8 is meant as such.
fn decoded(content: Vec<u8>) -> String {
    String::from_utf8(content).unwrap_or_else(|cause| cause.into_bytes().into_iter().map(char::from).collect())
}

fn documents(name: &Arc<str>, is_yaml: bool, content: &str) -> Result<Vec<Vec<Entry>>, Unreadable> {
    if is_yaml {
        let documents = yaml::read_all(name, content)?;
        return Ok(documents
            .iter()
            .map(|document| {
                let mut entries = Vec::new();
                flatten(document, "", &mut entries);
                entries
            })
            .collect());
    }
    let entry = |property: properties::Property| Entry {
        key: Key::parse(&property.key),
        value: Value::Text(property.value),
        place: Place::Line { name: Arc::clone(name), line: property.line },
    };
    Ok(properties::read(content).into_iter().map(|document| document.into_iter().map(entry).collect()).collect())
}

/// Writes a tree as properties: `a: { b: [x] }` is `a.b[0]`.
fn flatten(node: &Node, path: &str, entries: &mut Vec<Entry>) {
    let place = || node.place.clone().unwrap_or(Place::Code);
    match &node.data {
        Data::Map(map) => map.iter().for_each(|(key, node)| {
            let dot = if path.is_empty() || key.starts_with('[') { "" } else { "." };
            flatten(node, &format!("{path}{dot}{key}"), entries);
        }),
        Data::List(items) if items.iter().all(|item| item.as_map().is_none()) => {
            let items = items.iter().map(scalar_of).collect();
            entries.push(Entry { key: Key::parse(path), value: Value::List(items), place: place() });
        }
        Data::List(items) => items.iter().enumerate().for_each(|(index, node)| {
            flatten(node, &format!("{path}[{index}]"), entries);
        }),
        Data::Scalar(_) | Data::Null if path.is_empty() => {}
        Data::Scalar(_) | Data::Null => {
            entries.push(Entry { key: Key::parse(path), value: Value::Text(scalar_of(node)), place: place() });
        }
    }
}

fn scalar_of(node: &Node) -> String {
    match &node.data {
        Data::Scalar(found) if found.style == Style::Plain => scalar::plain(&found.text),
        _ => node.as_text().unwrap_or_default().to_owned(),
    }
}

/// Gathers `a[0]`, `a[1]` to lists, and finds the condition.
fn document(entries: Vec<Entry>, mistakes: &mut Mistakes) -> Document {
    let mut properties = Properties::default();
    let mut lists: BTreeMap<String, BTreeMap<usize, Entry>> = BTreeMap::new();
    for entry in entries {
        match entry.key.split_index() {
            Some((list, index)) => drop(lists.entry(list.canonical()).or_default().insert(index, entry)),
            None => properties.insert(entry),
        }
    }
    for items in lists.into_values() {
        let gap = items.keys().enumerate().find(|(expected, index)| *expected != **index);
        if let Some((expected, index)) = gap {
            let entry = &items[index];
            mistakes.add(Some(&entry.place), shown(&entry.key.0), format!("the list has no [{expected}]"));
        }
        let Some(first) = items.values().next().cloned() else { continue };
        let key = first.key.split_index().map_or_else(|| first.key.clone(), |(key, _)| key);
        let value = Value::List(items.values().map(|item| text(&item.value)).collect());
        properties.insert(Entry { key, value, place: first.place });
    }
    let platform = "spring.config.activate.on-cloud-platform";
    if let Some(entry) = properties.get(platform) {
        let text = "is not known here; say it by a profile (`spring.config.activate.on-profile`)";
        mistakes.add(Some(&entry.place), platform, text);
    }
    // Before Spring Boot 2.4 the condition was called `spring.profiles`.
    let condition = properties.get("spring.config.activate.on-profile").or_else(|| properties.get("spring.profiles"));
    Document { condition: condition.cloned(), properties }
}
