//! Derived bindings at work, on the memory binder.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use binder_core::channel::{Processor, Source};
use binder_core::prelude::*;
use binder_core::testkit::TestApplication;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: Customer,
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Customer {
    name: String,
}

fn order(id: u64) -> Order {
    Order { id, customer: Customer { name: "Ada".to_owned() }, note: None }
}

/// Starts an application with the channels of `B`.
async fn started<B: Binding>() -> (TestApplication, B) {
    let mut channels = None;
    let test = TestApplication::start(async |builder| {
        let app = builder.build()?;
        channels = Some(app.bind::<B>().await?);
        Ok(app)
    });
    (test.await.expect("the application starts"), channels.expect("its channels are bound"))
}

/// Sends an order through the only output of `B`, and returns the key that it got.
async fn key_of<B: Binding + Source<Output = Order>>(sent: &Order) -> Option<String> {
    let (test, channels) = started::<B>().await;
    channels.output().send(sent).await.expect("the memory binder takes it");
    let messages = test.output::<Order>(channels.output().name()).take_messages();
    assert_eq!(messages[0].payload(), Some(sent));
    messages[0].key_str().map(str::to_owned)
}

#[tokio::test]
async fn a_key_is_a_field_of_the_payload() {
    #[derive(Binding)]
    struct Channels {
        #[output("placed", key = "id")]
        orders: Output<Order>,
    }
    assert_eq!(key_of::<Channels>(&order(7)).await.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_key_is_a_field_of_a_field_of_the_payload() {
    #[derive(Binding)]
    struct Channels {
        #[output(key = "customer.name")]
        orders: Output<Order>,
    }
    assert_eq!(key_of::<Channels>(&order(7)).await.as_deref(), Some("Ada"));
}

/// A key that not every order has.
#[derive(Binding)]
struct Noted {
    #[output(key = "note")]
    orders: Output<Order>,
}

#[tokio::test]
async fn a_key_that_is_none_is_no_key() {
    assert_eq!(key_of::<Noted>(&order(7)).await, None);
}

#[tokio::test]
async fn a_key_that_is_some_is_what_it_holds() {
    let noted = Order { note: Some("fragile".to_owned()), ..order(7) };
    assert_eq!(key_of::<Noted>(&noted).await.as_deref(), Some("fragile"));
}

#[tokio::test]
async fn without_a_key_argument_there_is_no_key() {
    #[derive(Binding)]
    struct Channels {
        #[output]
        orders: Output<Order>,
    }
    assert_eq!(key_of::<Channels>(&order(7)).await, None);
}

#[tokio::test]
async fn channels_open_under_the_names_that_are_declared() {
    #[derive(Binding)]
    struct Channels {
        #[output("given")]
        first: Output<u8>,
        #[output]
        r#type: Output<u8>,
        #[input("in")]
        second: Input<u8>,
        #[binding(prefix = "eu-")]
        nested: Nested,
        #[binding]
        plain: Nested,
    }

    #[derive(Binding)]
    struct Nested {
        #[output]
        inner: Output<u8>,
    }

    let (_test, channels) = started::<Channels>().await;
    assert_eq!(channels.first.name(), "given");
    assert_eq!(channels.r#type.name(), "type");
    assert_eq!(channels.second.name(), "in");
    assert_eq!(channels.nested.inner.name(), "eu-inner");
    assert_eq!(channels.plain.inner.name(), "inner");
}

#[tokio::test]
async fn a_struct_with_one_of_each_is_a_processor_of_any_payload() {
    #[derive(Binding)]
    struct Channels<I, O> {
        #[output]
        invoices: Output<O>,
        #[input]
        orders: Input<I>,
    }

    fn split<P: Processor>(processor: P) -> (String, String) {
        let (input, output) = processor.into_channels();
        (input.name().to_owned(), output.name().to_owned())
    }

    let (_test, channels) = started::<Channels<Order, u64>>().await;
    assert_eq!(split(channels), ("orders".to_owned(), "invoices".to_owned()));
}

#[tokio::test]
async fn a_checked_handler_handles() {
    #[derive(Binding)]
    struct Channels {
        #[input]
        numbers: Input<u32>,
        #[output]
        doubled: Output<u32>,
    }

    #[check_handler]
    async fn double(number: u32, State(factor): State<u32>) -> u32 {
        number * factor
    }

    let test = TestApplication::start(async |builder| {
        let app = builder.build()?;
        let channels = app.bind::<Channels>().await?;
        app.process(channels.numbers, channels.doubled, double.with_state(2)).await?;
        Ok(app)
    });
    let test = test.await.unwrap();
    test.input("numbers").send(&21_u32).await.unwrap();
    assert_eq!(test.output::<u32>("doubled").next().await.unwrap(), 42);
}
