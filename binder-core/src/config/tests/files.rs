//! Files: which are read, and what is refused in their outermost keys.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, group) in files {
        fs::write(directory.path().join(name), content(name, group)).unwrap();
    }
    directory
}

fn content(name: &str, group: &str) -> String {
    match Path::new(name).extension().unwrap().to_str() {
        Some("toml") => format!("[stream.bindings.orders]\ngroup = '{group}'\n"),
        _ => format!("stream:\n  bindings:\n    orders:\n      group: {group}\n"),
    }
}

/// What `Config::load` would do in a directory, with `STREAM_…` variables.
fn load(directory: &TempDir, variables: &[(&str, &str)]) -> ConfigBuilder {
    let variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::builder().of_directory(directory.path(), &variables)
}

fn group(builder: ConfigBuilder) -> Option<String> {
    resolved(builder).bindings["orders"].properties.group.clone()
}

#[test]
fn a_file_of_each_name_is_found_and_none_is_needed() {
    for name in ["stream.yaml", "stream.yml", "stream.toml"] {
        assert_eq!(group(load(&directory(&[(name, "g")]), &[])).as_deref(), Some("g"), "{name}");
    }
    assert_eq!(group(load(&directory(&[("other.yaml", "g")]), &[("STREAM_PROFILE", "")])), None);
}

#[test]
fn two_files_of_one_name_are_refused() {
    let told = refused(load(&directory(&[("stream.yaml", "a"), ("stream.toml", "b")]), &[]));
    assert_eq!(told, "stream.yaml and stream.toml both exist; keep one");
}

#[test]
fn a_profile_is_laid_over_the_file() {
    let directory = directory(&[("stream.yaml", "a"), ("stream-prod.toml", "b"), ("stream-eu.yaml", "c")]);
    assert_eq!(group(load(&directory, &[("STREAM_PROFILE", "prod")])).as_deref(), Some("b"));
    assert_eq!(group(load(&directory, &[("STREAM_PROFILE", "prod, eu")])).as_deref(), Some("c"));
    assert_eq!(group(load(&directory, &[("STREAM_PROFILE", "eu,prod")])).as_deref(), Some("b"));
}

#[test]
fn a_profile_needs_no_file_below_it() {
    let directory = directory(&[("stream-prod.yaml", "b")]);
    assert_eq!(group(load(&directory, &[("STREAM_PROFILE", "prod")])).as_deref(), Some("b"));
}

#[test]
fn the_file_may_be_named_and_its_profile_stands_beside_it() {
    let directory = directory(&[("stream.yaml", "a"), ("app.yaml", "b"), ("app-prod.yaml", "c")]);
    assert_eq!(group(load(&directory, &[("STREAM_CONFIG", "app.yaml")])).as_deref(), Some("b"));
    assert_eq!(
        group(load(&directory, &[("STREAM_CONFIG", "app.yaml"), ("STREAM_PROFILE", "prod")])).as_deref(),
        Some("c")
    );
}

#[test]
fn what_was_asked_for_must_exist() {
    let directory = directory(&[("stream.yaml", "a")]);
    let told = refused(load(&directory, &[("STREAM_CONFIG", "app.yaml"), ("STREAM_PROFILE", "prod")]));
    let (profile, file) = told.split_once('\n').unwrap();
    assert_eq!(profile, "the profile `prod` was asked for, but there is no app-prod.yaml (or .yml, .toml)");
    assert!(file.starts_with("app.yaml: can't be read: "), "{file}");
}

#[test]
fn a_file_of_another_kind_is_refused() {
    assert_eq!(
        refused(Config::builder().file("app.json")),
        "app.json: expected a name that ends in .yaml, .yml or .toml"
    );
}

#[test]
fn everything_stands_below_stream() {
    for (text, told) in [
        ("steam: { bindings: {} }", "inline yaml:1: steam: unknown key; did you mean `stream`?"),
        ("bindings: {}", "inline yaml:1: bindings: unknown key; `bindings` stands under the key `stream`"),
        (
            "defaultBinder: x",
            "inline yaml:1: defaultBinder: unknown key; `defaultBinder` stands under the key `stream`",
        ),
        ("logging: {}", "inline yaml:1: logging: unknown key; known keys: stream"),
        ("stream: 5", "inline yaml:1: stream: expected a map of keys"),
        ("[a]", "inline yaml: expected a map with the key `stream`"),
    ] {
        assert_eq!(refused(yaml(text)), told);
    }
    assert!(resolved(yaml("stream:")).implicit_memory);
}

#[test]
fn a_file_that_can_not_be_parsed_names_the_line() {
    let directory = directory(&[]);
    fs::write(directory.path().join("stream.yaml"), "stream:\n  bindings: [\n").unwrap();
    assert!(refused(load(&directory, &[])).starts_with("stream.yaml:3: not valid YAML: "));
    assert!(refused(Config::builder().toml("[stream]\nx =")).starts_with("inline toml:2: not valid TOML: "));
}

#[test]
fn a_second_inline_text_has_a_number() {
    let told = refused(yaml("").yaml("stream: { x: 1 }"));
    assert!(told.starts_with("inline yaml 2:1: stream.x: unknown key"), "{told}");
}
