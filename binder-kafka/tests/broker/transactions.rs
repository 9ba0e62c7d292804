//! Transactions of producers.

use std::time::{Duration, Instant};

use binder_core::config::Config;
use binder_core::message::Message;
use binder_core::prelude::*;
use libtest_mimic::Trial;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::*;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("a_transaction_is_published_as_one", ready, a_transaction_is_published_as_one),
        case("what_failed_is_never_sent", ready, what_failed_is_never_sent),
        case("concurrent_callers_share_transactions", ready, concurrent_callers_share_transactions),
        case("a_refused_message_fails_its_caller_only", ready, a_refused_message_fails_its_caller_only),
        case("a_fenced_producer_is_made_anew", ready, a_fenced_producer_is_made_anew),
        case("a_group_over_aborted_records_has_no_lag", ready, || {
            let transactions = [(true, "a"), (false, "x"), (true, "b"), (false, "y"), (false, "z")];
            a_group_over_aborted_records_has_no_lag(
                transactions.map(|(committed, text)| (committed, vec![text])).to_vec(),
            )
        }),
        case("a_group_over_nothing_but_aborted_records_has_no_lag", ready, || {
            a_group_over_aborted_records_has_no_lag(vec![(false, vec!["x", "y"])])
        }),
        case("what_is_unsettled_is_not_passed_with_aborted_records", ready, || async {
            let topic = unique("gaps");
            producer(&binder(), &topic, 1).await;
            let transactions = [(true, "a"), (false, "x"), (false, "y"), (true, "b"), (false, "z")];
            raw_transactions(&topic, transactions.map(|(committed, text)| (committed, vec![text])).to_vec()).await;
            what_is_unsettled_is_not_passed_with_a_gap(&topic).await;
        }),
        case("what_is_unsettled_is_not_passed_with_compacted_records", ready, || async {
            let topic = unique("compacted");
            compacted(&topic).await;
            what_is_unsettled_is_not_passed_with_a_gap(&topic).await;
        }),
    ]
}

#[derive(Debug, Binding)]
pub(crate) struct Channels {
    #[output("invoices")]
    pub(crate) invoices: Output<String>,
    #[output("audit")]
    pub(crate) audit: Output<String>,
}

/// An application that publishes to `<name>` and `<name>-audit`, with transactional ids that begin with the name.
pub(crate) fn application(name: &str, producer: &str) -> Application {
    let broker = url().expect("checked before");
    let text = format!(
        "stream: {{
            bindings: {{
                invoices: {{ destination: {name}, content-type: text/plain, producer: {{ {producer} }} }},
                audit: {{ destination: {name}-audit, content-type: text/plain }}
            }},
            binders: {{ kafka: {{ type: kafka, brokers: '{broker}', transactional-id-prefix: {name} }} }}
        }}"
    );
    let config = Config::builder().yaml(&text).build().expect("the configuration is right");
    Application::builder().config(config).binder("kafka", binder_kafka::factory()).build().expect("it builds")
}

/// Returns the offset behind the last record of partition 0, markers of transactions included.
async fn end(topic: &str) -> i64 {
    let topic = topic.to_owned();
    let ask = move || reader("read_uncommitted").fetch_watermarks(&topic, 0, PATIENCE).unwrap().1;
    tokio::task::spawn_blocking(ask).await.unwrap()
}

async fn a_transaction_is_published_as_one() {
    let name = unique("one");
    let app = application(&name, "");
    let channels = app.bind::<Channels>().await.unwrap();
    app.transaction(async |tx| {
        tx.send(&channels.invoices, &"a".to_owned()).await?;
        tx.send_message(&channels.invoices, Message::new("b".to_owned()).with_key("k")).await?;
        tx.send(&channels.audit, &"c".to_owned()).await?;
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(committed_texts(&name, 2).await, ["a", "b"]);
    assert_eq!(seen(&name, "read_committed").await[1].0.as_deref(), Some(&b"k"[..]));
    assert_eq!(committed_texts(&format!("{name}-audit"), 1).await, ["c"]);
    assert_eq!((end(&name).await, end(&format!("{name}-audit")).await), (3, 2), "each with one marker");
    app.shutdown().await.unwrap();
}

async fn what_failed_is_never_sent() {
    let name = unique("failed");
    let app = application(&name, "");
    let channels = app.bind::<Channels>().await.unwrap();
    let failed = app.transaction(async |tx| {
        tx.send(&channels.invoices, &"a".to_owned()).await?;
        Err::<(), _>(HandlerError::permanent("no stock"))
    });
    failed.await.expect_err("it failed");
    app.transaction(async |tx| Ok(tx.send(&channels.invoices, &"b".to_owned()).await?)).await.unwrap();
    assert_eq!(seen_texts(&name, "read_uncommitted").await, ["b"]);
    app.shutdown().await.unwrap();
}

async fn concurrent_callers_share_transactions() {
    const CALLERS: usize = 200;
    let name = unique("share");
    let app = application(&name, "");
    let channels = app.bind::<Channels>().await.unwrap();
    let publish = |number: usize| {
        let (app, invoices) = (&app, &channels.invoices);
        app.transaction(async move |tx| {
            tx.send(invoices, &format!("{number} first")).await?;
            tx.send(invoices, &format!("{number} second")).await?;
            Ok(())
        })
    };
    publish(0).await.unwrap();
    let begun = Instant::now();
    let done = futures::future::join_all((1..=CALLERS).map(publish)).await;
    let took = begun.elapsed();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let both = |number| [format!("{number} first"), format!("{number} second")];
    let mut expected: Vec<_> = (0..=CALLERS).flat_map(both).collect();
    expected.sort();
    let mut texts = committed_texts(&name, expected.len()).await;
    texts.sort();
    assert_eq!(texts, expected);
    let markers = end(&name).await - 2 * (CALLERS as i64 + 1);
    assert!(markers <= 10, "{markers} transactions for {CALLERS} callers in {took:?}");
    app.shutdown().await.unwrap();
}

async fn a_refused_message_fails_its_caller_only() {
    let name = unique("refused");
    let app = application(&name, "kafka: { topic: { properties: { max.message.bytes: 4000 } } }");
    let channels = app.bind::<Channels>().await.unwrap();
    // so that the client is there and the callers meet in one transaction
    app.transaction(async |tx| Ok(tx.send(&channels.invoices, &"before".to_owned()).await?)).await.unwrap();
    let publish = |text: String| {
        let (app, invoices) = (&app, &channels.invoices);
        app.transaction(async move |tx| Ok(tx.send(invoices, &text).await?))
    };
    let texts = ["a".to_owned(), "b".to_owned(), "x".repeat(10_000), "c".to_owned()];
    let done = futures::future::join_all(texts.map(publish)).await;
    let kinds: Vec<_> = done.into_iter().map(|done| done.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, None, Some(ErrorKind::TooLarge), None]);
    let mut committed = committed_texts(&name, 4).await;
    committed.sort();
    assert_eq!(committed, ["a", "b", "before", "c"]);
    app.shutdown().await.unwrap();
}

/// Begins something, and waits until partition 0 has another record, committed or not. Blocks.
pub(crate) fn until_next_record<R>(topic: &str, begin: impl FnOnce() -> R) -> R {
    let client = reader("read_uncommitted");
    let mut list = TopicPartitionList::new();
    let (_, end) = client.fetch_watermarks(topic, 0, PATIENCE).unwrap();
    list.add_partition_offset(topic, 0, Offset::Offset(end)).unwrap();
    client.assign(&list).unwrap();
    let (begun, result) = (Instant::now(), begin());
    while begun.elapsed() < PATIENCE {
        match client.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => return result,
            Some(Err(KafkaError::PartitionEOF(_))) | None => {}
            Some(Err(cause)) => panic!("{cause}"),
        }
    }
    panic!("nothing comes to {topic}");
}

/// Returns the transactional ids with this beginning that the broker knows.
pub(crate) async fn transactional_ids(prefix: &str) -> Vec<String> {
    let prefix = prefix.to_owned();
    let read = move || {
        let client = reader("read_uncommitted");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("__transaction_state", 0, Offset::Beginning).unwrap();
        client.assign(&list).unwrap();
        let (begun, mut found) = (Instant::now(), Vec::new());
        while begun.elapsed() < PATIENCE {
            match client.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    // a version and a length of two bytes each, then the id
                    let id = message.key().and_then(|key| key.get(4..)).unwrap_or_default();
                    let id = String::from_utf8_lossy(id).into_owned();
                    if id.starts_with(&prefix) && !found.contains(&id) {
                        found.push(id);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return found,
                Some(Err(cause)) => panic!("{cause}"),
                None => {}
            }
        }
        panic!("the broker's transactions have no end");
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// Begins to use a transactional id: who had it before is fenced.
pub(crate) async fn fence(id: String) {
    let begin = move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", url().expect("checked before")).set("transactional.id", &id);
        let client: BaseProducer = config.create().unwrap();
        client.init_transactions(PATIENCE).unwrap();
    };
    tokio::task::spawn_blocking(begin).await.unwrap();
}

async fn a_fenced_producer_is_made_anew() {
    let name = unique("fenced");
    let app = application(&name, "");
    let channels = app.bind::<Channels>().await.unwrap();
    let publish = |text: &'static str| {
        let (app, invoices) = (&app, &channels.invoices);
        app.transaction(async move |tx| Ok(tx.send(invoices, &text.to_owned()).await?))
    };
    publish("before").await.unwrap();
    let ids = transactional_ids(&name).await;
    assert_eq!(ids.len(), 1, "{ids:?}");
    for text in ["first", "second"] {
        fence(ids[0].clone()).await;
        publish(text).await.unwrap();
    }
    assert_eq!(committed_texts(&name, 3).await, ["before", "first", "second"]);
    assert_eq!(transactional_ids(&name).await, ids, "it keeps its id");
    app.shutdown().await.unwrap();
}

/// Publishes texts with the bare client, each list in a transaction that is committed or aborted.
async fn raw_transactions(topic: &str, transactions: Vec<(bool, Vec<&'static str>)>) {
    let topic = topic.to_owned();
    let publish = move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", url().expect("checked before")).set("transactional.id", unique("raw"));
        let client: BaseProducer = config.create().unwrap();
        client.init_transactions(PATIENCE).unwrap();
        for (is_committed, texts) in transactions {
            client.begin_transaction().unwrap();
            for text in texts {
                client
                    .send(rdkafka::producer::BaseRecord::<(), str>::to(&topic).payload(text))
                    .map_err(|(cause, _)| cause)
                    .unwrap();
            }
            client.flush(PATIENCE).unwrap();
            if is_committed { client.commit_transaction(PATIENCE) } else { client.abort_transaction(PATIENCE) }
                .unwrap();
        }
    };
    tokio::task::spawn_blocking(publish).await.unwrap();
}

/// Aborted records are never received, and the group's position passes them and all markers, at the end too.
async fn a_group_over_aborted_records_has_no_lag(transactions: Vec<(bool, Vec<&'static str>)>) {
    let topic = unique("gaps");
    producer(&binder(), &topic, 1).await;
    let expected: Vec<_> =
        transactions.iter().filter(|(committed, _)| *committed).flat_map(|(_, texts)| texts.clone()).collect();
    raw_transactions(&topic, transactions).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(serde_json::json!({ "commit-interval": "300ms" }));
    let mut receiver = binder().bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, expected.len()).await;
    assert_eq!(payloads(&parcels), expected);
    let end = end(&topic).await;
    let unsettled = quiet(&mut receiver, Duration::from_millis(2500)).await;
    assert_eq!(unsettled.len(), 0);
    if let Some(last) = parcels.last() {
        assert!(committed(&topic, &topic, 0).await.is_none(), "nothing is passed that is not settled");
        settle(&mut receiver, last.token);
    }
    let passing = async {
        until("the end is passed", async || committed(&topic, &topic, 0).await == Some(end)).await;
        raw_transactions(&topic, vec![(false, vec!["late"])]).await;
        until("what comes later too", async || committed(&topic, &topic, 0).await == Some(end + 2)).await;
    };
    // one receive that is never dropped: it has to wake up by itself
    tokio::select! {
        step = step(&mut receiver) => panic!("nobody sends: {step:?}"),
        () = passing => {}
    }
    raw_transactions(&topic, vec![(true, vec!["more"])]).await;
    let parcels = receive(&mut receiver, 1).await;
    assert_eq!(payloads(&parcels), ["more"]);
    settle(&mut receiver, parcels[0].token);
    receiver.close().await.unwrap();
    assert!(committed(&topic, &topic, 0).await > Some(end + 2));
}

/// Fills a topic with `a`, several records that the broker removes, and `b`; returns when they are gone.
async fn compacted(topic: &str) {
    let mut binding = output(topic);
    let properties =
        serde_json::json!({ "cleanup.policy": "compact", "segment.ms": 100, "min.cleanable.dirty.ratio": 0.001 });
    binding.section = section(serde_json::json!({ "topic": { "properties": properties } }));
    let producer = binder().bind_producer(&binding).await.unwrap();
    for (key, value) in [("a", "a"), ("k", "1"), ("k", "2"), ("k", "3"), ("b", "b"), ("k", "4")] {
        send(&*producer, text(value, Some(key))).await.unwrap();
    }
    let gap =
        async || seen(topic, "read_committed").await.get(1).is_some_and(|(key, _, _)| key.as_deref() == Some(b"b"));
    until("the records are removed", async || {
        // a segment is looked at when the next one has begun
        send(&*producer, text("filler", Some("filler"))).await.unwrap();
        gap().await
    })
    .await;
}

/// `a` is settled, `b` behind the gap is not.
async fn what_is_unsettled_is_not_passed_with_a_gap(topic: &str) {
    let mut binding = input(topic, Some(topic));
    binding.section = section(serde_json::json!({ "commit-interval": "100ms" }));
    let mut receiver = binder().bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 2).await;
    assert_eq!(payloads(&parcels[..2]), ["a", "b"]);
    let [first, second] = [0, 1].map(|index: usize| i64::try_from(parcels[index].metadata.offset.unwrap()).unwrap());
    assert!(second > first + 2, "there is no gap between {first} and {second}");
    settle(&mut receiver, parcels[0].token);
    quiet(&mut receiver, Duration::from_millis(2500)).await;
    let position = committed(topic, topic, 0).await;
    assert!(
        position.is_some_and(|position| (first + 1..=second).contains(&position)),
        "{position:?}, {second} is open"
    );
    settle(&mut receiver, parcels[1].token);
    receiver.close().await.unwrap();
    assert!(committed(topic, topic, 0).await > Some(second));
    let mut next = consumer(&binder(), topic, Some(topic)).await;
    let left = quiet(&mut next, Duration::from_secs(2)).await;
    assert!(left.iter().all(|parcel| parcel.metadata.offset > Some(second as u64)), "{:?}", payloads(&left));
}
