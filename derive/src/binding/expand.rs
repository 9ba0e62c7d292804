//! From the model to the implementations.
//!
//! Each bound that may fail is stated once and on tokens with the place of the user's type, so that rustc tells it once and there.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{LitStr, Type, WhereClause, WherePredicate, parse_quote_spanned};

use super::model::{ChannelSet, Field, KeyPath, Role};

/// Writes `Binding`, and what makes the struct a `Source` or a `Sink` where it is one.
pub(super) fn expand(set: &ChannelSet<'_>) -> TokenStream {
    let expander = Expander::new(set);
    let opened = set.fields.iter().map(|field| {
        let (ident, value) = (field.ident, expander.open(field));
        quote!(#ident: #value)
    });
    let private = expander.private(Span::call_site());
    let value = quote!(#private::Result::Ok(Self { #(#opened),* }));
    expander.finish(&value)
}

/// What generated code is made with.
pub(super) struct Expander<'a> {
    set: &'a ChannelSet<'a>,
    /// The argument of `declare` and `open`.
    channels: Ident,
}

impl<'a> Expander<'a> {
    pub(super) fn new(set: &'a ChannelSet<'a>) -> Self {
        Self { set, channels: Ident::new("channels", Span::mixed_site()) }
    }

    /// Returns the path of what generated code refers to.
    pub(super) fn private(&self, span: Span) -> TokenStream {
        match &self.set.krate {
            Some(path) => {
                let path = respan(path.to_token_stream(), span);
                quote_spanned!(span=> #path::__private)
            }
            None => quote_spanned!(span=> ::binder_core::__private),
        }
    }

    /// Wraps the implementations, of which only the value that `open` returns is not known here.
    pub(super) fn finish(&self, opened: &TokenStream) -> TokenStream {
        let (binding, roles) = (self.binding(opened), self.roles());
        quote! {
            const _: () = {
                #binding
                #roles
            };
        }
    }

    fn binding(&self, opened: &TokenStream) -> TokenStream {
        let Self { set, channels } = self;
        let private = self.private(Span::call_site());
        let (ident, (params, arguments, _)) = (set.ident, set.generics.split_for_impl());
        let bounds = self.bounds();
        let declared = set.fields.iter().map(|field| self.declare(field));
        quote! {
            #[automatically_derived]
            impl #params #private::Binding for #ident #arguments #bounds {
                fn declare(#channels: &mut #private::Declare) {
                    #(#declared)*
                }

                fn open(#channels: &mut #private::Open<'_>) -> #private::Result<Self> {
                    #opened
                }
            }
        }
    }

    fn declare(&self, field: &Field<'_>) -> TokenStream {
        let (channels, ty, span) = (&self.channels, field.ty, at(field.ty));
        let private = self.private(span);
        match &field.role {
            Role::Input(name) => {
                let name = &name.text;
                quote_spanned!(span=> #private::Declare::input(#channels, #name);)
            }
            Role::Output(name, _) => {
                let name = &name.text;
                quote_spanned!(span=> #private::Declare::output(#channels, #name);)
            }
            Role::Nested(prefix) => {
                let prefix = text(prefix.as_ref());
                quote_spanned!(span=> #private::Declare::nested(#channels, #prefix, &#private::nested::<#ty>());)
            }
        }
    }

    /// Returns an expression of the field's type.
    pub(super) fn open(&self, field: &Field<'_>) -> TokenStream {
        let (channels, ty, span) = (&self.channels, field.ty, at(field.ty));
        let private = self.private(span);
        match &field.role {
            Role::Input(name) => {
                let (name, open) = (&name.text, self.opener("input", ty));
                quote_spanned!(span=> #private::Open::#open::<#ty, _>(#channels, #name)?)
            }
            Role::Output(name, key) => {
                let (name, open, key) = (&name.text, self.opener("output", ty), self.key(key.as_ref()));
                quote_spanned!(span=> #private::Open::#open::<#ty, _>(#channels, #name, #key)?)
            }
            Role::Nested(prefix) => {
                let prefix = text(prefix.as_ref());
                quote_spanned!(span=> #private::Open::nested(#channels, #prefix, &#private::nested::<#ty>())?)
            }
        }
    }

    /// Returns the method of `Open` for a channel of this type.
    fn opener(&self, direction: &str, ty: &Type) -> Ident {
        let name = if self.is_generic(ty) { format!("generic_{direction}") } else { direction.to_owned() };
        Ident::new(&name, at(ty))
    }

    fn key(&self, key: Option<&KeyPath>) -> TokenStream {
        let span = Span::mixed_site().located_at(key.map_or(Span::call_site(), |key| key.span));
        let private = self.private(span);
        let Some(KeyPath { members, .. }) = key else { return quote!(#private::Option::None) };
        quote_spanned! {span=>
            #private::Option::Some(|payload, key| #private::Key::write(&payload #(.#members)*, key))
        }
    }

    /// Returns the struct's own bounds, and for each field that has a parameter in its type what the channel asks of it.
    fn bounds(&self) -> Option<WhereClause> {
        let mut generics = self.set.generics.clone();
        let bounds: Vec<_> = self.set.fields.iter().filter_map(|field| self.bound(field)).collect();
        if !bounds.is_empty() {
            generics.make_where_clause().predicates.extend(bounds);
        }
        generics.where_clause
    }

    fn bound(&self, field: &Field<'_>) -> Option<WherePredicate> {
        let (ty, span) = (field.ty, at(field.ty));
        let private = self.private(span);
        let asked = match &field.role {
            _ if !self.is_generic(ty) => return None,
            Role::Input(_) => quote_spanned!(span=> Receives),
            Role::Output(..) => quote_spanned!(span=> Sends),
            Role::Nested(_) => quote_spanned!(span=> Binding),
        };
        Some(parse_quote_spanned!(span=> #ty: #private::#asked))
    }

    /// Returns whether a type mentions a parameter of the struct that is no lifetime.
    fn is_generic(&self, ty: &Type) -> bool {
        let generics = self.set.generics;
        let types = generics.type_params().map(|param| &param.ident);
        let mut params = types.chain(generics.const_params().map(|param| &param.ident));
        params.any(|name| mentions(ty.to_token_stream(), name))
    }

    /// Tells of a struct with exactly one output, exactly one input, which field it is.
    fn roles(&self) -> TokenStream {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in &self.set.fields {
            match field.role {
                Role::Input(_) => inputs.push(field),
                Role::Output(..) => outputs.push(field),
                Role::Nested(_) => return TokenStream::new(),
            }
        }
        let mut roles = TokenStream::new();
        if let [Field { ident, ty, .. }] = inputs[..] {
            roles.extend(self.role("OneInput", ty, &quote!(fn into_field(self) -> #ty { self.#ident })));
        }
        if let [Field { ident, ty, .. }] = outputs[..] {
            roles.extend(self.role("OneOutput", ty, &quote!(fn field(&self) -> &#ty { &self.#ident })));
        }
        roles
    }

    fn role(&self, role: &str, ty: &Type, method: &TokenStream) -> TokenStream {
        let private = self.private(Span::call_site());
        let role = Ident::new(role, Span::call_site());
        let (ident, (params, arguments, bounds)) = (self.set.ident, self.set.generics.split_for_impl());
        quote! {
            #[automatically_derived]
            impl #params #private::#role for #ident #arguments #bounds {
                type Field = #ty;

                #method
            }
        }
    }
}

/// The place of the user's type, with names that can't collide with the user's.
fn at(ty: &Type) -> Span {
    Span::mixed_site().located_at(ty.span())
}

fn text(prefix: Option<&LitStr>) -> String {
    prefix.map(LitStr::value).unwrap_or_default()
}

fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

fn respan(tokens: TokenStream, span: Span) -> TokenStream {
    let respanned = tokens.into_iter().map(|token| match token {
        TokenTree::Group(group) => TokenTree::Group(Group::new(group.delimiter(), respan(group.stream(), span))),
        mut token => {
            token.set_span(span);
            token
        }
    });
    respanned.collect()
}
