//! The code of the guide, so that it is compiled. Runs on the memory binder: `cargo run -p binder-core --example guide`.

use std::time::Duration;

use binder_core::channel::{Processor, ProcessorBinding, SourceBinding};
use binder_core::prelude::*;

// ANCHOR: channels
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    id: u64,
    customer: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Invoice {
    order: u64,
}

/// The channels of a service; their names are what the configuration binds.
#[derive(Binding)]
struct Billing {
    #[input]
    orders: Input<Order>,
    #[output("invoices")]
    invoices: Output<Invoice>,
    #[output("audit", key = "customer")]
    audit: Output<Order>,
}
// ANCHOR_END: channels

// ANCHOR: handler
header!(Tenant: String = "tenant");

/// A processor: what it returns is published, and the order is settled after the broker has confirmed that.
async fn to_invoice(
    order: Order,
    State(audit): State<Output<Order>>,
    tenant: Option<Header<Tenant>>,
    delivery: Delivery,
) -> Result<Invoice, HandlerError> {
    if order.customer.is_empty() {
        return Err(HandlerError::permanent("an order needs a customer"));
    }
    audit.message(&order).header("attempt", delivery.attempt).send().await?;
    println!("invoice for {} of {:?}", order.id, tenant.map(|tenant| tenant.0));
    Ok(Invoice { order: order.id })
}
// ANCHOR_END: handler

// ANCHOR: batch
async fn store(batch: Batch<Order>) -> BatchOutcome {
    let mut outcome = BatchOutcome::ok();
    for (index, message) in batch.into_iter().enumerate() {
        if message.is_tombstone() {
            outcome.fail(index, HandlerError::permanent("an order can't be taken back"));
        }
    }
    outcome
}
// ANCHOR_END: batch

// ANCHOR: generic
/// Works with every struct that has exactly one input and one output.
async fn forward<P>(app: &Application, processor: P) -> binder_core::Result<()>
where
    P: Processor<Input = Order, Output = Order>,
{
    async fn same(order: Order) -> Order {
        order
    }
    let (input, output) = processor.into_channels();
    app.process(input, output, same).await
}
// ANCHOR_END: generic

// ANCHOR: pull
/// Pulls deliveries and settles them by hand.
async fn pull(mut orders: Input<Order>) -> binder_core::Result<()> {
    while let Some(order) = orders.recv().await? {
        match order.payload() {
            Some(payload) if payload.id > 0 => order.settle().await?,
            _ => order.reject(HandlerError::permanent(std::io::Error::other("no order"))).await?,
        }
    }
    Ok(())
}
// ANCHOR_END: pull

// ANCHOR: send
async fn send(audit: &Output<Order>, order: &Order, many: &[Order]) -> binder_core::Result<()> {
    audit.send(order).await?;
    audit.message(order).key("customer-1").header("tenant", "t1").send().await?;
    audit.to("audit.europe").send(order).await?;
    if let Err(error) = audit.send_all(many).await {
        for (index, reason) in error.failures() {
            eprintln!("{index}: {reason}");
        }
    }
    audit.tombstone().key("customer-1").send().await
}
// ANCHOR_END: send

#[tokio::main(flavor = "current_thread")]
async fn main() -> binder_core::Result<()> {
    // ANCHOR: application
    let app = Application::builder().build()?;
    let channels = app.bind::<Billing>().await?;
    app.process(channels.orders, channels.invoices, to_invoice.with_state(channels.audit)).await?;
    // ANCHOR_END: application

    let other = Application::builder().build()?;
    forward(&other, other.bind::<ProcessorBinding<Order, Order>>().await?).await?;
    let batches = Application::builder().build()?;
    let sink = batches.bind::<binder_core::channel::SinkBinding<Order>>().await?;
    batches.handle_batch(sink.input, store).await?;

    // ANCHOR: supplier
    let ticks = Application::builder().build()?;
    let source = ticks.bind::<SourceBinding<u64>>().await?;
    let mut count = 0;
    let tick = move || {
        count += 1;
        count
    };
    ticks.supply(source.output, every(Duration::from_secs(1), tick)).await?;
    // ANCHOR_END: supplier

    let _ = (pull, send);
    app.run_until(async {}).await
}
