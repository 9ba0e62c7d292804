//! YAML 1.2 with the line of every key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::place::Place;
use super::tree::{Data, Map, Node, Style};

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;

/// How many values a file may have, aliases counted as what they stand for.
const MAX_VALUES: usize = 100_000;

/// What can't be read: the line, and why.
pub(super) struct Unreadable {
    pub(super) line: usize,
    pub(super) reason: String,
}

type Outcome<T> = Result<T, Unreadable>;

/// Reads the one document of a text; an empty text is `Null`.
pub(super) fn read(name: &Arc<str>, text: &str) -> Outcome<Node> {
    Loader::new(name, text, Keys::Texts).document()
}

/// Reads all documents of a text that others made: a key may be anything that can be written as one.
pub(super) fn read_all(name: &Arc<str>, text: &str) -> Outcome<Vec<Node>> {
    Loader::new(name, text, Keys::Any).documents()
}

/// What may be a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Texts,
    Any,
}

struct Loader<'a> {
    name: Arc<str>,
    keys: Keys,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    values: usize,
    depth: usize,
}

fn unreadable<T>(at: Marker, reason: impl Into<String>) -> Outcome<T> {
    Err(Unreadable { line: at.line(), reason: reason.into() })
}

impl<'a> Loader<'a> {
    fn new(name: &Arc<str>, text: &'a str, keys: Keys) -> Self {
        let (name, parser) = (Arc::clone(name), Parser::new_from_str(text));
        Self { name, keys, parser, anchors: HashMap::new(), values: 0, depth: 0 }
    }

    fn next(&mut self) -> Outcome<(Event<'a>, Span)> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(cause)) => unreadable(*cause.marker(), format!("not valid YAML: {}", cause.info())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Outcome<Node> {
        let mut document = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(document.unwrap_or(Node::new(Data::Null, None))),
                (Event::DocumentStart(_), span) if document.is_some() => {
                    return unreadable(span.start, "a second document; a file holds one");
                }
                (Event::DocumentStart(_), _) => document = Some(self.next_value()?),
                _ => {}
            }
        }
    }

    fn documents(&mut self) -> Outcome<Vec<Node>> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(documents),
                (Event::DocumentStart(_), _) => {
                    // An anchor serves its own document.
                    self.anchors.clear();
                    documents.push(self.next_value()?);
                }
                _ => {}
            }
        }
    }

    fn next_value(&mut self) -> Outcome<Node> {
        let (event, span) = self.next()?;
        self.value(event, span)
    }

    fn value(&mut self, event: Event<'a>, span: Span) -> Outcome<Node> {
        let place = self.place(span);
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (scalar(text, style, tag, place, span)?, anchor),
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag, span)?;
                (Node::new(self.nested(span, Self::items)?, Some(place)), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag, span)?;
                (Node::new(self.nested(span, Self::entries)?, Some(place)), anchor)
            }
            Event::Alias(id) => return self.alias(id, span),
            _ => return unreadable(span.start, "not valid YAML: a value is missing"),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span) -> Outcome<Node> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            return unreadable(span.start, "an alias inside what it stands for");
        };
        self.count(size(&node), span)?;
        Ok(node)
    }

    fn nested(&mut self, span: Span, read: impl FnOnce(&mut Self) -> Outcome<Data>) -> Outcome<Data> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return unreadable(span.start, format!("nested more than {MAX_DEPTH} deep"));
        }
        let data = read(self);
        self.depth -= 1;
        data
    }

    fn items(&mut self) -> Outcome<Data> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Data::List(items)),
                (event, span) => items.push(self.value(event, span)?),
            }
        }
    }

    fn entries(&mut self) -> Outcome<Data> {
        let mut map = Map::new();
        let mut inherited = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Data::Map(inherit(map, inherited)));
            }
            let key = self.key(event, span)?;
            let mut value = self.next_value()?;
            if key == "<<" {
                inherited.extend(merge_sources(value, span)?);
                continue;
            }
            value.place = Some(self.place(span));
            if let Some(earlier) = map.insert(key.clone(), value) {
                let first = earlier.place.map(|place| format!(" (first: {place})")).unwrap_or_default();
                return unreadable(span.start, format!("the key `{key}` stands here twice{first}"));
            }
        }
    }

    fn key(&self, event: Event<'a>, span: Span) -> Outcome<String> {
        match event {
            Event::Scalar(text, ScalarStyle::Plain, _, None) if self.keys == Keys::Texts && !is_text(&text) => {
                unreadable(span.start, format!("the key `{text}` is not a text; put it in quotes"))
            }
            Event::Scalar(text, _, _, _) => Ok(text.into_owned()),
            _ => unreadable(span.start, "a key that is not a text"),
        }
    }

    fn place(&self, span: Span) -> Place {
        Place::Line { name: Arc::clone(&self.name), line: span.start.line() }
    }

    fn count(&mut self, values: usize, span: Span) -> Outcome<()> {
        self.values += values;
        if self.values > MAX_VALUES { unreadable(span.start, format!("more than {MAX_VALUES} values")) } else { Ok(()) }
    }
}

fn size(node: &Node) -> usize {
    match &node.data {
        Data::Map(map) => 1 + map.values().map(size).sum::<usize>(),
        Data::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Data::Null | Data::Scalar(_) => 1,
    }
}

/// What `<<:` may name: a map or a list of maps, the first of which wins.
fn merge_sources(value: Node, span: Span) -> Outcome<Vec<Map>> {
    let refused = || unreadable(span.start, "`<<` takes a map or a list of maps");
    match value.data {
        Data::Map(map) => Ok(vec![map]),
        Data::List(items) => {
            let maps = items.into_iter().map(|item| match item.data {
                Data::Map(map) => Some(map),
                _ => None,
            });
            maps.collect::<Option<Vec<Map>>>().map_or_else(refused, Ok)
        }
        _ => refused(),
    }
}

fn inherit(mut map: Map, inherited: Vec<Map>) -> Map {
    for (key, node) in inherited.into_iter().flatten() {
        map.entry(key).or_insert(node);
    }
    map
}

fn refuse_tag(tag: Option<Cow<'_, Tag>>, span: Span) -> Outcome<()> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            unreadable(span.start, format!("the tag `{tag}` has no meaning here"))
        }
        _ => Ok(()),
    }
}

fn scalar(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<Cow<'_, Tag>>,
    place: Place,
    span: Span,
) -> Outcome<Node> {
    let quoted = style != ScalarStyle::Plain || tag.as_ref().is_some_and(|tag| tag.suffix == "str");
    refuse_tag(tag, span)?;
    if !quoted && is_null(&text) {
        return Ok(Node::new(Data::Null, Some(place)));
    }
    let style = if quoted { Style::Text } else { Style::Plain };
    Ok(Node::scalar(text, style, Some(place)))
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Whether a plain scalar is a text rather than nothing, a boolean or a number.
pub(super) fn is_text(text: &str) -> bool {
    let number = text.parse::<f64>().is_ok() && text.chars().any(|c| c.is_ascii_digit());
    !is_null(text) && !matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE") && !number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Outcome<Node> {
        read(&Arc::from("stream.yaml"), text)
    }

    fn refused(text: &str) -> String {
        parse(text).map(|_| ()).map_err(|cause| format!("{}: {}", cause.line, cause.reason)).unwrap_err()
    }

    #[test]
    fn a_value_knows_the_line_of_its_key() {
        let root = parse("# first\na:\n  b:\n    c: 1\n").ok().unwrap();
        assert_eq!(root.at(&["a", "b"]).unwrap().place.as_ref().unwrap().to_string(), "stream.yaml:3");
        assert_eq!(root.at(&["a", "b", "c"]).unwrap().place.as_ref().unwrap().to_string(), "stream.yaml:4");
    }

    #[test]
    fn an_alias_stands_for_its_anchor_and_a_merge_key_for_its_keys() {
        let root = parse("a: &x { k: 1, l: 2 }\nb: *x\nc: { <<: *x, k: 3 }\n").ok().unwrap();
        assert_eq!(root.at(&["b", "l"]).unwrap().as_text(), Some("2"));
        assert_eq!(root.at(&["c", "k"]).unwrap().as_text(), Some("3"));
        assert_eq!(root.at(&["c", "l"]).unwrap().as_text(), Some("2"));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert_eq!(refused("a:\n  b: 1\n  c: 2\n  b: 3\n"), "4: the key `b` stands here twice (first: stream.yaml:2)");
    }

    #[test]
    fn a_key_that_is_no_text_is_refused() {
        for text in ["1: a", "true: a", "~: a", "1.5: a", "[a]: b", "{a: b}: c"] {
            assert!(refused(text).contains("not a text"), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn broken_yaml_names_the_line() {
        assert!(refused("a: 1\nb: [1,\n").starts_with("3: not valid YAML: "), "{}", refused("a: 1\nb: [1,\n"));
    }

    #[test]
    fn a_second_document_is_refused() {
        assert_eq!(refused("a: 1\n---\nb: 1\n"), "2: a second document; a file holds one");
    }

    #[test]
    fn all_documents_are_read_and_their_keys_may_be_numbers() {
        let name = Arc::from("application.yml");
        let documents = read_all(&name, "1: a\n---\ntrue: b\n---\n").ok().unwrap();
        assert_eq!(documents.len(), 3);
        assert_eq!(documents[0].get("1").unwrap().as_text(), Some("a"));
        assert_eq!(documents[1].get("true").unwrap().place.as_ref().unwrap().to_string(), "application.yml:3");
        assert!(documents[2].is_null());
        assert!(read_all(&name, "a: &x 1\n---\nb: *x\n").is_err(), "an alias of another document");
    }

    #[test]
    fn aliases_do_not_grow_without_end() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        assert!(refused(&text).contains("more than 100000 values"));
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(refused(&format!("{}{}", "[".repeat(100), "]".repeat(100))), "1: nested more than 64 deep");
    }

    #[test]
    fn an_empty_text_says_nothing() {
        for text in ["", "# only a comment\n", "---\n"] {
            assert!(parse(text).ok().unwrap().is_null(), "{text}");
        }
    }

    #[test]
    fn nothing_is_not_a_text() {
        let root = parse("a:\nb: ''\nc: null\n").ok().unwrap();
        assert!(root.get("a").unwrap().is_null() && root.get("c").unwrap().is_null());
        assert_eq!(root.get("b").unwrap().as_text(), Some(""));
    }
}
