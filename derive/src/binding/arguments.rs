//! What stands between the parentheses of an attribute.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta, Token};

use crate::diagnostics::Diagnostics;

/// String literals, one alone at most, the others by name: `"orders", key = "id"`.
#[derive(Default)]
pub(super) struct Arguments {
    pub(super) alone: Option<LitStr>,
    pub(super) named: Vec<(Ident, LitStr)>,
}

struct Argument {
    name: Option<Ident>,
    value: Expr,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let name = if input.peek(Ident::peek_any) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
            let name = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            Some(name)
        } else {
            None
        };
        Ok(Self { name, value: input.parse()? })
    }
}

impl Arguments {
    /// Reads all arguments of an attribute and notes what is wrong with their form.
    pub(super) fn parse(attribute: &Attribute, diagnostics: &mut Diagnostics) -> Self {
        let mut found = Self::default();
        match &attribute.meta {
            Meta::Path(_) => {}
            Meta::NameValue(meta) => diagnostics.error(meta, format!("write `{}`", parenthesized(meta))),
            Meta::List(list) => match list.parse_args_with(Punctuated::<Argument, Token![,]>::parse_terminated) {
                Ok(arguments) => arguments.into_iter().for_each(|argument| found.add(argument, diagnostics)),
                Err(error) => diagnostics.push(error),
            },
        }
        found
    }

    fn add(&mut self, Argument { name, value }: Argument, diagnostics: &mut Diagnostics) {
        let Some(literal) = string(&value) else {
            let what = name.map_or("a channel's name".to_owned(), |name| format!("`{}`", name.unraw()));
            return diagnostics.error(&value, format!("{what} is a string literal"));
        };
        let Some(name) = name else {
            return match self.alone {
                Some(_) => diagnostics.error(literal, "a second name; a channel has one"),
                None => self.alone = Some(literal.clone()),
            };
        };
        if self.named.iter().any(|(earlier, _)| *earlier == name) {
            return diagnostics.error(&name, format!("`{name}` is given twice"));
        }
        self.named.push((name, literal.clone()));
    }

    /// Takes an argument out.
    pub(super) fn take(&mut self, name: &str) -> Option<LitStr> {
        let index = self.named.iter().position(|(given, _)| given == name)?;
        Some(self.named.remove(index).1)
    }
}

fn string(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => Some(literal),
        Expr::Group(group) => string(&group.expr), // a `$name:literal` of a macro
        _ => None,
    }
}

/// Returns `#[input("x")]` for `#[input = "x"]`.
fn parenthesized(meta: &syn::MetaNameValue) -> String {
    let path = meta.path.get_ident().map(Ident::to_string).unwrap_or_default();
    match string(&meta.value) {
        Some(literal) => format!("#[{path}({:?})]", literal.value()),
        None => format!("#[{path}(\"..\")]"),
    }
}
