//! What holds while brokers are away.

use std::time::Duration;

use binder_core::config::Config;
use binder_core::prelude::*;

use super::{seen_texts, unique, until, url};

#[derive(Debug, Binding)]
struct Channels {
    #[input("orders")]
    orders: Input<String>,
    #[output("invoices")]
    invoices: Output<String>,
}

/// Brokers go away while transactions are under way: those of an input, and those of a producer into that input.
/// Each time one answer may be lost.
pub(crate) async fn transactions_outlast(times: usize, outage: impl Future<Output = ()>) {
    const LEAST: usize = 400;
    let name = unique("transactions");
    let text = format!(
        "stream: {{
            default: {{ content-type: text/plain }},
            bindings: {{
                orders: {{ destination: {name}, group: {name}, consumer: {{
                    transactional: true, prefetch: 16, kafka: {{ configuration: {{ session.timeout.ms: 3000, heartbeat.interval.ms: 500 }} }}
                }} }},
                invoices: {{ destination: {name}-out, producer: {{ send-timeout: 120s }} }}
            }},
            binders: {{ kafka: {{ type: kafka, brokers: '{}' }} }}
        }}",
        url().expect("checked before")
    );
    let config = Config::builder().yaml(text).build().unwrap();
    let app = Application::builder().config(config).binder("kafka", binder_kafka::factory()).build().unwrap();
    let channels = app.bind::<Channels>().await.unwrap();
    let orders = channels.invoices.to(&name);
    async fn invoice(text: String) -> String {
        tokio::time::sleep(Duration::from_millis(5)).await;
        text
    }
    app.process(channels.orders, channels.invoices, invoice).await.unwrap();
    app.start().await.unwrap();
    app.ready(Duration::from_secs(30)).await.unwrap();
    let publish = async |number: &String| app.transaction(async |tx| Ok(tx.send(&orders, number).await?)).await;
    let (over, is_over) = tokio::sync::watch::channel(false);
    let sending = async {
        let (mut sent, mut unknown) = (Vec::new(), Vec::new());
        // the last must be one that is known, for it is waited for
        while sent.len() < LEAST || !*is_over.borrow() || unknown.last() == sent.last() {
            let number = sent.len().to_string();
            // the one answer that an outage may keep from us
            if let Err(error) = publish(&number).await {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
                unknown.push(number.clone());
            }
            sent.push(number);
        }
        (sent, unknown)
    };
    let outage = async {
        outage.await;
        over.send_replace(true);
    };
    let ((sent, unknown), ()) = tokio::join!(sending, outage);
    assert!(unknown.len() <= times, "{unknown:?}");
    let out = format!("{name}-out");
    let is_there = async || seen_texts(&out, "read_committed").await.contains(&sent[sent.len() - 1]);
    until("the last is handled", is_there).await;
    let orders = seen_texts(&name, "read_committed").await;
    assert_eq!(seen_texts(&out, "read_committed").await, orders, "each once, and in order");
    let known: Vec<_> = sent.iter().filter(|number| !unknown.contains(number)).cloned().collect();
    let published: Vec<_> = orders.into_iter().filter(|number| !unknown.contains(number)).collect();
    assert_eq!(published, known, "what was said to be published is, once");
    app.shutdown().await.unwrap();
}
