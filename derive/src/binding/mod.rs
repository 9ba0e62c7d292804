//! `#[derive(Binding)]`: parse, validate, expand.

mod arguments;
mod expand;
mod fallback;
mod key;
mod model;
mod parse;
mod validate;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::diagnostics::Diagnostics;

/// Returns the implementation, or all mistakes and a [fallback].
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let set = parse::parse(input, &mut diagnostics);
    validate::validate(&set, &mut diagnostics);
    match diagnostics.finish() {
        None => expand::expand(&set),
        Some(mut errors) => {
            errors.extend(fallback::expand(&set));
            errors
        }
    }
}
