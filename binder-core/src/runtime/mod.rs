//! The application: what runs the channels.

/// A running set of bindings.
#[derive(Debug)]
pub struct Application;
