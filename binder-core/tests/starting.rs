//! What a wrong configuration says before anything is opened.

use binder_core::Result;
use binder_core::channel::{ProcessorBinding, SinkBinding};
use binder_core::config::Config;
use binder_core::prelude::*;

/// Builds and starts an application with one input, configured in a file.
async fn started(text: &str) -> Result<Application> {
    let app = Application::builder().config(Config::builder().yaml(text).build()?).build()?;
    app.bind::<SinkBinding<String>>().await?;
    app.start().await?;
    Ok(app)
}

async fn refused(text: &str) -> Error {
    let error = started(text).await.expect_err("it is wrong");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error
}

#[tokio::test]
async fn a_forbidden_destination_says_which_characters_and_where_it_was_set() {
    let error = refused("stream:\n  bindings:\n    input:\n      destination: 'a b/c'\n").await;
    assert!(error.message().contains("[' ', '/']"), "{error}");
    assert_eq!(error.context("configured in"), Some("inline yaml:4"), "{error}");
    assert_eq!(error.context("binding"), Some("input"), "{error}");
}

#[tokio::test]
async fn a_property_that_is_refused_says_where_it_was_set() {
    let text = |line: &str| format!("stream:\n  bindings:\n    input:\n      consumer:\n        {line}\n");
    let error = refused(&text("key: payload")).await;
    let place = "inline yaml:5: stream.bindings.input.consumer.key: ";
    assert!(error.message().starts_with(place) && error.message().contains("`payload.<field>`"), "{error}");
    let error = refused(&text("retry: delayed")).await;
    let place = "inline yaml:5: stream.bindings.input.consumer.retry: ";
    assert!(error.message().starts_with(place) && error.message().contains("`ordering: none`"), "{error}");
}

#[tokio::test]
async fn a_binder_that_is_not_registered_lists_those_that_are() {
    let error = refused("stream:\n  binders:\n    main: { type: nats }\n").await;
    let expected = "inline yaml:3: stream.binders.main.type: binder type `nats` is not registered; registered: memory.";
    assert!(error.message().starts_with(expected), "{error}");
}

#[tokio::test]
async fn a_channel_that_nobody_declares_is_refused_at_start() {
    let error = refused("stream:\n  bindings:\n    inptu:\n      group: g\n").await;
    assert!(error.message().starts_with("inline yaml:3: stream.bindings.inptu: no binding declares"), "{error}");
    assert!(error.message().contains("did you mean `input`?"), "{error}");
}

#[tokio::test]
async fn what_is_refused_leaves_no_channel_behind() {
    let config = Config::builder().set("bindings.output.destination", "a b").build().expect("no channel is known");
    let app = Application::builder().config(config).build().expect("no channel is known");
    app.bind::<ProcessorBinding<String, String>>().await.expect_err("its output is wrong");
    assert!(app.states().is_empty(), "{:?}", app.states());
    app.bind::<SinkBinding<String>>().await.expect("its input was not bound");
}
