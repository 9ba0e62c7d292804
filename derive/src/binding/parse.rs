//! From the struct to its model.

use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Path, Token};

use super::arguments::Arguments;
use super::key;
use super::model::{ChannelSet, Field, Name, Role};
use crate::diagnostics::Diagnostics;

/// Attributes of fields that make them part of a binding.
const ROLES: [&str; 3] = ["input", "output", "binding"];

/// Reads all that can be read, and notes what can't.
pub(super) fn parse<'a>(input: &'a DeriveInput, diagnostics: &mut Diagnostics) -> ChannelSet<'a> {
    let krate = krate(&input.attrs, diagnostics);
    let named = named_fields(input, diagnostics);
    let fields = named.into_iter().flatten().filter_map(|given| field(given, diagnostics)).collect();
    let has_named_fields = named.is_some();
    ChannelSet { ident: &input.ident, generics: &input.generics, krate, fields, has_named_fields }
}

type NamedFields = Punctuated<syn::Field, Token![,]>;

fn named_fields<'a>(input: &'a DeriveInput, diagnostics: &mut Diagnostics) -> Option<&'a NamedFields> {
    let rule = "`#[derive(Binding)]` needs a struct with named fields";
    match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => return Some(&fields.named),
            Fields::Unnamed(fields) => {
                diagnostics.error(fields, format!("{rule}: a channel has the name of its field"))
            }
            Fields::Unit => diagnostics.error(&input.ident, format!("{rule}: this one has no fields")),
        },
        Data::Enum(data) => diagnostics.error(data.enum_token, format!("{rule}, this is an enum")),
        Data::Union(data) => diagnostics.error(data.union_token, format!("{rule}, this is a union")),
    }
    None
}

/// Reads the attributes of the struct itself.
fn krate(attributes: &[Attribute], diagnostics: &mut Diagnostics) -> Option<Path> {
    let mut found = None;
    for attribute in attributes {
        if attribute.path().is_ident("binding") {
            let mut arguments = Arguments::parse(attribute, diagnostics);
            let path = arguments.take("crate");
            refuse(arguments, &["crate"], "on the struct itself there is", diagnostics);
            found = path.and_then(|path| path.parse().map_err(|error| diagnostics.push(error)).ok());
        } else if let Some(role) = role_of(attribute) {
            diagnostics.error(attribute, format!("`#[{role}]` stands on a field, not on the struct"));
        }
    }
    found
}

fn role_of(attribute: &Attribute) -> Option<&'static str> {
    ROLES.into_iter().find(|role| attribute.path().is_ident(role))
}

fn field<'a>(field: &'a syn::Field, diagnostics: &mut Diagnostics) -> Option<Field<'a>> {
    let ident = field.ident.as_ref()?;
    let mut roles = field.attrs.iter().filter_map(|attribute| Some((attribute, role_of(attribute)?)));
    let Some((first, role)) = roles.next() else {
        diagnostics.error(ident, format!("`{ident}` needs `#[input]`, `#[output]` or `#[binding]`"));
        return None;
    };
    for (attribute, again) in roles {
        let message = if again == role {
            format!("`#[{role}]` is given twice")
        } else {
            format!("`{ident}` is `#[{role}]` already; a field has one of `#[input]`, `#[output]` and `#[binding]`")
        };
        diagnostics.error(attribute, message);
    }
    let arguments = Arguments::parse(first, diagnostics);
    let role = match role {
        "input" => input(ident, arguments, diagnostics),
        "output" => output(ident, arguments, diagnostics),
        _ => nested(arguments, diagnostics),
    };
    Some(Field { ident, ty: &field.ty, role })
}

fn input(field: &Ident, mut arguments: Arguments, diagnostics: &mut Diagnostics) -> Role {
    let name = name(field, arguments.alone.take());
    if let Some((key, _)) = arguments.named.extract_if(.., |(given, _)| given == "key").next() {
        let message = "an input has no `key`: the key comes with the message; `consumer.key` in the configuration says from where";
        diagnostics.error(key, message);
    }
    refuse(arguments, &[], "an `#[input]` has", diagnostics);
    Role::Input(name)
}

fn output(field: &Ident, mut arguments: Arguments, diagnostics: &mut Diagnostics) -> Role {
    let name = name(field, arguments.alone.take());
    let path = arguments.take("key");
    let path = path.and_then(|path| key::parse(&path).map_err(|error| diagnostics.push(error)).ok());
    refuse(arguments, &["key"], "an `#[output]` has", diagnostics);
    Role::Output(name, path)
}

fn nested(mut arguments: Arguments, diagnostics: &mut Diagnostics) -> Role {
    let prefix = arguments.take("prefix");
    refuse(arguments, &["prefix"], "a nested `#[binding]` has", diagnostics);
    Role::Nested(prefix)
}

fn name(field: &Ident, given: Option<LitStr>) -> Name {
    match given {
        Some(literal) => Name { text: literal.value(), span: literal.span() },
        None => Name { text: field.unraw().to_string(), span: field.span() },
    }
}

/// Notes every argument that is left.
fn refuse(arguments: Arguments, known: &[&str], owner: &str, diagnostics: &mut Diagnostics) {
    let list = match known {
        [] => "only a name".to_owned(),
        known => format!("`{}`", known.join("`, `")),
    };
    if let Some(literal) = arguments.alone {
        diagnostics.error(literal, format!("no name here; {owner} {list}"));
    }
    for (given, _) in arguments.named {
        let given_text = given.unraw().to_string();
        let message = match known.iter().find(|known| is_close(&given_text, known)) {
            Some(close) => format!("unknown argument `{given_text}`; did you mean `{close}`?"),
            None if given_text == "name" => "unknown argument `name`; a name stands alone: `\"orders\"`".to_owned(),
            None => format!("unknown argument `{given_text}`; {owner} {list}"),
        };
        diagnostics.error_at(given.span(), message);
    }
}

/// Returns whether one is the other with at most two slips of the hand.
fn is_close(given: &str, known: &str) -> bool {
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, a) in given.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in known.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[known.len()] <= 2
}
