//! Configuration of a Spring Boot application as a source of ours.
//!
//! `source` reads files, documents and profiles to properties, `table` says what becomes of each, `work` does it. What comes of it is a tree
//! like that of a `stream.yaml`, and is checked as such.

mod access;
mod address;
mod binders;
mod common;
mod convert;
mod guide;
mod kafka;
mod names;
mod note;
mod placeholders;
mod profiles;
mod properties;
mod rabbit;
mod scalar;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod variables;
mod work;

use std::path::Path;

pub use guide::spring_guide;
use note::Notes;
pub use note::SpringNote;
use source::Environment;

use super::place::Mistakes;
use super::tree::Node;

/// What the files of a Spring application say.
pub(super) struct Spring {
    /// What stands below `stream`.
    pub(super) tree: Node,
    /// The files that were read.
    pub(super) names: Vec<String>,
    pub(super) notes: Vec<SpringNote>,
}

/// Reads the files of a Spring application and notes what is wrong in them.
pub(super) fn read(
    directory: &Path,
    path: &Path,
    profiles: &[String],
    variables: &[(String, String)],
    mistakes: &mut Mistakes,
) -> Spring {
    let (environment, mut notes) = (Environment(variables), Notes::default());
    let (mut properties, names) = source::load(directory, path, profiles, environment, mistakes, &mut notes);
    variables::lay(&mut properties, environment, mistakes);
    let tree = work::convert(&properties, environment, mistakes, &mut notes);
    Spring { tree, names, notes: notes.sorted() }
}
