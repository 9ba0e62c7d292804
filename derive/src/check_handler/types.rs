//! What rustc is asked to check, with its answer at the user's type.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, GenericArgument, PathArguments, Signature, Type, parse_quote};

use super::arguments::Arguments;

/// Returns checks of the types of a function whose form is right.
pub(super) fn check(signature: &Signature, arguments: &Arguments) -> TokenStream {
    let check = arguments.check();
    let types: Vec<_> = signature.inputs.iter().filter_map(typed).collect();
    let state = arguments.state.clone().or_else(|| types.iter().find_map(|ty| state(ty)));
    let state = state.unwrap_or_else(|| parse_quote!(()));
    let asked = types.iter().enumerate().map(|(index, ty)| match index {
        0 => quote_spanned!(at(ty)=> #check::first::<#ty, _>();),
        _ => quote_spanned!(at(ty)=> #check::extractor::<#ty, #state>();),
    });
    let handler = &signature.ident;
    let values = types.iter().map(|ty| quote!(#check::argument::<#ty>()));
    let call = quote_spanned!(Span::mixed_site().located_at(handler.span())=> #check::is_send(#handler(#(#values),*)));
    quote! {
        const _: () = {
            #[allow(dead_code, deprecated)]
            fn check() {
                #(#asked)*
                #call;
            }
        };
    }
}

fn typed(argument: &FnArg) -> Option<&Type> {
    match argument {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    }
}

/// Returns the `S` of a type that is written `State<S>`.
fn state(ty: &Type) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match &last.arguments {
        PathArguments::AngleBracketed(given) if last.ident == "State" => match given.args.first()? {
            GenericArgument::Type(state) => Some(state.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn at(ty: &Type) -> Span {
    Span::mixed_site().located_at(ty.span())
}
