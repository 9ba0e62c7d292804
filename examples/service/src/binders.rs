//! Which kinds of broker a service can talk to.

use std::fmt;
use std::sync::Arc;

use binder_core::binder::{BinderContext, BinderFactory, SharedBinder};
use binder_core::prelude::*;

/// The binders that are compiled in, by the name that `type: …` of the configuration refers to. `memory` is always there.
#[derive(Clone, Default)]
pub struct Binders(Vec<(&'static str, Arc<dyn BinderFactory>)>);

impl Binders {
    /// Begins with the memory binder only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a binder; `memory` replaces the one that is there, by one that several services of a process share.
    #[must_use]
    pub fn with(mut self, name: &'static str, factory: impl BinderFactory) -> Self {
        self.0.push((name, Arc::new(factory)));
        self
    }

    /// Puts together an application that knows these binders.
    ///
    /// # Errors
    /// [`Config`](binder_core::ErrorKind::Config) for a configuration that is wrong.
    pub fn build(&self, config: Config) -> binder_core::Result<Application> {
        let mut builder = Application::builder().config(config);
        for (name, factory) in &self.0 {
            let factory = Arc::clone(factory);
            let create =
                move |context: &BinderContext| -> binder_core::Result<SharedBinder> { factory.create(context) };
            builder = builder.binder(*name, create);
        }
        builder.build()
    }
}

impl fmt::Debug for Binders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}
