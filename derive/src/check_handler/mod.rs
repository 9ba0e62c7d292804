//! `#[check_handler]`: what is wrong with a function that should be a handler.

mod arguments;
mod syntax;
mod types;

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Signature, Visibility};

use crate::diagnostics::Diagnostics;

/// A function without its body, which is none of our business.
struct Function {
    signature: Signature,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        let signature = input.parse()?;
        input.parse::<TokenStream>()?;
        Ok(Self { signature })
    }
}

/// Returns the function as it is, with the mistakes after it.
pub(crate) fn check(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let arguments = arguments::Arguments::parse(arguments, &mut diagnostics);
    let mut output = item.clone();
    match syn::parse2::<Function>(item.clone()) {
        Ok(Function { signature }) => {
            syntax::check(&signature, &mut diagnostics);
            if !diagnostics.has_errors() {
                output.extend(types::check(&signature, &arguments));
            }
        }
        Err(_) => diagnostics.error(&item, "`#[check_handler]` stands on an `async fn`"),
    }
    output.extend(diagnostics.finish());
    output
}
