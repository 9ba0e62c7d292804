//! What is published together or not at all.

use bytes::Bytes;
use serde_json::json;

use super::cases;
use super::sides::number;
use super::world::World;
use crate::channel::ProcessorBinding;
use crate::handler::{HandlerError, HandlerExt, State};
use crate::message::Message;
use crate::{Application, ErrorKind};

cases!("transactions":
    a_transaction_is_published_whole [Transactions],
    what_failed_publishes_nothing [Transactions],
    a_killed_transactional_input_publishes_once [Transactions],
);

async fn a_transaction_is_published_whole(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let output = source.output.clone();
    let work = source.app.transaction(async |tx| {
        for id in 0..10 {
            tx.send(&output, &number(id)).await?;
        }
        Ok(7)
    });
    assert_eq!(world.wait("a transaction", work).await.expect("published"), 7);
    sink.handles(0..10).await;
    assert_eq!(sink.ids(), (0..10).collect::<Vec<_>>());
}

/// Neither what its work gave up, nor what the broker refused, is ever read, not in part either.
async fn what_failed_publishes_nothing(world: World) {
    let sink = world.plain_sink("g").await;
    let source = world.plain_source().await;
    let output = source.output.clone();
    let given_up = source.app.transaction(async |tx| {
        tx.send(&output, &number(1)).await?;
        Err::<(), _>(HandlerError::permanent("no stock"))
    });
    let error = world.wait("a transaction", given_up).await.expect_err("it was given up");
    assert_eq!(error.kind(), ErrorKind::Handler, "{error:?}");
    let refused = source.app.transaction(async |tx| {
        tx.send(&output, &number(2)).await?;
        tx.send_message(&output, Message::new(number(3)).with_partition(99)).await?;
        tx.send(&output, &number(4)).await?;
        Ok(())
    });
    let error = world.wait("a transaction", refused).await.expect_err("there is no such partition");
    assert!(!error.is_retryable(), "{error:?}");
    let later = source.app.transaction(async |tx| Ok(tx.send(&output, &number(5)).await?));
    world.wait("a transaction", later).await.expect("published");
    source.send(6).await;
    sink.handles(5..7).await;
    sink.stays_at(2).await;
}

/// Copies a message; the one that is stuck never ends.
async fn copy(message: Message<Bytes>, State(stuck): State<Bytes>) -> Message<Bytes> {
    if message.payload() == Some(&stuck) {
        std::future::pending::<()>().await;
    }
    message
}

/// Copies the case's destination to another within transactions.
async fn copying(world: &World, to: &str, stuck: Bytes) -> Application {
    let output = json!({ "bindings": { "output": { "destination": to } } });
    let draft = world.sink("g").stream(output).consumer(json!({ "transactional": true, "prefetch": 20 }));
    let app = draft.application();
    let channels = app.bind::<ProcessorBinding<Bytes, Bytes>>().await.expect("bound");
    app.process(channels.input, channels.output, copy.with_state(stuck)).await.expect("processed");
    app.start().await.expect("started");
    app
}

/// What an input has published is settled: its successor does not publish it again.
async fn a_killed_transactional_input_publishes_once(world: World) {
    let copies = world.other("copies");
    let sink = world.sink("copies").destination(&copies).open().await;
    world.source().for_groups(&["g"]).open().await.send_many(0..60).await;
    let first = copying(&world, &copies, number(40)).await;
    sink.until("some are copied", |log| log.len() >= 20).await;
    world.look_on().await;
    first.abort();
    let _second = copying(&world, &copies, Bytes::new()).await;
    sink.handles(0..60).await;
    sink.stays_at(60).await;
    assert_eq!(sink.ids(), (0..60).collect::<Vec<_>>(), "once each and in order");
}
