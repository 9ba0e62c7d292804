//! Transactions of producers, on the memory binder.

use std::time::Duration;

use binder_core::Result;
use binder_core::config::Config;
use binder_core::layer::{Layer, SendCall, SendNext};
use binder_core::memory::MemoryBinder;
use binder_core::message::{HeaderValue, Message};
use binder_core::prelude::*;
use futures::future::BoxFuture;

#[derive(Debug, Binding)]
struct Channels {
    #[output("invoices")]
    invoices: Output<String>,
    #[output("audit")]
    audit: Output<String>,
}

fn application(memory: &MemoryBinder, binders: &str) -> Application {
    let config =
        Config::builder().yaml(format!("stream: {{ {binders} }}")).build().expect("the configuration is right");
    Application::builder().config(config).binder("memory", memory.clone()).build().expect("it builds")
}

fn texts(memory: &MemoryBinder, destination: &str) -> Vec<String> {
    let messages = memory.messages(destination);
    messages.iter().map(|message| String::from_utf8_lossy(message.payload().expect("a payload")).into_owned()).collect()
}

#[tokio::test]
async fn nothing_is_published_before_the_end_and_then_all() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    let seen = memory.clone();
    let value = app
        .transaction(async |tx| {
            tx.send(&channels.invoices, &"a".to_owned()).await?;
            tx.send(&channels.audit, &"b".to_owned()).await?;
            tx.send_message(&channels.invoices, Message::new("c".to_owned()).with_key("k")).await?;
            assert!(seen.messages("invoices").is_empty() && seen.messages("audit").is_empty());
            Ok(7)
        })
        .await?;
    assert_eq!(value, 7);
    assert_eq!(texts(&memory, "invoices"), ["a", "c"]);
    assert_eq!(memory.messages("invoices")[1].key(), Some(&b"k"[..]));
    assert_eq!(texts(&memory, "audit"), ["b"]);
    app.shutdown().await
}

#[tokio::test]
async fn what_failed_publishes_nothing() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    let failed = app.transaction(async |tx| {
        tx.send(&channels.invoices, &"a".to_owned()).await?;
        "x".parse::<u32>()?;
        Ok(())
    });
    let error = failed.await.expect_err("it is no number");
    assert_eq!(error.kind(), ErrorKind::Handler);
    assert!(error.to_string().contains("invalid digit"), "{error}");
    assert!(memory.messages("invoices").is_empty());
    app.shutdown().await
}

#[tokio::test]
async fn one_who_fails_does_not_concern_the_others() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    let one = |number: u32| {
        let (app, invoices) = (&app, &channels.invoices);
        app.transaction(async move |tx| {
            let message = Message::new(number.to_string());
            // the destination has one partition: such a message is refused when it is published
            let message = if number % 10 == 3 { message.with_partition(9) } else { message };
            tx.send_message(invoices, message).await?;
            tokio::task::yield_now().await;
            if number % 10 == 7 { Err(HandlerError::permanent("no stock")) } else { Ok(()) }
        })
    };
    let done = futures::future::join_all((0..100).map(one)).await;
    let kinds = |kind| done.iter().filter(|done| done.as_ref().is_err_and(|error| error.kind() == kind)).count();
    assert_eq!((kinds(ErrorKind::Refused), kinds(ErrorKind::Handler)), (10, 10));
    let mut published = texts(&memory, "invoices");
    published.sort();
    let expected = (0..100).filter(|number| ![3, 7].contains(&(number % 10)));
    let mut expected: Vec<_> = expected.map(|number| number.to_string()).collect();
    expected.sort();
    assert_eq!(published, expected);
    app.shutdown().await
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_room_for_all_of_it() -> Result<()> {
    let memory = MemoryBinder::with_retention(2);
    let app = application(&memory, "bindings: { invoices: { producer: { required-groups: [g] } } }");
    let channels = app.bind::<Channels>().await?;
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    memory.publish("invoices", Message::new("old"))?;
    let publishing = app.transaction(async |tx| {
        tx.send(&channels.audit, &"a".to_owned()).await?;
        tx.send(&channels.invoices, &"b".to_owned()).await?;
        tx.send(&channels.invoices, &"c".to_owned()).await?;
        Ok(())
    });
    let mut publishing = std::pin::pin!(publishing);
    let early = tokio::time::timeout(Duration::from_secs(5), &mut publishing).await;
    assert!(early.is_err(), "the group has not settled what is there");
    assert!(memory.messages("audit").is_empty(), "and no part is published");
    let mut group = binder_core::binder::ConsumerBinding::new("invoices");
    group.group = Some("g".to_owned());
    let mut consumer = binder_core::binder::Binder::bind_consumer(&memory, &group).await?;
    let binder_core::binder::Received::Batch(batch) = consumer.recv_many(1).await? else {
        panic!("nothing is revoked")
    };
    let token = batch.token(0);
    drop(batch);
    consumer.settle(token.lane, token.sequence)?;
    publishing.await?;
    assert_eq!(texts(&memory, "audit"), ["a"]);
    assert_eq!(texts(&memory, "invoices"), ["b", "c"]);
    app.shutdown().await
}

#[tokio::test]
async fn a_transaction_belongs_to_one_binder() -> Result<()> {
    let memory = MemoryBinder::new();
    let binders = "binders: { one: { type: memory }, two: { type: memory } }, default-binder: one";
    let app = application(&memory, &format!("{binders}, bindings: {{ audit: {{ binder: two }} }}"));
    let channels = app.bind::<Channels>().await?;
    let both = app.transaction(async |tx| {
        tx.send(&channels.invoices, &"a".to_owned()).await?;
        tx.send(&channels.audit, &"b".to_owned()).await?;
        Ok(())
    });
    let error = both.await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`one`") && format!("{error:?}").contains("audit"), "{error:?}");
    assert!(memory.messages("invoices").is_empty());
    app.shutdown().await
}

#[tokio::test]
async fn a_transaction_that_is_over_takes_nothing() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    let kept = app.transaction(async |tx| Ok(tx)).await?;
    let error = kept.send(&channels.invoices, &"late".to_owned()).await.expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::Closed);
    app.shutdown().await?;
    let closed = app.transaction(async |tx| Ok(tx.send(&channels.invoices, &"late".to_owned()).await?)).await;
    assert_eq!(closed.expect_err("the application is closed").kind(), ErrorKind::Closed);
    Ok(())
}

#[derive(Debug)]
struct Tenant;

impl Layer for Tenant {
    fn send<'a>(&'a self, mut call: SendCall, next: SendNext<'a>) -> BoxFuture<'a, Result<()>> {
        call.headers.append("tenant", "acme");
        next.run(call)
    }
}

#[tokio::test]
async fn layers_go_around_its_sends() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    let invoices = channels.invoices.layer(Tenant);
    app.transaction(async |tx| Ok(tx.send(&invoices, &"a".to_owned()).await?)).await?;
    let messages = memory.messages("invoices");
    assert_eq!(messages[0].headers().get("tenant"), Some(&HeaderValue::from("acme")));
    assert_eq!(texts(&memory, "invoices"), ["a"]);
    app.shutdown().await
}

#[tokio::test]
async fn a_shutdown_waits_for_what_was_handed_over() -> Result<()> {
    let memory = MemoryBinder::new();
    let app = application(&memory, "");
    let channels = app.bind::<Channels>().await?;
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    let publishing = app.transaction(async |tx| Ok(tx.send(&channels.invoices, &"a".to_owned()).await?));
    // handed over in its first poll, before the shutdown begins
    let (published, down) = tokio::join!(biased; publishing, app.shutdown());
    down?;
    published?;
    assert_eq!(texts(&memory, "invoices"), ["a"]);
    Ok(())
}
