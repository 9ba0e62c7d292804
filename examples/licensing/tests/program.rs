//! The program: `--describe`, and what it says of wrong settings.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licensing"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env_remove("STREAM_CONFIG").env_remove("STREAM_PROFILE").output().unwrap()
}

#[test]
fn describe_prints_the_configuration_and_ends() {
    let output = run(&["--describe"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.contains("orgChangeTopic") && text.contains("licensingGroup"), "{text}");
}

#[test]
fn a_cache_or_service_that_is_none_ends_with_2() {
    for arguments in [["--redis-url", "http://x"], ["--organization-url", "nowhere"], ["--port", "x"]] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
