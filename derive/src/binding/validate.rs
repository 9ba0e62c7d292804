//! Rules that need the whole struct.

use std::collections::HashMap;

use super::model::ChannelSet;
use crate::diagnostics::Diagnostics;

/// Notes what is wrong with a struct whose fields were read.
pub(super) fn validate(set: &ChannelSet<'_>, diagnostics: &mut Diagnostics) {
    names(set, diagnostics);
    let no_field_was_refused = !diagnostics.has_errors();
    if set.has_named_fields && set.fields.is_empty() && no_field_was_refused {
        let message =
            format!("`{}` has no channel; give it a field with `#[input]`, `#[output]` or `#[binding]`", set.ident);
        diagnostics.error(set.ident, message);
    }
}

fn names(set: &ChannelSet<'_>, diagnostics: &mut Diagnostics) {
    let mut seen = HashMap::new();
    for field in &set.fields {
        let Some(name) = field.name() else { continue };
        if name.text.is_empty() {
            diagnostics.error_at(name.span, "a channel's name can't be empty");
        } else if let Some(first) = seen.insert(&name.text, field.ident) {
            let message = format!("a second channel `{}`; the field `{first}` has this name already", name.text);
            diagnostics.error_at(name.span, message);
        }
    }
}
