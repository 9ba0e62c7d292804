//! A part of the configuration that belongs to one kind of broker.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, ErrorKind, Result};

/// What the configuration says under a binder's own name, already merged over its levels.
#[derive(Clone, Default)]
pub struct Section {
    path: String,
    value: Value,
}

impl Section {
    /// Creates a section from a value; `path` is where it stands, for messages.
    pub fn new(path: impl Into<String>, value: Value) -> Self {
        Self { path: path.into(), value }
    }

    /// Reads the section into a struct of properties; unknown keys, wrong types and bad values are refused with their place.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T> {
        if self.value.is_null() {
            return Ok(T::default());
        }
        let value = self.value.clone();
        serde_json::from_value(value).map_err(|cause| Error::new(ErrorKind::Config, format!("{}: {cause}", self.path)))
    }
}

impl fmt::Debug for Section {
    /// Prints where it stands only: its values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("path", &self.path).finish_non_exhaustive()
    }
}
