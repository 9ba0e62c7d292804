//! What stands in for the implementation when a struct has mistakes, so that each use of the type is not one more.

use proc_macro2::TokenStream;
use quote::quote;

use super::expand::Expander;
use super::model::ChannelSet;

/// Writes the same implementations, except that nothing is opened. The fields are still there for rustc, so that it can tell in the same
/// compile whose type is wrong.
pub(super) fn expand(set: &ChannelSet<'_>) -> TokenStream {
    let expander = Expander::new(set);
    let private = expander.private(proc_macro2::Span::call_site());
    let opened = set.fields.iter().map(|field| expander.open(field));
    expander.finish(&quote! {
        #(let _ = #opened;)*
        #private::unreachable!("it does not compile")
    })
}
