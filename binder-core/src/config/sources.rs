//! The configuration: its sources, and how they are laid over each other.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::builder::ConfigBuilder;
use super::describe;
use super::level::Types;
use super::place::Mistakes;
use super::plan::Plan;
use super::properties::StreamProperties;
use super::spring::SpringNote;
use super::tree::Node;
use super::variables::{self, Names};
use crate::Result;

/// The configuration of an application: files, environment and code, laid over each other.
///
/// What is said wrongly is refused when the configuration is made; what does not fit the application, such as a channel that nobody
/// declares, when its channels are bound. A clone shares everything.
#[derive(Clone, Default)]
pub struct Config {
    sources: Arc<Sources>,
}

/// The sources, each below `stream`.
#[derive(Default)]
pub(super) struct Sources {
    /// Files and texts; a later one wins.
    pub(super) trees: Vec<Node>,
    /// Environment variables: name and value. They win over files.
    pub(super) variables: Vec<(String, String)>,
    /// What the application set. It wins.
    pub(super) code: Option<Node>,
    /// The names of files and texts.
    pub(super) names: Vec<String>,
    /// What files of Spring say in vain.
    pub(super) notes: Vec<SpringNote>,
}

/// What the sources say together.
pub(super) struct Merged {
    pub(super) root: Node,
    pub(super) types: Types,
    /// Variables of channels that are not known: name, and channel as written.
    pub(super) of_unknown_channels: Vec<(String, String)>,
}

impl Config {
    /// Loads the configuration of this process: the file, the file of the profile, the environment.
    ///
    /// The file is `stream.yaml`, `stream.yml` or `stream.toml` in the working directory, or what the variable `STREAM_CONFIG` names.
    /// Without any, everything runs on memory. With `STREAM_PROFILE=prod` the file `stream-prod.yaml` (or `.yml`, `.toml`) beside it is
    /// laid over it; several profiles are separated by commas, the later wins. Then come variables: `STREAM__BINDINGS__ORDERS__GROUP`.
    ///
    /// # Errors
    /// A file or profile that was asked for and is missing, two files of the same name, and all that is wrong in them, each mistake in
    /// a line with its place.
    pub fn load() -> Result<Self> {
        ConfigBuilder::of_process().build()
    }

    /// Loads the configuration of a Spring Boot application: `application.yml`, `.yaml` or `.properties`.
    ///
    /// What stands under `spring.cloud.stream`, `spring.kafka` and `spring.rabbitmq` becomes what a `stream.yaml` would say, with Spring's
    /// defaults, so that a service in Java and one in Rust share names, groups and topology. Each property is honoured, has no effect, or
    /// is refused; [`spring_notes`](Self::spring_notes) are the second kind, and each is logged at WARN. Other properties are left alone.
    ///
    /// Documents (`---`) and files (`application-<profile>.yml` beside it) of active profiles are laid over; profiles are active by
    /// `SPRING_PROFILES_ACTIVE`, else by `spring.profiles.active`. Placeholders, `${NAME:default}`, are variables or properties.
    /// Variables win, by Spring's rule (`SPRING_KAFKA_BOOTSTRAP_SERVERS`), and over them those that begin with `STREAM__`, as in
    /// [`load`](Self::load). More sources, such as a `stream.yaml` beside it: [`ConfigBuilder::spring`].
    ///
    /// # Errors
    /// A file that can't be read, properties under `spring.cloud.stream` that are not known, what is refused, and bad values: all of them
    /// in one error, each with its file, line and name.
    pub fn from_spring(path: impl Into<PathBuf>) -> Result<Self> {
        ConfigBuilder::default().env_from_process().spring(path).build()
    }

    /// Starts a configuration of chosen sources.
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }

    /// Returns a configuration that says nothing: defaults, on memory.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Returns the settings of the whole application.
    ///
    /// # Errors
    /// None for a configuration that was built without one; the signature leaves room for sources that are read late.
    pub fn stream(&self) -> Result<StreamProperties> {
        let mut mistakes = Mistakes::default();
        let plan = self.plan(&[], None, &mut mistakes);
        mistakes.or(plan.properties)
    }

    /// Returns what files of Spring say that has no effect here, or another one than there; sorted by place.
    pub fn spring_notes(&self) -> &[SpringNote] {
        &self.sources.notes
    }

    /// Writes what all sources say together as YAML, each value with its place; secrets are `***`.
    ///
    /// Built-in defaults are not in it: the application knows which apply, see [`Application::describe`](crate::Application::describe).
    pub fn describe(&self) -> String {
        describe::tree(&self.merged(&[], None, &mut Mistakes::default()).root)
    }

    /// Checks all that can be checked without knowing the application.
    pub(super) fn checked(sources: Sources) -> Result<Self> {
        let config = Self { sources: Arc::new(sources) };
        let mut mistakes = Mistakes::default();
        let plan = config.plan(&[], None, &mut mistakes);
        plan.check_together(&mut mistakes);
        mistakes.or(config)
    }

    pub(super) fn plan(&self, channels: &[String], registered: Option<&[String]>, mistakes: &mut Mistakes) -> Plan {
        let merged = self.merged(channels, registered, mistakes);
        Plan::new(merged.root, merged.types, mistakes)
    }

    /// Lays the sources over each other; variables are matched to `channels` and to those that files name.
    pub(super) fn merged(&self, channels: &[String], registered: Option<&[String]>, mistakes: &mut Mistakes) -> Merged {
        let mut root = Node::empty_map();
        self.sources.trees.iter().for_each(|tree| root.merge(tree.clone()));
        let mut existing = root.clone();
        existing.merge(self.sources.code.clone().unwrap_or_else(Node::empty_map));

        let mut binders = keys(&existing, "binders");
        let new = variables::new_binders(&self.sources.variables, &binders);
        let types = Types::new(named_types(&existing).chain(new.iter().map(|(_, kind)| kind.clone())), registered);
        binders.extend(new.into_iter().map(|(name, _)| name));
        let channels = channels.iter().cloned().chain(keys(&existing, "bindings")).collect();

        let names = Names { channels, binders, types: &types, existing: &existing };
        let matched = variables::matched(&self.sources.variables, &names, mistakes);
        root.merge(matched.tree);
        root.merge(self.sources.code.clone().unwrap_or_else(Node::empty_map));
        root.locate("stream");
        Merged { root, types, of_unknown_channels: matched.of_unknown_channels }
    }
}

fn keys(root: &Node, part: &str) -> Vec<String> {
    let map = root.get(part).and_then(Node::as_map);
    map.map(|map| map.keys().cloned().collect()).unwrap_or_default()
}

fn named_types(root: &Node) -> impl Iterator<Item = String> {
    let entries = root.get("binders").and_then(Node::as_map);
    entries.into_iter().flatten().filter_map(|(_, entry)| Some(entry.get("type")?.as_text()?.to_owned()))
}

impl fmt::Debug for Config {
    /// Prints where it comes from only: its values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables: Vec<&str> = self.sources.variables.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Config")
            .field("texts", &self.sources.names)
            .field("variables", &variables)
            .field("code", &self.sources.code.is_some())
            .finish()
    }
}
