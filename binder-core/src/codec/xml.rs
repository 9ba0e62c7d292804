//! `application/xml`, by quick-xml.
//!
//! A field is an element of its name, `#[serde(rename = "@name")]` an attribute, `#[serde(rename = "$text")]` the text, and a list an element for
//! each item. The root has the name of the type. No entity but XML's own five is known, so that none can grow.

use std::fmt;

use quick_xml::Error;
use quick_xml::de::Deserializer;
use quick_xml::errors::IllFormedError;
use quick_xml::se::Serializer;
use quick_xml::{DeError, SeError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::quiet;
use super::reason::Reason;

/// How many elements may stand within each other.
const DEEPEST: usize = 128;

/// How many bytes a document may have.
const LONGEST: usize = 16 << 20;

/// Appends `value` as a document without a declaration.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Reason> {
    let mut text = Text(out);
    value.serialize(Serializer::new(&mut text)).map(|_| ()).map_err(|error| unwritten(&error))
}

/// What is written is text.
struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.chars().all(is_known) {
            return Err(fmt::Error);
        }
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Whether XML has the character, escaped or not.
fn is_known(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Reads a document. Elements and attributes that the type does not know are passed over.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Reason> {
    if bytes.len() > LONGEST {
        return Err(Reason::new(format!("it has {} bytes, XML may have {LONGEST}", bytes.len())));
    }
    let text = std::str::from_utf8(bytes).map_err(|cause| Reason::new(cause.to_string()))?;
    // what may stand behind the root
    let mut document = Deserializer::from_str(text.trim_end_matches([' ', '\t', '\r', '\n']));
    document.recursion_limit(DEEPEST);
    let value = quiet::read(&mut document, unread)?;
    if document.is_empty() { Ok(value) } else { Err(Reason::new("there is more behind the root element")) }
}

#[cold]
fn unread(error: &DeError) -> Reason {
    match error {
        DeError::InvalidXml(error) => ill_formed(error),
        DeError::MixedContent(_) => Reason::new("elements where a text was expected"),
        DeError::UnexpectedEof => Reason::new("it ends too early"),
        DeError::TooDeeplyNested(limit) => Reason::new(format!("more than {limit} elements within each other")),
        DeError::Custom(_) | DeError::KeyNotRead => Reason::new("the type does not fit"),
        #[allow(
            unreachable_patterns,
            reason = "another crate may switch on its feature `overlapped-lists`, which adds one"
        )]
        _ => Reason::new("it is not what XML may be"),
    }
}

/// Says what is wrong without the names that are in the document.
#[cold]
fn ill_formed(error: &Error) -> Reason {
    Reason::new(match error {
        Error::IllFormed(IllFormedError::MissingEndTag(_)) => "an element has no end",
        Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) => "an end without an element",
        Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => "an element ends by another name",
        Error::IllFormed(_) => "it is not well-formed",
        Error::Syntax(_) => "it is no XML: something that was begun does not end",
        Error::InvalidAttr(_) => "an attribute is not well-formed",
        Error::Encoding(_) => "its encoding is not UTF-8",
        Error::Escape(_) => "an entity that XML itself does not have",
        Error::Namespace(_) => "a namespace that is not declared",
        Error::Io(_) => "it can't be read",
    })
}

#[cold]
fn unwritten(error: &SeError) -> Reason {
    Reason::new(match error {
        SeError::Custom(_) => "the type's `Serialize` refused the value",
        SeError::Unsupported(_) => {
            "XML has no place for it: the root needs the name of a struct or enum, names begin with a letter, and bytes and lists of lists have none"
        }
        SeError::Fmt(_) => "a character that XML does not have",
        SeError::Io(_) | SeError::NonEncodable(_) => "it can't be written",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Order {
        #[serde(rename = "@id")]
        id: u32,
        customer: Customer,
        #[serde(default)]
        line: Vec<Line>,
        note: Option<String>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Customer {
        #[serde(rename = "@vip", default)]
        vip: bool,
        #[serde(rename = "$text")]
        name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        product: String,
        #[serde(default)]
        tag: Vec<String>,
        state: State,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum State {
        Open,
        Sent,
    }

    fn order() -> Order {
        let line = |product: &str, tags: &[&str], state| Line {
            product: product.to_owned(),
            tag: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            state,
        };
        Order {
            id: 7,
            customer: Customer { vip: true, name: "A & B <GmbH>".to_owned() },
            line: vec![line("CATALOG-001", &["new", "größer"], State::Open), line("CATALOG-002", &[], State::Sent)],
            note: None,
        }
    }

    const ORDER: &str = "<Order id=\"7\"><customer vip=\"true\">A &amp; B &lt;GmbH&gt;</customer>\
        <line><product>CATALOG-001</product><tag>new</tag><tag>größer</tag><state>Open</state></line>\
        <line><product>CATALOG-002</product><state>Sent</state></line><note/></Order>";

    fn written(value: &impl Serialize) -> String {
        let mut out = Vec::new();
        write(value, &mut out).expect("it has a place");
        String::from_utf8(out).expect("it is text")
    }

    fn reason<T: DeserializeOwned + fmt::Debug>(text: &str) -> String {
        read::<T>(text.as_bytes()).expect_err("refused").to_string()
    }

    #[test]
    fn attributes_lists_and_text_have_their_places() {
        assert_eq!(written(&order()), ORDER);
        let read: Order = read(ORDER.as_bytes()).expect("it is one");
        // what has no text is empty, as far as XML knows
        assert_eq!(read, Order { note: Some(String::new()), ..order() });
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Texts {
        #[serde(rename = "@attribute")]
        attribute: String,
        element: String,
        #[serde(default)]
        items: Vec<String>,
    }

    proptest! {
        #[test]
        fn a_text_is_the_same_afterwards(
            attribute in text(), element in text(), items in proptest::collection::vec(text(), 0..4)
        ) {
            let texts = Texts { attribute, element, items };
            prop_assert_eq!(&read::<Texts>(written(&texts).as_bytes()).expect("it was written"), &texts);
        }

        #[test]
        fn nothing_that_comes_makes_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), at in 0..ORDER.len()) {
            drop(read::<Order>(&bytes));
            let mut document = ORDER.as_bytes().to_vec();
            document.splice(at..at, bytes);
            drop(read::<Order>(&document));
        }
    }

    /// What XML has characters for, often such as need care.
    fn text() -> impl Strategy<Value = String> {
        "([ \\t\\n\\r&<>'\"\\]!-]|[\\t\\n\\r\\x20-\\u{fffd}]|[\\u{10000}-\\u{10ffff}]){0,12}"
    }

    #[test]
    fn characters_that_xml_does_not_have_are_not_written() {
        for text in ["a\u{0}", "\u{1}", "\u{1b}[1m", "\u{fffe}", "x\u{ffff}x"] {
            let texts = Texts { attribute: String::new(), element: text.to_owned(), items: Vec::new() };
            let error = write(&texts, &mut Vec::new()).expect_err("refused");
            assert_eq!(error.to_string(), "a character that XML does not have");
        }
    }

    #[test]
    fn a_document_is_as_the_guide_shows_it() {
        #[derive(Serialize)]
        struct Order {
            #[serde(rename = "@id")]
            id: u32,
            customer: &'static str,
            line: Vec<Item>,
        }
        #[derive(Serialize)]
        struct Item {
            #[serde(rename = "@quantity")]
            quantity: u32,
            #[serde(rename = "$text")]
            product: &'static str,
        }
        let order = Order { id: 7, customer: "Ann", line: vec![Item { quantity: 2, product: "CATALOG-001" }] };
        let text = "<Order id=\"7\"><customer>Ann</customer><line quantity=\"2\">CATALOG-001</line></Order>";
        assert_eq!(written(&order), text);
    }

    #[test]
    fn what_others_write_is_read() {
        let text = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- by hand -->\n<order unknown='1' id='7'>\n  \
            <line><state>Sent</state><extra><deep/></extra><product><![CDATA[<b>]]></product></line>\n  \
            <customer>&#65;&apos;s</customer>\n</order>\n";
        let read: Order = read(text.as_bytes()).expect("it is one");
        assert_eq!((read.id, read.customer.name.as_str(), read.note), (7, "A's", None));
        assert_eq!(read.line, [Line { product: "<b>".to_owned(), tag: vec![], state: State::Sent }]);
    }

    #[test]
    fn what_is_refused_is_told_without_the_payload() {
        const SECRET: &str = "4111";
        for (text, expected) in [
            ("<Line><product>4111</product>", "an element has no end"),
            ("<Line><product>4111</x4111></Line>", "an element ends by another name"),
            ("<Line><product>4111</product><state>4111</state></Line>", "unknown variant; there are `Open`, `Sent`"),
            ("<Line><state>Open</state><tag>4111</tag></Line>", "missing field `product`"),
            ("<Line><product>&x4111;</product></Line>", "an entity that XML itself does not have"),
            ("<Line><product><b4111/></product></Line>", "elements where a text was expected"),
            ("<Line><product>4111", "an element has no end"),
            ("<Line 4111></Line>", "an attribute is not well-formed"),
            ("4111", "a string where struct Line was expected"),
            ("", "it ends too early"),
            ("<Line", "it is no XML: something that was begun does not end"),
        ] {
            let reason = reason::<Line>(text);
            assert_eq!(reason, expected, "{text}");
            assert!(!reason.contains(SECRET));
        }
        assert_eq!(reason::<Customer>("<c vip='4111'>x</c>"), "a string where a boolean was expected");
    }

    #[test]
    fn numbers_that_are_none_are_told_without_them() {
        let text = ORDER.replace("id=\"7\"", "id=\"4111x\"");
        assert!(!reason::<Order>(&text).contains("4111"));
    }

    #[test]
    fn one_root_is_one_payload() {
        let two = "<Line><product>a</product><state>Open</state></Line><Line/>";
        assert_eq!(reason::<Line>(two), "there is more behind the root element");
        assert_eq!(reason::<Line>(&two.replace("<Line/>", "x")), "there is more behind the root element");
    }

    #[derive(Debug, Deserialize)]
    struct Tree {
        #[expect(dead_code, reason = "read by serde only")]
        tree: Option<Box<Tree>>,
    }

    #[test]
    fn nothing_nests_or_grows_without_end() {
        let nested = |depth| format!("{}{}", "<tree>".repeat(depth), "</tree>".repeat(depth));
        assert!(read::<Tree>(nested(100).as_bytes()).is_ok());
        assert_eq!(reason::<Tree>(&nested(100_000)), "more than 128 elements within each other");
        // passed over, and so not kept anywhere
        let unknown = format!("<Line><product>a</product><state>Open</state>{}</Line>", nested(100_000));
        assert!(read::<Line>(unknown.as_bytes()).is_ok());
        let bomb = "<!DOCTYPE b [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><Line><product>&b;</product><state>Open</state></Line>";
        assert_eq!(reason::<Line>(bomb), "an entity that XML itself does not have");
        let outside = "<!DOCTYPE b [<!ENTITY a SYSTEM \"file:///etc/hostname\">]><Line><product>&a;</product></Line>";
        assert_eq!(reason::<Line>(outside), "an entity that XML itself does not have");
        let long = " ".repeat(LONGEST + 1);
        assert_eq!(reason::<Line>(&long), "it has 16777217 bytes, XML may have 16777216");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = read::<Line>(b"<Line>\xff</Line>").expect_err("refused");
        assert_eq!(error.to_string(), "invalid utf-8 sequence of 1 bytes from index 6");
        let latin =
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><Line><product>a</product><state>Open</state></Line>";
        assert!(read::<Line>(latin.as_bytes()).is_ok(), "it is ASCII, whatever it says");
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let refused = |result: Result<(), Reason>| result.expect_err("refused").to_string();
        let expected = "XML has no place for it: the root needs the name of a struct or enum, names begin with a letter, and bytes and lists of lists have none";
        assert_eq!(refused(write(&7, &mut Vec::new())), expected);
        assert_eq!(refused(write(&[order(), order()], &mut Vec::new())), expected);
        let map: std::collections::BTreeMap<&str, u32> = [("4111", 1)].into();
        assert_eq!(refused(write(&map, &mut Vec::new())), expected);
    }
}
