//! `#[check_handler(state = Cache, crate = "path")]`

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{LitStr, Path, Type, parse_quote};

use crate::diagnostics::Diagnostics;

/// What was told about the handler, or what is usual.
pub(super) struct Arguments {
    pub(super) state: Option<Type>,
    pub(super) krate: Path,
}

impl Arguments {
    /// Reads them and notes what is wrong.
    pub(super) fn parse(tokens: TokenStream, diagnostics: &mut Diagnostics) -> Self {
        let mut found = Self { state: None, krate: parse_quote!(::binder_core) };
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("state") {
                found.state = Some(meta.value()?.parse()?);
                Ok(())
            } else if meta.path.is_ident("crate") {
                found.krate = meta.value()?.parse::<LitStr>()?.parse()?;
                Ok(())
            } else {
                Err(meta.error("unknown argument; there are `state = Type` and `crate = \"path\"`"))
            }
        });
        if let Err(error) = parser.parse2(tokens) {
            diagnostics.push(error);
        }
        found
    }

    /// Returns the path of what generated code refers to.
    pub(super) fn check(&self) -> TokenStream {
        let krate = &self.krate;
        quote!(#krate::__private::check)
    }
}
