//! The program, as a person runs it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    for variable in ["KAFKA_URL", "RABBIT_URL", "REDIS_URL", "DEMO_BROKERCTL"] {
        command.env_remove(variable);
    }
    command.args(arguments).output().unwrap()
}

fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn on_memory_all_checks_pass() {
    let output = demo(&["--instances", "3"]);
    let last = last_line(&output);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let count = last.strip_prefix("demo: ").and_then(|rest| rest.strip_suffix(" checks passed"));
    assert!(count.unwrap().parse::<u32>().unwrap() > 40, "{last}");
}

#[test]
fn a_step_that_cannot_exist_on_memory_is_said_to_be_skipped() {
    let output = demo(&["--instances", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("skipped: ").count(), 2, "{text}");
}

#[test]
fn without_a_broker_it_names_what_is_missing_and_ends_with_1() {
    for (binder, variable) in [("kafka", "KAFKA_URL"), ("rabbit", "RABBIT_URL")] {
        let output = demo(&["--binder", binder]);
        assert_eq!((last_line(&output), output.status.code()), (format!("demo: {variable} is not set"), Some(1)));
    }
}
