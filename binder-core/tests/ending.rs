//! How long a shutdown may take, on the memory binder.

use std::time::Duration;

use binder_core::channel::SinkBinding;
use binder_core::config::Config;
use binder_core::memory::MemoryBinder;
use binder_core::message::Message;
use binder_core::prelude::*;
use binder_core::{BindingState, Result};
use tokio::time::Instant;

#[derive(Debug, Binding)]
struct Channels {
    #[input("orders")]
    orders: Input<String>,
    #[output("left")]
    left: Output<u32>,
    #[output("right")]
    right: Output<u32>,
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_longer_than_its_timeout_however_much_is_stuck() -> Result<()> {
    async fn never(_: String) {
        std::future::pending().await
    }
    // both outputs are full: nobody reads what they sent
    let memory = MemoryBinder::with_retention(2);
    let text = "stream: { bindings: {
        orders: { group: g },
        left: { producer: { required-groups: [g] } },
        right: { producer: { required-groups: [g] } }
    } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let channels = app.bind::<Channels>().await?;
    memory.publish("orders", Message::new("one")).expect("there is room");
    app.handle(channels.orders, never).await?;
    for output in [&channels.left, &channels.right] {
        for output in [output.clone(), output.to(&format!("{}-far", output.name()))] {
            app.supply(output, every(Duration::from_millis(1), || 1_u32)).await?;
        }
    }
    app.start().await?;
    app.ready(Duration::from_secs(5)).await?;
    let full = ["left", "right", "left-far", "right-far"];
    while full.iter().any(|name| memory.messages(name).len() < 2) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    app.shutdown().await?;
    let took = begun.elapsed().as_secs();
    assert!((25..=29).contains(&took), "{took} s");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_pulled_is_kept_for_as_long_as_one_wants() -> Result<()> {
    let memory = MemoryBinder::new();
    let text = "stream: { bindings: { input: { destination: orders, group: g, consumer: { handler-timeout: 1s, max-attempts: 1 } } } }";
    let config = Config::builder().yaml(text).build()?;
    let app = Application::builder().config(config).binder("memory", memory.clone()).build()?;
    let mut input = app.bind::<SinkBinding<String>>().await?.input;
    for text in ["one", "two"] {
        memory.publish("orders", Message::new(text)).expect("there is room");
    }
    let pulled = input.recv().await?.expect("it runs");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(app.health().bindings["input"].oldest_unsettled_seconds >= 3590.0);
    pulled.settle().await?;
    // the next one has waited for whoever asks for it
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let pulled = input.recv().await?.expect("it runs");
    assert_eq!(pulled.message().payload().map(String::as_str), Some("two"));
    pulled.settle().await?;
    memory.idle().await;
    assert_eq!(memory.messages("error.orders.g").len(), 0);
    assert_eq!(app.states()["input"], BindingState::Running);
    app.shutdown().await
}
