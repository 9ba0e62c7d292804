//! The program: `--describe`, and what it says of a wrong configuration.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::process::{Command, Output};

fn run(arguments: &[&str], pairs: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_organization"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("STREAM_CONFIG").env_remove("STREAM_PROFILE");
    command.envs(pairs.iter().copied()).output().unwrap()
}

#[test]
fn describe_prints_the_configuration_and_ends() {
    let output = run(&["--describe"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("orgChangeTopic"), "{text}");
}

#[test]
fn a_misspelt_key_ends_with_2_and_its_place() {
    let output = run(&[], &[("STREAM__BINDINGS__OUTPUT__DESTINATOIN", "x")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.to_lowercase().contains("destinatoin"), "{text}");
}

#[test]
fn a_profile_that_is_missing_ends_with_2() {
    let output = run(&[], &[("STREAM_PROFILE", "nowhere")]);
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_binder_that_is_not_compiled_in_ends_with_2_and_lists_those_that_are() {
    let output = run(&[], &[("STREAM_PROFILE", "kafka")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("kafka") && text.contains("memory"), "{text}");
}
