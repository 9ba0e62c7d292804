//! TOML with the line of every key.

use std::sync::Arc;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::place::Place;
use super::tree::{Data, Map, Node, Style};
use super::yaml::Unreadable;

/// Reads a document.
pub(super) fn read(name: &Arc<str>, text: &str) -> Result<Node, Unreadable> {
    let source = Source { name, text };
    match DeTable::parse(text) {
        Ok(table) => Ok(Node::new(source.table(table.into_inner()), None)),
        Err(cause) => {
            let line = source.line(cause.span().map_or(0, |span| span.start));
            Err(Unreadable { line, reason: format!("not valid TOML: {}", cause.message()) })
        }
    }
}

struct Source<'a> {
    name: &'a Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    fn place(&self, offset: usize) -> Place {
        Place::Line { name: Arc::clone(self.name), line: self.line(offset) }
    }

    fn table(&self, table: DeTable<'_>) -> Data {
        let entries = table.into_iter().map(|(key, value)| {
            let place = self.place(key.span().start);
            (key.into_inner().into_owned(), self.value(value, place))
        });
        Data::Map(entries.collect::<Map>())
    }

    fn value(&self, value: Spanned<DeValue<'_>>, place: Place) -> Node {
        let plain = |text: String| Node::scalar(text, Style::Plain, Some(place.clone()));
        match value.into_inner() {
            DeValue::String(text) => Node::scalar(text, Style::Text, Some(place)),
            DeValue::Integer(number) => plain(number.to_string()),
            DeValue::Float(number) => plain(number.to_string()),
            DeValue::Boolean(value) => plain(value.to_string()),
            DeValue::Datetime(value) => plain(value.to_string()),
            DeValue::Array(items) => Node::new(Data::List(self.items(items)), Some(place)),
            DeValue::Table(table) => Node::new(self.table(table), Some(place)),
        }
    }

    fn items<'i>(&self, items: impl IntoIterator<Item = Spanned<DeValue<'i>>>) -> Vec<Node> {
        items
            .into_iter()
            .map(|item| (self.place(item.span().start), item))
            .map(|(place, item)| self.value(item, place))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, Unreadable> {
        read(&Arc::from("stream.toml"), text)
    }

    #[test]
    fn a_value_knows_the_line_of_its_key() {
        let root = parse("[a]\nb.c = 1\n[a.d]\ne = [\n  'x',\n]\n").ok().unwrap();
        for (path, line) in [(&["a", "b", "c"][..], 2), (&["a", "d"], 3), (&["a", "d", "e"], 4)] {
            let place = root.at(path).unwrap().place.as_ref().unwrap().to_string();
            assert_eq!(place, format!("stream.toml:{line}"), "{path:?}");
        }
    }

    #[test]
    fn broken_toml_and_double_keys_name_the_line() {
        for text in ["a = 1\nb = \n", "a = 1\na = 2\n"] {
            let refused = parse(text).map(|_| ()).unwrap_err();
            assert!(refused.line == 2 && refused.reason.starts_with("not valid TOML: "), "{}", refused.reason);
        }
    }
}
