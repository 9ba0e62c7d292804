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

/// The program ends with 2; returns what it says.
fn refused(pairs: &[(&str, &str)]) -> String {
    let output = run(&[], pairs);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

#[test]
fn a_wrong_file_ends_with_2_the_line_and_what_was_meant() {
    let file = format!("{}/wrong.yaml", env!("CARGO_TARGET_TMPDIR"));
    for (line, told) in [
        ("destinatoin: x", "output.destinatoin: unknown key; did you mean `destination`?"),
        ("auto-startup: 5", "output.auto-startup: expected `true` or `false`, found `5`"),
        ("producer: { send-timeout: soon }", "`soon` is not a duration such as `500ms` or `2s`"),
    ] {
        std::fs::write(&file, format!("stream:\n  bindings:\n    output:\n      {line}\n")).unwrap();
        let text = refused(&[("STREAM_CONFIG", &file)]);
        assert!(text.contains("wrong.yaml:4: stream.bindings.output.") && text.contains(told), "{text}");
    }
}

#[test]
fn a_wrong_variable_ends_with_2_its_name_and_what_was_meant() {
    let text = refused(&[("STREAM__BINDINGS__OUTPUT__DESTINATOIN", "x")]);
    assert!(text.contains("environment variable STREAM__BINDINGS__OUTPUT__DESTINATOIN"), "{text}");
    assert!(text.contains("did you mean `DESTINATION`?"), "{text}");
}

#[test]
fn a_forbidden_destination_ends_with_2_and_its_characters() {
    let text = refused(&[("STREAM__BINDINGS__OUTPUT__DESTINATION", "org/changes")]);
    assert!(text.contains("'/'") && text.contains("STREAM__BINDINGS__OUTPUT__DESTINATION"), "{text}");
}

#[test]
fn a_profile_that_is_missing_ends_with_2() {
    let text = refused(&[("STREAM_PROFILE", "nowhere")]);
    assert!(text.contains("stream-nowhere.yaml"), "{text}");
}

#[test]
fn a_binder_that_nobody_registers_ends_with_2_and_lists_those_that_are() {
    let text = refused(&[("STREAM__BINDERS__MAIN__TYPE", "nats")]);
    assert!(text.contains("binder type `nats` is not registered; registered: "), "{text}");
    assert!(text.contains("memory"), "{text}");
}

#[cfg(not(feature = "kafka"))]
#[test]
fn a_binder_that_is_not_compiled_in_ends_with_2_and_lists_those_that_are() {
    let text = refused(&[("STREAM_PROFILE", "kafka")]);
    assert!(text.contains("binder type `kafka` is not registered; registered: memory"), "{text}");
}

/// Starts the program where its broker can't be, waits until `/health` says so, and returns that and the log.
#[cfg(any(feature = "kafka", feature = "rabbit"))]
async fn without_broker(profile: &str, variable: &str, url: &str) -> (serde_json::Value, String) {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let mut command = Command::new(env!("CARGO_BIN_EXE_organization"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("STREAM_CONFIG").env_remove("RUST_LOG");
    command.envs([("STREAM_PROFILE", profile), (variable, url), ("PORT", "0"), ("DATABASE_URL", "sqlite::memory:")]);
    let mut program = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            let answer = reqwest::get(format!("{address}/health")).await.unwrap();
            let status = answer.status();
            let health: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(status, 503, "{health}");
            let output = &health["bindings"]["output"];
            if output["state"] == "connecting" && output["reason"] != "starting" {
                return output.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let told = told.await;
    program.kill().unwrap();
    program.wait().unwrap();
    let mut log = String::new();
    program.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (told.unwrap_or_else(|_| panic!("nothing is said within seconds: {log}")), log)
}

#[cfg(feature = "rabbit")]
#[tokio::test]
async fn an_unknown_host_of_rabbit_is_named_in_health_and_in_the_log() {
    let url = "amqp://guest:guest@nowhere.invalid:5672";
    let (health, log) = without_broker("rabbit", "STREAM__BINDERS__RABBIT__URL", url).await;
    assert_eq!(health["binder"], "rabbit");
    assert!(health["reason"].as_str().unwrap().contains("unknown host `nowhere.invalid`"), "{health}");
    let line = log.lines().find(|line| line.contains("unknown host `nowhere.invalid`")).unwrap_or(&log);
    assert!(line.contains("binder `rabbit`") && line.contains("binding `output`"), "{line}");
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn an_unknown_host_of_kafka_is_named_in_health_and_in_the_log() {
    let (health, log) = without_broker("kafka", "STREAM__BINDERS__KAFKA__BROKERS", "nowhere.invalid:9092").await;
    assert_eq!(health["binder"], "kafka");
    assert!(health["reason"].as_str().unwrap().contains("Failed to resolve 'nowhere.invalid:9092'"), "{health}");
    let named = |line: &str| line.contains("Failed to resolve") && line.contains("binder `kafka`");
    assert!(log.lines().any(named), "{log}");
}
