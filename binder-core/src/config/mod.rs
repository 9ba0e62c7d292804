//! Configuration: properties, loading, checking.

mod duration;
mod properties;
mod section;

pub use properties::{
    Backoff, BindingProperties, ConsumerProperties, ContentTypeFrom, HeaderMode, OnExhausted, Ordering,
    ProducerProperties, Provision, RetryMode, Start, StreamProperties, Unroutable,
};
pub use section::Section;
