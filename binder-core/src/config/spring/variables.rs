//! Variables by which Spring lets the environment win: `SPRING_KAFKA_BOOTSTRAP_SERVERS`.
//!
//! A name has no case and no punctuation, so it is matched to the properties that the files have, and to those of the table.

use std::collections::BTreeMap;

use super::binders::{Owner, locate};
use super::names::Key;
use super::source::{Entry, Environment, Properties, Value};
use super::table::Area;
use crate::config::place::{Mistakes, Place};

/// Where a variable is one of ours; the last is shared with other libraries.
const PREFIXES: [&str; 4] = ["SPRING_CLOUD_STREAM_", "SPRING_KAFKA_", "SPRING_RABBITMQ_", "SPRING_CLOUD_FUNCTION_"];

/// Lays variables over properties.
pub(super) fn lay(properties: &mut Properties, environment: Environment<'_>, mistakes: &mut Mistakes) {
    let is_ours = |name: &str, prefix: &str| {
        name.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix))
    };
    let names = candidates(properties);
    let mut lists: BTreeMap<String, (BTreeMap<usize, String>, Place)> = BTreeMap::new();
    for (name, value) in environment.0 {
        let Some(prefix) = PREFIXES.iter().find(|prefix| is_ours(name, prefix)) else { continue };
        let place = Place::Variable(name.as_str().into());
        let item = || {
            let (list, index) = indexed(name)?;
            Some((find(list, &names)?, index))
        };
        let whole = find(name, &names);
        if let (None, Some((key, index))) = (&whole, item()) {
            lists.entry(key).or_insert_with(|| (BTreeMap::new(), place)).0.insert(index, value.clone());
            continue;
        }
        match whole {
            Some(key) => properties.insert(Entry { key: Key::parse(&key), value: Value::Text(value.clone()), place }),
            // Kafka and RabbitMQ may be of no concern here, and functions have more properties.
            None if *prefix != PREFIXES[0] => {}
            None => {
                let text = "names no property of Spring Cloud Stream, or a binding or binder that the files have not";
                mistakes.add(Some(&place), "", text);
            }
        }
    }
    for (key, (items, place)) in lists {
        if let Some((expected, _)) = items.keys().enumerate().find(|(expected, index)| expected != *index) {
            mistakes.add(Some(&place), key.as_str(), format!("the list has no [{expected}]"));
        }
        let value = Value::List(items.into_values().collect());
        properties.insert(Entry { key: Key::parse(&key), value, place });
    }
}

/// An item of a list, `…_SERVERS_0` or `…_SERVERS_0_`: the name of the list, and which it is.
fn indexed(name: &str) -> Option<(&str, usize)> {
    let (list, index) = name.strip_suffix('_').unwrap_or(name).rsplit_once('_')?;
    Some((list, index.parse().ok()?))
}

/// Returns the names that a variable may mean, those of the files first.
fn candidates(properties: &Properties) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let (mut bindings, mut binders): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for entry in properties.entries() {
        let Some((_, owner, _)) = locate(&entry.key) else { continue };
        names.push(super::names::shown(&entry.key.0));
        let (list, name) = match owner {
            Owner::Binding(name) | Owner::BindingOf(_, name) => (&mut bindings, name),
            Owner::Entry(name) | Owner::Environment(name) => (&mut binders, name),
            _ => continue,
        };
        if !list.contains(&name) {
            list.push(name);
        }
    }
    for area in Area::ALL {
        let prefixes: Vec<String> = match area.prefix() {
            prefix if prefix.contains("<binding>") => {
                let own = bindings.iter().map(|binding| prefix.replace(".<binding>", &format!("[{binding}]")));
                own.chain([prefix.replace("bindings.<binding>", "default")]).collect()
            }
            prefix if prefix.contains("<binder>") => {
                binders.iter().map(|binder| prefix.replace(".<binder>", &format!("[{binder}]"))).collect()
            }
            prefix => vec![prefix.to_owned()],
        };
        let rows = prefixes.iter().flat_map(|prefix| area.rows().map(move |row| format!("{prefix}.{}", row.name)));
        names.extend(rows);
    }
    names
}

/// Finds the property that a variable spells: a name of its own, or one of the file's own below an open one.
fn find(variable: &str, names: &[String]) -> Option<String> {
    let wanted = plain(variable);
    if let Some(name) = names.iter().find(|name| !name.ends_with(".*") && plain(name) == wanted) {
        return Some(name.clone());
    }
    names
        .iter()
        .filter_map(|name| {
            let open = name.strip_suffix(".*")?;
            let rest = below(variable, &plain(open))?;
            Some(format!("{open}.{}", rest.to_lowercase().replace('_', ".")))
        })
        .max_by_key(String::len)
}

/// Returns what follows a beginning that is written without punctuation.
fn below<'v>(variable: &'v str, beginning: &str) -> Option<&'v str> {
    let (end, _) = variable.char_indices().find(|(at, c)| *c == '_' && plain(&variable[..*at]) == beginning)?;
    Some(&variable[end + 1..]).filter(|rest| !rest.is_empty())
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
