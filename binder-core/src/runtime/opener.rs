//! Opening channels: from resolved configuration to bindings that are checked and not connected.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use super::application::{Shared, lock};
use super::input::{InputEntry, NO_DELAY};
use crate::binder::{BinderContext, ConsumerBinding, Instance, ProducerBinding, SharedBinder};
use crate::binding::{Direction, OpenChannel};
use crate::channel::OutputCore;
use crate::config::{Resolved, ResolvedBinding, RetryMode, Section};
use crate::message::ContentType;
use crate::{Error, ErrorKind, Result};

/// Opens the channels of one `bind`; they count when all are open.
pub(super) struct Opener<'a> {
    shared: &'a Shared,
    resolved: &'a Resolved,
    inputs: RefCell<Vec<Arc<InputEntry>>>,
    outputs: RefCell<Vec<(Arc<OutputCore>, bool)>>,
}

impl<'a> Opener<'a> {
    pub(super) fn new(shared: &'a Shared, resolved: &'a Resolved) -> Self {
        Self { shared, resolved, inputs: RefCell::default(), outputs: RefCell::default() }
    }

    /// Adds what was opened to the application.
    pub(super) fn commit(self, channels: Vec<(String, Direction)>) {
        let mut registry = lock(&self.shared.registry);
        registry.channels.extend(channels);
        registry.inputs.extend(self.inputs.into_inner());
        registry.outputs.extend(self.outputs.into_inner());
    }

    fn binding(&self, name: &str) -> Result<&ResolvedBinding> {
        let found = self.resolved.bindings.get(name);
        found.ok_or_else(|| Error::new(ErrorKind::Unexpected, format!("channel `{name}` was not declared")))
    }

    /// Returns the binder of a binding, made on first use.
    fn binder(&self, binding: &ResolvedBinding) -> Result<SharedBinder> {
        let mut binders = lock(&self.shared.binders);
        if let Some(known) = binders.get(&binding.binder) {
            return Ok(known.clone());
        }
        if let Some(stand_in) = &self.shared.stand_in {
            let context = BinderContext::new(binding.binder.clone(), Section::default());
            let binder = stand_in.create(&context)?;
            binders.insert(binding.binder.clone(), binder.clone());
            return Ok(binder);
        }
        let entry = self.resolved.binders.iter().find(|entry| entry.name == binding.binder);
        let (type_name, section) = match entry {
            Some(entry) => (entry.type_name.as_str(), entry.section.clone()),
            None => ("memory", Section::default()),
        };
        if self.resolved.implicit_memory {
            tracing::warn!("no binder is configured: messages stay in the memory of this process");
        }
        let factory = self
            .shared
            .factories
            .get(type_name)
            .ok_or_else(|| Error::new(ErrorKind::Config, format!("binder type `{type_name}` is not registered")))?;
        let binder = factory
            .create(&BinderContext::new(binding.binder.clone(), section))
            .map_err(|error| error.with_context("binder", binding.binder.clone()))?;
        binders.insert(binding.binder.clone(), binder.clone());
        Ok(binder)
    }

    fn open_input(&self, name: &str) -> Result<InputEntry> {
        let resolved = self.binding(name)?;
        let binder = self.binder(resolved)?;
        let properties = &resolved.properties;
        let mut binding = ConsumerBinding::new(name);
        binding.destinations.clone_from(&resolved.destinations);
        binding.group = properties.group.clone();
        binding.content_type = ContentType::parse(&properties.content_type);
        binding.provision = properties.provision;
        binding.properties = properties.consumer.clone();
        if self.shared.stand_in.is_none() {
            binding.section = resolved.consumer_section.clone();
        }
        binding.instance =
            Instance { index: self.resolved.stream.instance_index, count: self.resolved.stream.instance_count };
        binding.tells_assignments = !self.shared.common.hooks.is_empty();
        check_consumer(&binding, &binder).map_err(|(key, error)| with_place(error, resolved, key))?;
        binder.check_consumer(&binding).map_err(|error| with_place(error, resolved, "destination"))?;
        let binder_name = resolved.binder.as_str().into();
        Ok(InputEntry::new(binding, binder_name, binder, &self.shared.common, properties.auto_startup))
    }

    fn open_output(&self, name: &str) -> Result<(OutputCore, bool)> {
        let resolved = self.binding(name)?;
        let binder = self.binder(resolved)?;
        let properties = &resolved.properties;
        let mut binding = ProducerBinding::new(name);
        if let Some(destination) = resolved.destinations.first() {
            binding.destination.clone_from(destination);
        }
        binding.provision = properties.provision;
        binding.content_type = ContentType::parse(&properties.content_type);
        binding.properties = properties.producer.clone();
        if self.shared.stand_in.is_none() {
            binding.section = resolved.producer_section.clone();
        }
        binder.check_producer(&binding).map_err(|error| with_place(error, resolved, "destination"))?;
        let binder_name = resolved.binder.as_str().into();
        let core = OutputCore::new(binding, binder_name, binder, self.shared.common.clone());
        Ok((core, properties.auto_startup))
    }
}

/// Adds where the key was set, if it was.
fn with_place(error: Error, binding: &ResolvedBinding, key: &str) -> Error {
    match binding.place_of(key) {
        Some(place) => error.with_context("configured in", place),
        None => error,
    }
}

/// Refuses what the runtime or the binder can't do; names the key that asks for it.
fn check_consumer(binding: &ConsumerBinding, binder: &SharedBinder) -> Result<(), (&'static str, Error)> {
    let properties = &binding.properties;
    if properties.retry == RetryMode::Delayed {
        if binder.delay().is_none() {
            return Err(("consumer.retry", Error::new(ErrorKind::Unsupported, NO_DELAY)));
        }
        if binding.group.is_none() {
            let message =
                "`retry: delayed` needs a `group`: an anonymous subscription has no place where a message could wait";
            return Err(("consumer.retry", Error::new(ErrorKind::Config, message)));
        }
    }
    if properties.transactional {
        let refused = match (binder.transactions(), &binding.group) {
            (None, _) => {
                Some((ErrorKind::Unsupported, "the binder can't do `transactional: true`: it has no transactions"))
            }
            (_, None) => Some((ErrorKind::Config, "`transactional` needs a `group`")),
            _ => None,
        };
        if let Some((kind, text)) = refused {
            return Err(("consumer.transactional", Error::new(kind, text)));
        }
    }
    Ok(())
}

impl OpenChannel for Opener<'_> {
    fn input(&self, name: &str) -> Result<Arc<InputEntry>> {
        let entry = self.open_input(name).map_err(|error| error.with_context("binding", name))?;
        let entry = Arc::new(entry);
        self.inputs.borrow_mut().push(Arc::clone(&entry));
        Ok(entry)
    }

    fn output(&self, name: &str) -> Result<Arc<OutputCore>> {
        let (core, auto_startup) = self.open_output(name).map_err(|error| error.with_context("binding", name))?;
        let core = Arc::new(core);
        self.outputs.borrow_mut().push((Arc::clone(&core), auto_startup));
        Ok(core)
    }
}

impl fmt::Debug for Opener<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}
