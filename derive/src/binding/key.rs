//! `key = "customer.id"`: the way from a payload to its key.

use proc_macro2::Span;
use syn::{Ident, Index, LitStr, Member};

use super::model::KeyPath;

/// Reads a path of fields; rustc finds out whether they exist, and says so at the literal.
pub(super) fn parse(literal: &LitStr) -> syn::Result<KeyPath> {
    let span = literal.span();
    let text = literal.value();
    match text.split('.').map(|part| member(part, span)).collect() {
        Some(members) => Ok(KeyPath { members, span }),
        None => {
            let message =
                format!("`{text}` is no path of fields; `key` names a field of the payload, as `id` or `customer.id`");
            Err(syn::Error::new(span, message))
        }
    }
}

fn member(part: &str, span: Span) -> Option<Member> {
    if let Ok(index) = part.parse() {
        return Some(Member::Unnamed(Index { index, span }));
    }
    let mut ident: Ident = syn::parse_str(part).or_else(|_| syn::parse_str(&format!("r#{part}"))).ok()?;
    ident.set_span(span);
    Some(Member::Named(ident))
}
