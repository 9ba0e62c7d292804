//! What can be said without knowing any type.

use syn::{FnArg, GenericParam, ReturnType, Signature, Type};

use crate::diagnostics::Diagnostics;

/// Arguments that a handler may have, the payload included.
const MAX_ARGUMENTS: usize = 7;

/// Notes everything in the signature that no handler has.
pub(super) fn check(signature: &Signature, diagnostics: &mut Diagnostics) {
    if signature.asyncness.is_none() {
        diagnostics.error(signature.fn_token, "a handler is an `async fn`");
    }
    generics(signature, diagnostics);
    arguments(signature, diagnostics);
    if let ReturnType::Type(_, ty) = &signature.output
        && matches!(**ty, Type::ImplTrait(_))
        && signature.asyncness.is_some()
    {
        diagnostics.error(
            ty,
            "a handler names the type that it returns; `impl Trait` does not say whether it is a result or a payload",
        );
    }
}

fn generics(signature: &Signature, diagnostics: &mut Diagnostics) {
    for param in &signature.generics.params {
        let message = match param {
            GenericParam::Lifetime(_) => "a handler has no lifetime parameters: it owns its arguments",
            _ => "a handler is not generic: `handle` could not tell what the parameter stands for",
        };
        diagnostics.error(param, message);
    }
}

fn arguments(signature: &Signature, diagnostics: &mut Diagnostics) {
    if signature.inputs.is_empty() {
        let message = "a handler takes the payload as its first argument, or `Message<T>` with key and headers";
        diagnostics.error_at(signature.paren_token.span.join(), message);
    }
    for argument in &signature.inputs {
        match argument {
            FnArg::Receiver(receiver) => {
                diagnostics.error(receiver, "a handler has no `self`: what it shares with others comes as `State<S>`");
            }
            FnArg::Typed(argument) => argument_type(&argument.ty, diagnostics),
        }
    }
    if let Some(surplus) = signature.inputs.iter().nth(MAX_ARGUMENTS) {
        let message = format!(
            "a handler has at most {MAX_ARGUMENTS} arguments; `State<S>` with a struct can hold more than one thing"
        );
        diagnostics.error(surplus, message);
    }
}

fn argument_type(ty: &Type, diagnostics: &mut Diagnostics) {
    match ty {
        Type::Reference(reference) => {
            diagnostics.error(reference, "a handler owns its arguments: take the value, not a reference");
        }
        Type::ImplTrait(_) => {
            diagnostics.error(ty, "a handler names the types of its arguments; `impl Trait` is generic")
        }
        _ => {}
    }
}
