//! What rustc is asked to check, with its answer at the user's type.

use proc_macro2::TokenStream;
use syn::Signature;

/// Returns checks of the types of a function whose form is right.
pub(super) fn check(_: &Signature) -> TokenStream {
    TokenStream::new()
}
