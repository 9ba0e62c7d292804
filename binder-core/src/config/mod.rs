//! Configuration: properties, loading, checking.

mod builder;
mod check;
mod describe;
mod duration;
mod fault;
mod level;
mod place;
mod plan;
mod properties;
mod read;
mod resolve;
mod secret;
mod section;
mod shape;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod variables;
mod yaml;

pub use builder::ConfigBuilder;
pub use properties::{
    Backoff, BindingProperties, ConsumerProperties, ContentTypeFrom, HeaderMode, OnExhausted, Ordering,
    ProducerProperties, Provision, RetryMode, Start, StreamProperties, Unroutable,
};
#[allow(unused_imports, reason = "the runtime is about to use them")]
pub(crate) use resolve::{BinderEntry, Declared, Resolved, ResolvedBinding};
pub use secret::Secret;
pub use section::Section;
pub use sources::Config;
