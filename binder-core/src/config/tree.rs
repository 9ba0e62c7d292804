//! Values with their origins, whatever they were written in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::place::Place;

/// A value, where it was written and, once [located](Node::locate), its path in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) data: Data,
    pub(super) place: Option<Place>,
    pub(super) path: Arc<str>,
}

/// The keys of a map.
pub(super) type Map = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
pub(super) enum Data {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// A single value, as it was written; the type it is read into decides what it means.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: String,
    pub(super) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Quoted: a text only.
    Text,
    /// Not quoted: a number, a boolean, or a text where one is expected.
    Plain,
    /// Of an environment variable, which has no types: also a list, by its commas.
    Untyped,
}

impl Node {
    pub(super) fn new(data: Data, place: Option<Place>) -> Self {
        Self { data, place, path: Arc::from("") }
    }

    pub(super) fn scalar(text: impl Into<String>, style: Style, place: Option<Place>) -> Self {
        Self::new(Data::Scalar(Scalar { text: text.into(), style }), place)
    }

    pub(super) fn empty_map() -> Self {
        Self::new(Data::Map(Map::new()), None)
    }

    /// Converts a value that the application made.
    pub(super) fn from_json(value: Value, place: &Place) -> Self {
        let data = match value {
            Value::Null => Data::Null,
            Value::Bool(value) => return Self::scalar(value.to_string(), Style::Plain, Some(place.clone())),
            Value::Number(value) => return Self::scalar(value.to_string(), Style::Plain, Some(place.clone())),
            Value::String(text) => return Self::scalar(text, Style::Text, Some(place.clone())),
            Value::Array(items) => Data::List(items.into_iter().map(|item| Self::from_json(item, place)).collect()),
            Value::Object(map) => {
                Data::Map(map.into_iter().map(|(key, value)| (key, Self::from_json(value, place))).collect())
            }
        };
        Self::new(data, Some(place.clone()))
    }

    pub(super) fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.data {
            Data::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.data, Data::Null)
    }

    /// Returns what stands under a key of a map.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key)
    }

    /// Returns what stands under several keys, one below the other.
    pub(super) fn at(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// Takes a key out of a map.
    pub(super) fn take(&mut self, key: &str) -> Option<Self> {
        self.as_map_mut()?.remove(key)
    }

    /// Puts a value under a path and makes the maps above it; a value on the way gives room to a map.
    pub(super) fn put(&mut self, path: &[String], value: Self) {
        let Some((key, below)) = path.split_first() else {
            self.merge(value);
            return;
        };
        if self.as_map().is_none() {
            self.data = Data::Map(Map::new());
        }
        let place = value.place.clone();
        let map = self.as_map_mut().expect("it was made a map above");
        map.entry(key.clone()).or_insert_with(|| Self::new(Data::Null, place)).put(below, value);
    }

    /// Lays a later value over this one: maps are merged deeply, all else is replaced. Nothing (`key:`) leaves a map as it is.
    pub(super) fn merge(&mut self, later: Self) {
        match (&mut self.data, later.data) {
            (Data::Map(map), Data::Map(over)) => merge_maps(map, over),
            (Data::Map(_), Data::Null) => {}
            (data, over) => {
                *data = over;
                self.place = later.place;
                self.path = later.path;
            }
        }
    }

    /// Notes the path on every value.
    pub(super) fn locate(&mut self, path: &str) {
        self.path = Arc::from(path);
        match &mut self.data {
            Data::Map(map) => map.iter_mut().for_each(|(key, node)| node.locate(&join(path, key))),
            Data::List(items) => {
                items.iter_mut().enumerate().for_each(|(index, node)| node.locate(&format!("{path}[{index}]")));
            }
            Data::Null | Data::Scalar(_) => {}
        }
    }

    /// Removes the keys without a value: they say the same as no key.
    pub(super) fn without_nulls(mut self) -> Self {
        self.data = match self.data {
            Data::Map(map) => Data::Map(
                map.into_iter()
                    .filter(|(_, node)| !node.is_null())
                    .map(|(key, node)| (key, node.without_nulls()))
                    .collect(),
            ),
            other => other,
        };
        self
    }
}

fn merge_maps(map: &mut Map, later: Map) {
    for (key, node) in later {
        match map.get_mut(&key) {
            Some(earlier) => earlier.merge(node),
            None => drop(map.insert(key, node)),
        }
    }
}

/// Returns the path of a key.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map as JsonMap, json};

    use super::*;

    fn node(value: Value) -> Node {
        Node::from_json(value, &Place::Code)
    }

    /// What a tree says, to compare it.
    fn said(node: &Node) -> Value {
        match &node.data {
            Data::Null => Value::Null,
            Data::Scalar(scalar) => Value::String(scalar.text.clone()),
            Data::List(items) => items.iter().map(said).collect(),
            Data::Map(map) => map.iter().map(|(key, node)| (key.clone(), said(node))).collect::<JsonMap<_, _>>().into(),
        }
    }

    fn merged(sources: &[&Value]) -> Value {
        let mut root = Node::empty_map();
        for source in sources {
            root.merge(node((*source).clone()));
        }
        said(&root)
    }

    /// Maps of maps of texts and lists, with few keys so that they meet.
    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<u8>().prop_map(|value| json!(value.to_string())),
            prop::collection::vec("[a-z]", 0..3).prop_map(|items| json!(items)),
        ];
        let inner = leaf.prop_recursive(3, 16, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<JsonMap<_, _>>()))
        });
        prop::collection::btree_map("[a-d]", inner, 0..4)
            .prop_map(|map| Value::Object(map.into_iter().collect::<JsonMap<_, _>>()))
    }

    fn leaves(value: &Value, path: &str, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| leaves(value, &format!("{path}/{key}"), found)),
            other => found.push((path.to_owned(), other.clone())),
        }
    }

    proptest! {
        #[test]
        fn the_later_source_wins(first in tree(), second in tree()) {
            let merged = merged(&[&first, &second]);
            let mut expected = Vec::new();
            leaves(&second, "", &mut expected);
            for (path, value) in expected {
                prop_assert_eq!(merged.pointer(&path), Some(&value));
            }
        }

        #[test]
        fn what_only_the_earlier_source_says_stays(first in tree(), second in tree()) {
            let merged = merged(&[&first, &second]);
            let mut expected = Vec::new();
            leaves(&first, "", &mut expected);
            for (path, value) in expected {
                let overridden = path.match_indices('/').skip(1).map(|(end, _)| &path[..end]).chain([path.as_str()])
                    .any(|prefix| second.pointer(prefix).is_some_and(|over| prefix == path || !over.is_object()));
                if !overridden {
                    prop_assert_eq!(merged.pointer(&path), Some(&value));
                }
            }
        }

        #[test]
        fn the_order_of_disjoint_sources_does_not_matter(first in tree(), second in tree()) {
            let (first, second) = (json!({ "left": { "x": first } }), json!({ "left": { "y": second } }));
            prop_assert_eq!(merged(&[&first, &second]), merged(&[&second, &first]));
        }
    }

    #[test]
    fn a_list_is_replaced() {
        assert_eq!(merged(&[&json!({ "a": ["x", "y"] }), &json!({ "a": ["z"] })]), json!({ "a": ["z"] }));
    }

    #[test]
    fn an_empty_section_leaves_what_stands_there() {
        assert_eq!(merged(&[&json!({ "a": { "b": "1" } }), &json!({ "a": null })]), json!({ "a": { "b": "1" } }));
    }

    #[test]
    fn a_value_knows_its_path() {
        let mut root = node(json!({ "a": { "b": ["x"] } }));
        root.locate("stream");
        let Data::List(items) = &root.at(&["a", "b"]).unwrap().data else { panic!("no list") };
        assert_eq!(items[0].path.as_ref(), "stream.a.b[0]");
    }
}
