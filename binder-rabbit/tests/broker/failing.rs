//! A broker that is away, a connection that is cut.

use std::sync::Arc;
use std::time::Duration;

use binder_core::ErrorKind;
use binder_core::binder::{Assignment, Binder, BinderHealth, Consumer, ProducerBinding, Received, Status};
use binder_core::config::ProducerProperties;
use binder_core::testkit::{Network, Proxy};
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::*;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_missing_broker_is_named_within_seconds,
        assignments_are_told_at_first_and_after_a_cut,
        an_unknown_host_is_named,
        a_wrong_password_is_named_and_not_printed,
        an_unknown_virtual_host_is_named,
        a_cut_connection_comes_back,
        sends_during_an_outage_complete_in_order,
        a_send_times_out_and_is_not_sent_later,
        a_producer_brings_its_deleted_exchange_back,
        a_channel_error_leaves_siblings_alone,
        a_closed_binder_ends_its_halves,
    ]
}

/// Stands between binder and broker.
pub(crate) async fn proxy(broker: &Broker) -> Proxy {
    Proxy::to(broker.address()).await.expect("a port")
}

fn connecting(health: &BinderHealth) -> bool {
    matches!(health, BinderHealth::Connecting(_))
}

/// Binds an output and an input at a place where it can't work, and returns what both say.
async fn refused(broker: &Broker) -> String {
    let binder = broker.binder();
    let begin = Instant::now();
    let input = binder.bind_consumer(&input("x", Some("g"))).await.expect_err("no broker");
    let output = binder.bind_producer(&ProducerBinding::new("x")).await.expect_err("no broker");
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    for error in [&input, &output] {
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert!(error.is_retryable());
    }
    assert_eq!(input.message(), output.message());
    let BinderHealth::Connecting(reason) = binder.health() else { panic!("up") };
    assert_eq!(reason, input.message());
    format!("{input:?} {output:?} {reason} {binder:?}")
}

async fn a_missing_broker_is_named_within_seconds(broker: Broker) {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound").to_string();
    let said = refused(&broker.with_address(&free)).await;
    assert!(said.contains(&free) && said.contains("refused"), "{said}");
}

async fn an_unknown_host_is_named(broker: Broker) {
    let said = refused(&broker.with_address("nowhere.invalid:5672")).await;
    assert!(said.contains("unknown host `nowhere.invalid`"), "{said}");
}

async fn a_wrong_password_is_named_and_not_printed(broker: Broker) {
    let url = format!("amqp://guest:s3cret-w0rd@{}/%2f", broker.address());
    let said = refused(&Broker { url }).await;
    assert!(said.contains("ACCESS_REFUSED") && said.contains("user `guest`"), "{said}");
    assert!(said.contains(&broker.address()), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

async fn an_unknown_virtual_host_is_named(broker: Broker) {
    let url = format!("amqp://guest:guest@{}/no-such-vhost", broker.address());
    let said = refused(&Broker { url }).await;
    assert!(said.contains("no-such-vhost") && said.contains("NOT_ALLOWED"), "{said}");
}

async fn assignments_are_told_at_first_and_after_a_cut(broker: Broker) {
    let proxy = proxy(&broker).await;
    let destination = name("told");
    let mut input = input(&destination, Some("g"));
    input.tells_assignments = true;
    let mut consumer = consumer_of(&broker.with_address(&proxy.address().to_string()).binder(), &input).await;
    let first = assigned(&mut *consumer).await;
    assert_eq!((&*first.destination, first.partition), (&*destination, None));
    proxy.set(Network::Cut);
    let lost = tokio::time::timeout(SOON, consumer.recv_many(10)).await.expect("soon").expect("received");
    assert!(matches!(&lost, Received::Lost(lanes) if *lanes == [first.lane]), "{lost:?}");
    drop(lost);
    proxy.set(Network::Clear);
    assert!(send_all(&*producer(&broker.binder(), &destination).await, &numbers(1)).await.iter().all(Result::is_ok));
    let second = assigned(&mut *consumer).await;
    assert_ne!(second.lane, first.lane);
    assert_eq!(receive(&mut *consumer, 1).await[0].token.lane, second.lane, "told before the first delivery");
}

/// Waits for the one assignment that comes next.
async fn assigned(consumer: &mut dyn Consumer) -> Assignment {
    match tokio::time::timeout(SOON, consumer.recv_many(10)).await.expect("soon").expect("received") {
        Received::Assigned(mut lanes) if lanes.len() == 1 => lanes.remove(0),
        other => panic!("{other:?}"),
    }
}

async fn a_cut_connection_comes_back(broker: Broker) {
    let proxy = proxy(&broker).await;
    let binder = broker.with_address(&proxy.address().to_string()).binder();
    let destination = name("cut");
    let input = input(&destination, Some("g"));
    let output = ProducerBinding::new(&*destination);
    let mut consumer = consumer_of(&binder, &input).await;
    let producer = producer_of(&binder, &output).await;
    assert_eq!((input.status.get(), binder.health()), (BinderHealth::Up, BinderHealth::Up));
    assert!(send_all(&*producer, &numbers(3)).await.iter().all(Result::is_ok));
    let before = receive(&mut *consumer, 3).await;
    settle(&mut *consumer, &before[0]);
    pump(&mut *consumer, WHILE).await;

    proxy.set(Network::Cut);
    let lost = tokio::time::timeout(SOON, consumer.recv_many(10)).await.expect("soon").expect("received");
    assert!(matches!(&lost, Received::Lost(lanes) if *lanes == [before[0].token.lane]), "{lost:?}");
    drop(lost);
    wait_status(&input.status, connecting).await;
    wait_status(&output.status, connecting).await;
    assert!(connecting(&binder.health()));
    assert!(pump(&mut *consumer, WHILE).await.is_empty());
    settle(&mut *consumer, &before[2]);

    proxy.set(Network::Clear);
    let again = receive(&mut *consumer, 2).await;
    assert_eq!(texts(&again), ["1", "2"], "settled after the cut is too late");
    assert_ne!(again[0].token.lane, before[0].token.lane);
    assert!(again.iter().all(|parcel| parcel.metadata.redelivered == 1));
    wait_status(&input.status, |health| *health == BinderHealth::Up).await;
    wait_status(&output.status, |health| *health == BinderHealth::Up).await;
    assert_eq!(binder.health(), BinderHealth::Up);
    let raw = broker.raw().await;
    raw.wait_for(&format!("{destination}.g"), |seen| seen.is_some_and(|(_, consumers)| consumers == 1)).await;
}

async fn sends_during_an_outage_complete_in_order(broker: Broker) {
    let proxy = proxy(&broker).await;
    let binder = broker.with_address(&proxy.address().to_string()).binder();
    let destination = name("outage");
    let mut consumer = consumer(&broker.binder(), &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    let sent = numbers(2000);
    let sending = {
        let (sent, producer) = (sent.clone(), Arc::clone(&producer));
        tokio::spawn(async move { send_in_order(&*producer, &sent).await })
    };
    let mut received = Vec::new();
    for round in 0..4 {
        proxy.set(Network::Cut);
        tokio::time::sleep(Duration::from_millis(30)).await;
        proxy.set(Network::Clear);
        received.extend(receive(&mut *consumer, 10 + round).await);
        settle(&mut *consumer, &received[received.len() - 1]);
    }
    let answers = sending.await.expect("sent");
    assert!(answers.iter().all(Result::is_ok), "{:?}", answers.iter().find(|answer| answer.is_err()));
    while text(&received[received.len() - 1]) != "1999" {
        received.extend(receive(&mut *consumer, 1).await);
        settle(&mut *consumer, &received[received.len() - 1]);
    }
    received.extend(pump(&mut *consumer, WHILE).await);
    let texts = texts(&received);
    assert_eq!(count(&texts).len(), 2000, "nothing is lost");
    let mut first = Vec::new();
    for text in texts {
        let number: usize = text.parse().expect("a number");
        if number >= first.len() {
            assert_eq!(number, first.len(), "the first of each come in order");
            first.push(number);
        }
    }
}

async fn a_send_times_out_and_is_not_sent_later(broker: Broker) {
    let proxy = proxy(&broker).await;
    let binder = broker.with_address(&proxy.address().to_string()).binder();
    let destination = name("timeout");
    let mut consumer = consumer(&broker.binder(), &destination, Some("g")).await;
    let mut binding = ProducerBinding::new(&*destination);
    binding.properties = ProducerProperties::default().send_timeout(Duration::from_millis(400)).window(5_u32);
    let producer = producer_of(&binder, &binding).await;
    proxy.set(Network::Cut);
    wait_status(&binding.status, connecting).await;
    let begin = Instant::now();
    let late: Vec<String> = (0..5).map(|number| format!("late {number}")).collect();
    for answer in send_all(&*producer, &late).await {
        let error = answer.expect_err("too late");
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.is_retryable());
    }
    assert!(begin.elapsed() >= Duration::from_millis(390) && begin.elapsed() < Duration::from_secs(3));
    proxy.set(Network::Clear);
    wait_status(&binding.status, |health| *health == BinderHealth::Up).await;
    send(&*producer, "in time").await.expect("sent");
    assert_eq!(texts(&receive(&mut *consumer, 1).await), ["in time"]);
}

async fn a_producer_brings_its_deleted_exchange_back(broker: Broker) {
    let binder = broker.binder();
    let destination = name("no-exchange");
    let mut binding = ProducerBinding::new(&*destination);
    binding.properties = ProducerProperties::default().required_groups(vec!["g".to_owned()]);
    let producer = producer_of(&binder, &binding).await;
    send(&*producer, "before").await.expect("sent");
    let raw = broker.raw().await;
    raw.channel.exchange_delete(destination.as_str().into(), Default::default()).await.expect("deleted");
    raw.channel.queue_delete(format!("{destination}.g").into(), QueueDeleteOptions::default()).await.expect("deleted");
    send(&*producer, "after").await.expect("declared again and sent");
    assert_eq!(raw.get(&format!("{destination}.g")).await.data, b"after");
}

async fn a_channel_error_leaves_siblings_alone(broker: Broker) {
    let binder = broker.binder();
    let (one, other) = (name("one"), name("other"));
    let mut sibling = consumer(&binder, &one, Some("g")).await;
    let mut hit = consumer(&binder, &other, Some("g")).await;
    let raw = broker.raw().await;
    raw.channel.queue_delete(format!("{other}.g").into(), QueueDeleteOptions::default()).await.expect("deleted");
    let mut broken = input(&one, Some("g"));
    broken.properties = broken.properties.dead_letters(false);
    binder.bind_consumer(&broken).await.expect_err("a refused declaration closes a channel");
    let lost = tokio::time::timeout(SOON, hit.recv_many(10)).await.expect("soon").expect("received");
    assert!(matches!(lost, Received::Lost(_)));
    drop(lost);
    let options = BasicPublishOptions::default();
    let published = raw.channel.basic_publish(one.as_str().into(), "k".into(), options, b"x", Default::default()).await;
    published.expect("published").await.expect("sent");
    let received = tokio::time::timeout(SOON, sibling.recv_many(1)).await.expect("soon").expect("received");
    assert!(matches!(received, Received::Batch(_)), "{received:?}");
}

async fn a_closed_binder_ends_its_halves(broker: Broker) {
    let binder = broker.binder_with(json!({ "connection-name": "closing" }));
    let destination = name("closed");
    let mut consumer = consumer(&binder, &destination, Some("g")).await;
    let producer = producer(&binder, &destination).await;
    send(&*producer, "x").await.expect("sent");
    binder.close().await.expect("closed");
    let ended = async {
        loop {
            if let Err(error) = consumer.recv_many(1).await {
                return error.kind();
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, ended).await.expect("soon"), ErrorKind::Closed);
    let error = send(&*producer, "y").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    producer.close().await.expect("closed");
    let error = binder.bind_producer(&ProducerBinding::new("x")).await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    let _: Option<Status> = None;
}
