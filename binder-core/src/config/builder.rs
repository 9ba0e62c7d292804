//! How a configuration is put together.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::place::{Mistakes, Place};
use super::plan::{PARTS, STREAM};
use super::sources::{Config, Sources};
use super::spring;
use super::suggest;
use super::tree::{Data, Node};
use super::{toml, variables, yaml};
use crate::Result;

/// Names the file instead of `stream.yaml`.
const CONFIG_VARIABLE: &str = "STREAM_CONFIG";

/// Names the profiles, separated by commas.
const PROFILE_VARIABLE: &str = "STREAM_PROFILE";

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "toml"];

/// Puts a configuration together. Later wins: files and texts in the order of the calls, profiles, environment, [`set`](Self::set).
#[derive(Default)]
pub struct ConfigBuilder {
    /// Where relative names begin; empty: the working directory.
    directory: PathBuf,
    texts: Vec<Text>,
    profiles: Vec<String>,
    variables: Vec<(String, String)>,
    /// All variables, for placeholders of Spring.
    environment: Vec<(String, String)>,
    code: Option<Node>,
    mistakes: Mistakes,
}

enum Text {
    File(PathBuf),
    Spring(PathBuf),
    Inline { format: Format, text: String },
}

#[derive(Clone, Copy)]
enum Format {
    Yaml,
    Toml,
}

impl ConfigBuilder {
    /// What [`Config::load`] reads.
    pub(super) fn of_process() -> Self {
        let builder = Self::default().env_from_process();
        let ours = [CONFIG_VARIABLE, PROFILE_VARIABLE].into_iter();
        let ours: Vec<(String, String)> =
            ours.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect();
        builder.of_directory(Path::new(""), &ours)
    }

    /// Takes the files of a directory that `variables` ask for.
    pub(super) fn of_directory(mut self, directory: &Path, variables: &[(String, String)]) -> Self {
        let asked = |name: &str| variables.iter().find(|(key, value)| key == name && !value.trim().is_empty());
        self.directory = directory.to_owned();
        if let Some((_, path)) = asked(CONFIG_VARIABLE) {
            self = self.file(path);
        } else if let Some(path) = self.only_file_of("stream") {
            self = self.file(path);
        }
        match asked(PROFILE_VARIABLE) {
            Some((_, names)) => names.split(',').fold(self, |builder, name| builder.profile(name.trim())),
            None => self,
        }
    }

    /// Adds a file, which must exist: `.yaml`, `.yml` or `.toml`.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.texts.push(Text::File(path.into()));
        self
    }

    /// Adds the files of a Spring Boot application: `application.yml`, `.yaml` or `.properties`, which must exist.
    ///
    /// [Profiles](Self::profile) are active there too, and [variables](Self::env) serve its placeholders. What becomes of it:
    /// [`Config::from_spring`].
    #[must_use]
    pub fn spring(mut self, path: impl Into<PathBuf>) -> Self {
        self.texts.push(Text::Spring(path.into()));
        self
    }

    /// Adds a text in YAML.
    #[must_use]
    pub fn yaml(mut self, text: impl Into<String>) -> Self {
        self.texts.push(Text::Inline { format: Format::Yaml, text: text.into() });
        self
    }

    /// Adds a text in TOML.
    #[must_use]
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.texts.push(Text::Inline { format: Format::Toml, text: text.into() });
        self
    }

    /// Adds a profile: for each file `<name>.yaml` the file `<name>-<profile>.yaml`, `.yml` or `.toml` beside it, at least one of which
    /// must exist. Without a file it is `stream-<profile>.yaml` in the working directory. Files of Spring need have none.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profiles.push(name.into());
        self
    }

    /// Adds environment variables; only names that begin with `STREAM__` count, and for files of Spring
    /// those by which Spring lets the environment win, and those that they name.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in variables {
            if variables::segments(&name).is_some() {
                self.variables.push((name, value));
            } else {
                self.environment.push((name, value));
            }
        }
        self
    }

    /// Adds the environment variables of this process.
    #[must_use]
    pub fn env_from_process(mut self) -> Self {
        let mut ours = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str() else { continue };
            match OsString::into_string(value) {
                Ok(value) => ours.push((name.to_owned(), value)),
                Err(_) if variables::segments(name).is_none() => {}
                Err(_) => self.mistakes.add(Some(&Place::Variable(name.into())), "", "is not UTF-8"),
            }
        }
        self.env(ours)
    }

    /// Sets a value in code: it wins over files and environment, a later call over an earlier one.
    ///
    /// `path` is spelt as in a file, with or without `stream.` before it. A name that holds a dot goes in quotes:
    /// `bindings."orders.eu".group`.
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        match keys(path) {
            Some(keys) => {
                let code = self.code.get_or_insert_with(Node::empty_map);
                code.put(&keys, Node::from_json(value.into(), &Place::Code));
            }
            None => self.mistakes.add(Some(&Place::Code), path, "is no path such as `bindings.orders.group`"),
        }
        self
    }

    /// Reads the sources and checks what they say.
    ///
    /// # Errors
    /// A file that is missing, and all that is wrong in any source: each mistake in a line, with its place and what was probably meant.
    pub fn build(mut self) -> Result<Config> {
        let texts = std::mem::take(&mut self.texts);
        let asked = self.profiles.clone();
        let profiles = self.profile_files(&texts);
        let mut sources = Sources::default();
        for (count, text) in texts.into_iter().chain(profiles.into_iter().map(Text::File)).enumerate() {
            if let Text::Spring(path) = text {
                self.spring_files(&path, &asked, &mut sources);
                continue;
            }
            let Some((name, format, text)) = self.content(text, count) else { continue };
            sources.names.push(name.to_string());
            sources.trees.extend(self.tree(&name, format, &text));
        }
        sources.variables = self.variables;
        sources.code = self.code;
        self.mistakes.or(())?;
        let config = Config::checked(sources)?;
        config.spring_notes().iter().for_each(|note| tracing::warn!("{note}"));
        Ok(config)
    }

    fn spring_files(&mut self, path: &Path, profiles: &[String], sources: &mut Sources) {
        let read = spring::read(&self.directory, path, profiles, &self.environment, &mut self.mistakes);
        sources.names.extend(read.names);
        sources.trees.push(read.tree);
        sources.notes.extend(read.notes);
    }

    fn content(&mut self, text: Text, count: usize) -> Option<(Arc<str>, Format, String)> {
        let path = match text {
            Text::Inline { format: Format::Yaml, text } => {
                return Some((numbered("inline yaml", count), Format::Yaml, text));
            }
            Text::Inline { format: Format::Toml, text } => {
                return Some((numbered("inline toml", count), Format::Toml, text));
            }
            Text::File(path) | Text::Spring(path) => path,
        };
        let name: Arc<str> = path.display().to_string().into();
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => Format::Yaml,
            Some("toml") => Format::Toml,
            _ => {
                self.mistakes.add(Some(&Place::File(name)), "", "expected a name that ends in .yaml, .yml or .toml");
                return None;
            }
        };
        match std::fs::read_to_string(self.directory.join(&path)) {
            Ok(text) => Some((name, format, text)),
            Err(cause) => {
                self.mistakes.add(Some(&Place::File(name)), "", format!("can't be read: {cause}"));
                None
            }
        }
    }

    /// Reads a text and takes what stands below `stream`.
    fn tree(&mut self, name: &Arc<str>, format: Format, text: &str) -> Option<Node> {
        let read = match format {
            Format::Yaml => yaml::read(name, text),
            Format::Toml => toml::read(name, text),
        };
        match read {
            Ok(root) => Some(self.below_stream(root, name)),
            Err(cause) => {
                let place = Place::Line { name: Arc::clone(name), line: cause.line };
                self.mistakes.add(Some(&place), "", cause.reason);
                None
            }
        }
    }

    fn below_stream(&mut self, root: Node, name: &Arc<str>) -> Node {
        let map = match root.data {
            Data::Map(map) => map,
            Data::Null => return Node::empty_map(),
            _ => {
                self.mistakes.add(Some(&Place::File(Arc::clone(name))), "", "expected a map with the key `stream`");
                return Node::empty_map();
            }
        };
        let mut stream = Node::empty_map();
        for (key, node) in map {
            if key == "stream" {
                self.refuse_value(&node);
                stream.merge(node);
            } else {
                self.mistakes.add(node.place.as_ref(), key.as_str(), unknown_top_key(&key));
            }
        }
        stream
    }

    fn refuse_value(&mut self, node: &Node) {
        if node.as_map().is_none() && !node.is_null() {
            self.mistakes.add(node.place.as_ref(), "stream", "expected a map of keys");
        }
    }

    /// Finds the files of the profiles, in their order.
    fn profile_files(&mut self, texts: &[Text]) -> Vec<PathBuf> {
        let bases = texts.iter().filter_map(|text| match text {
            Text::File(path) => Some(path.with_extension("").display().to_string()),
            Text::Inline { .. } | Text::Spring(_) => None,
        });
        let mut bases: Vec<String> = bases.collect();
        if bases.is_empty() && texts.iter().any(|text| matches!(text, Text::Spring(_))) {
            // Profiles of Spring need no file of their own.
            return Vec::new();
        }
        if bases.is_empty() {
            bases.push("stream".to_owned());
        }
        let mut files = Vec::new();
        for profile in std::mem::take(&mut self.profiles) {
            let names: Vec<String> = bases.iter().map(|base| format!("{base}-{profile}")).collect();
            let found: Vec<PathBuf> = names.iter().filter_map(|name| self.only_file_of(name)).collect();
            if found.is_empty() {
                let names = names.iter().map(|name| format!("{name}.yaml")).collect::<Vec<_>>().join(", ");
                let text = format!("the profile `{profile}` was asked for, but there is no {names} (or .yml, .toml)");
                self.mistakes.add(None, "", text);
            }
            files.extend(found);
        }
        files
    }

    /// Finds the file of a name without extension; two of them are a mistake.
    fn only_file_of(&mut self, name: &str) -> Option<PathBuf> {
        let paths = EXTENSIONS.iter().map(|extension| PathBuf::from(format!("{name}.{extension}")));
        let found: Vec<PathBuf> = paths.filter(|path| self.directory.join(path).is_file()).collect();
        if let [first, second, ..] = &found[..] {
            let text = format!("{} and {} both exist; keep one", first.display(), second.display());
            self.mistakes.add(None, "", text);
        }
        found.into_iter().next()
    }
}

/// Names the inline text that is the nth source, from 0.
fn numbered(name: &str, count: usize) -> Arc<str> {
    if count == 0 { name.into() } else { format!("{name} {}", count + 1).into() }
}

fn unknown_top_key(key: &str) -> String {
    let inside = STREAM.keys().chain(PARTS);
    if inside.clone().any(|known| suggest::plain(known) == suggest::plain(key)) {
        return format!("unknown key; `{key}` stands under the key `stream`");
    }
    format!("unknown key{}", suggest::hint(key, "known keys", ["stream"]))
}

/// Splits a dotted path; a key in quotes may hold dots.
fn keys(path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut rest = path;
    loop {
        let (key, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if key.is_empty() || key.contains('"') {
            return None;
        }
        keys.push(key.to_owned());
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return None,
        }
    }
    if keys.len() > 1 && keys[0] == "stream" {
        keys.remove(0);
    }
    Some(keys)
}

impl std::fmt::Debug for ConfigBuilder {
    /// Prints how much there is only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigBuilder")
            .field("texts", &self.texts.len())
            .field("profiles", &self.profiles)
            .field("variables", &self.variables.len())
            .finish_non_exhaustive()
    }
}
