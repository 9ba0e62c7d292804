//! What becomes of a file of Spring.

mod brokers;
mod examples;
mod files;
mod mistakes;
mod page;
mod rows;

use std::fs;

use tempfile::TempDir;

use crate::config::place::Mistakes;
use crate::config::tree::{Data, Node};
use crate::config::{Config, ConfigBuilder};
use crate::{ErrorKind, Result};

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
    directory
}

/// A builder of the first of some files, with the others beside it.
fn builder(directory: &TempDir, name: &str) -> ConfigBuilder {
    Config::builder().of_directory(directory.path(), &[]).spring(name)
}

fn build(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Config> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    builder(&directory(files), files[0].0).env(variables.collect::<Vec<_>>()).build()
}

fn yaml(text: &str) -> Result<Config> {
    build(&[("application.yml", text)], &[])
}

fn properties(text: &str) -> Result<Config> {
    build(&[("application.properties", text)], &[])
}

fn root(config: &Config) -> Node {
    config.merged(&[], None, &mut Mistakes::default()).root
}

/// What stands under a path of our keys, which goes down by slashes.
fn value(config: &Config, path: &str) -> Option<String> {
    let keys: Vec<&str> = path.split('/').collect();
    fn written(node: &Node) -> String {
        match &node.data {
            Data::List(items) => items.iter().map(written).collect::<Vec<_>>().join(" "),
            Data::Map(map) => map.keys().cloned().collect::<Vec<_>>().join(" "),
            _ => node.as_text().unwrap_or_default().to_owned(),
        }
    }
    root(config).at(&keys).map(written)
}

#[track_caller]
fn has(config: &Config, expected: &[(&str, &str)]) {
    for (path, text) in expected {
        assert_eq!(value(config, path).as_deref(), Some(*text), "{path} in\n{}", config.describe());
    }
}

/// What is wrong.
#[track_caller]
fn refused(config: Result<Config>) -> String {
    let error = config.map(|config| config.describe()).expect_err("it is wrong");
    assert_eq!(error.kind(), ErrorKind::Config);
    error.message().to_owned()
}

fn notes(config: &Config) -> String {
    config.spring_notes().iter().map(|note| format!("{note}\n")).collect()
}
