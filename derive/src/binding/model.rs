//! What a struct of channels says, whether right or wrong.

use proc_macro2::Span;
use syn::{Generics, Ident, LitStr, Member, Path, Type};

/// A struct of channels.
pub(super) struct ChannelSet<'a> {
    pub(super) ident: &'a Ident,
    pub(super) generics: &'a Generics,
    /// Where `binder_core` is, if it was told.
    pub(super) krate: Option<Path>,
    /// Fields that could be read. A struct with mistakes may have others.
    pub(super) fields: Vec<Field<'a>>,
    /// Whether it is a struct with named fields; what else it lacks is no use to tell otherwise.
    pub(super) has_named_fields: bool,
}

/// A field of it.
pub(super) struct Field<'a> {
    pub(super) ident: &'a Ident,
    pub(super) ty: &'a Type,
    pub(super) role: Role,
}

/// What a field is.
pub(super) enum Role {
    Input(Name),
    Output(Name, Option<KeyPath>),
    Nested(Option<LitStr>),
}

/// The name of a channel and where it stands.
pub(super) struct Name {
    pub(super) text: String,
    pub(super) span: Span,
}

/// Fields to go through from a payload to its key.
pub(super) struct KeyPath {
    pub(super) members: Vec<Member>,
    pub(super) span: Span,
}

impl Field<'_> {
    /// Returns the name of the channel; a nested binding has none.
    pub(super) fn name(&self) -> Option<&Name> {
        match &self.role {
            Role::Input(name) | Role::Output(name, _) => Some(name),
            Role::Nested(_) => None,
        }
    }
}
