//! Dead letters that are sent back, failed messages that wait on the broker.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use binder_core::binder::{BinderContext, BinderFactory, ConsumerBinding, SharedBinder};
use binder_core::channel::SinkBinding;
use binder_core::config::{Config, Ordering, Provision, RetryMode};
use binder_core::dead_letters::DeadLetterEntry;
use binder_core::message::HeaderValue;
use binder_core::prelude::*;
use binder_core::{Error, ErrorKind};
use libtest_mimic::Trial;

use crate::support::{header, *};

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("dead_letters_are_listed_and_stay", ready, dead_letters_are_listed_and_stay),
        case(
            "a_redrive_goes_to_the_failed_group_while_it_runs",
            ready,
            a_redrive_goes_to_the_failed_group_while_it_runs,
        ),
        case("a_filter_leaves_the_others_in_order", ready, a_filter_leaves_the_others_in_order),
        case("a_message_that_keeps_failing_stays_at_last", ready, a_message_that_keeps_failing_stays_at_last),
        case("a_letter_whose_origin_is_gone_stays", ready, a_letter_whose_origin_is_gone_stays),
        case("a_dropped_redrive_sends_the_rest_the_next_time", ready, a_dropped_redrive_sends_the_rest_the_next_time),
        case("a_group_of_another_library_is_reached_with_all_groups", ready, all_groups),
        case("the_redrive_topic_is_checked_or_left_alone", ready, the_redrive_topic_is_checked_or_left_alone),
        case(
            "delayed_attempts_are_counted_and_wait_their_time",
            ready,
            delayed_attempts_are_counted_and_wait_their_time,
        ),
        case("what_waits_outlives_its_consumer", ready, what_waits_outlives_its_consumer),
        case(
            "a_delayed_message_that_is_not_settled_comes_twice",
            ready,
            a_delayed_message_that_is_not_settled_comes_twice,
        ),
        case(
            "many_wait_in_order_and_none_is_lost_over_a_pause",
            ready,
            many_wait_in_order_and_none_is_lost_over_a_pause,
        ),
        case("the_ladder_is_created_and_checked", ready, the_ladder_is_created_and_checked),
    ]
}

/// What a handler saw: payload, attempt, and when.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<(String, u32, Instant)>>>);

impl Seen {
    fn all(&self) -> Vec<(String, u32)> {
        self.0.lock().unwrap().iter().map(|(text, attempt, _)| (text.clone(), *attempt)).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<(String, u32)> {
        until("what the handler sees", || async { self.all().len() >= count }).await;
        self.all()
    }
}

/// Fails for ever with `f…`, once with `o…`, and not at all with the rest.
async fn handle(text: String, State(seen): State<Seen>, delivery: Delivery) -> Result<(), HandlerError> {
    seen.0.lock().unwrap().push((text.clone(), delivery.attempt, Instant::now()));
    assert!(!delivery.destination.starts_with("retry."), "{delivery:?}");
    if text.starts_with('f') || text.starts_with('o') && delivery.attempt == 1 {
        return Err(HandlerError::transient("not yet"));
    }
    Ok(())
}

/// Hands the binder of the cases to an application.
struct Made;

impl BinderFactory for Made {
    fn create(&self, _: &BinderContext) -> Result<SharedBinder, Error> {
        Ok(binder())
    }
}

async fn application(topic: &str, consumer: &str) -> (Application, SinkBinding<String>) {
    let text = format!(
        "stream: {{ bindings: {{ input: {{ destination: {topic}, group: g, content-type: text/plain, \
         consumer: {{ {consumer} }} }} }}, binders: {{ kafka: {{ type: kafka }} }} }}"
    );
    let config = Config::builder().yaml(text).build().expect("valid");
    let app = Application::builder().config(config).binder("kafka", Made).build().expect("it builds");
    let channels = app.bind::<SinkBinding<String>>().await.expect("it binds");
    (app, channels)
}

async fn run(topic: &str, consumer: &str) -> (Application, Seen) {
    let seen = Seen::default();
    let (app, channels) = application(topic, consumer).await;
    app.handle(channels.input, handle.with_state(seen.clone())).await.expect("handled");
    app.start().await.expect("it starts");
    app.ready(Duration::from_secs(30)).await.expect("ready");
    (app, seen)
}

async fn send_texts(topic: &str, texts: &[String]) {
    let producer = producer(&binder(), topic, 1).await;
    let headers = Headers::new().with("tenant", "acme");
    for text in texts {
        let mut message = crate::support::text(text, Some("k"));
        message.headers = &headers;
        send(&*producer, message).await.expect("sent");
    }
}

/// Leaves so many texts in the dead letters.
async fn dead(topic: &str, count: usize) -> Vec<String> {
    let texts: Vec<_> = (0..count).map(|number| format!("f{number}")).collect();
    send_texts(topic, &texts).await;
    let (app, _) = run(topic, "max-attempts: 1").await;
    let letters = app.dead_letters("input").expect("it has some");
    until("dead letters", || async { letters.count().await.expect("counted") == count }).await;
    app.shutdown().await.expect("a clean end");
    texts
}

fn text_of(letter: &DeadLetterEntry) -> String {
    String::from_utf8_lossy(letter.payload.as_deref().unwrap_or_default()).into_owned()
}

async fn left(app: &Application) -> Vec<String> {
    let letters = app.dead_letters("input").expect("it has some").list(1000).await.expect("listed");
    letters.iter().map(text_of).collect()
}

async fn dead_letters_are_listed_and_stay() {
    let topic = unique("listed");
    dead(&topic, 2).await;
    let (app, _) = application(&topic, "").await;
    assert_eq!((left(&app).await, left(&app).await.len()), (vec!["f0".to_owned(), "f1".to_owned()], 2));
    let letter = app.dead_letters("input").expect("on").list(1).await.expect("listed").remove(0);
    assert_eq!((letter.destination(), letter.group()), (topic.as_str(), "g"));
    assert_eq!((letter.partition, letter.offset, letter.attempts, letter.redriven), (Some(0), Some(0), Some(1), 0));
    assert_eq!(letter.reason().as_deref(), Some("the handler failed: not yet"));
    let headers = letter.headers();
    let headers: Vec<_> = headers.iter().collect();
    assert_eq!(headers, [("tenant", &HeaderValue::from("acme"))]);
    assert!(letter.key.as_deref() == Some(b"k") && letter.timestamp.is_some());
    let (none, _) = application(&unique("none"), "").await;
    assert_eq!(none.dead_letters("input").expect("on").count().await.expect("counted"), 0);
}

async fn a_redrive_goes_to_the_failed_group_while_it_runs() {
    let topic = unique("redriven");
    let mut other = consumer(&binder(), &topic, Some("other")).await;
    dead(&topic, 2).await;
    receive(&mut other, 2).await;
    let (app, seen) = run(&topic, "max-attempts: 2, backoff: { initial: 10ms }").await;
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent");
    assert_eq!((report.sent, report.kept, report.refused.len()), (2, 0, 0));
    let all = seen.wait_for(4).await;
    assert_eq!(all.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 1, 2]);
    let letters = app.dead_letters("input").expect("it has some");
    until("dead again", || async { letters.count().await.expect("counted") == 2 }).await;
    let again = letters.list(9).await.expect("listed");
    let said: Vec<_> = again.iter().map(|letter| (letter.offset, letter.redriven, letter.headers().len())).collect();
    assert_eq!(said, [(Some(0), 1, 2), (Some(1), 1, 2)], "it still says where it came from");
    assert!(again[0].headers().get("x-retry-origin").is_none());
    assert!(quiet(&mut other, Duration::from_millis(500)).await.is_empty(), "the other group saw each once");
    app.shutdown().await.expect("a clean end");
}

async fn a_filter_leaves_the_others_in_order() {
    let topic = unique("filtered");
    let texts = dead(&topic, 120).await;
    let (app, _) = application(&topic, "").await;
    let letters = app.dead_letters("input").expect("it has some");
    let report = letters.redrive().only(|letter| text_of(letter).ends_with('7')).run().await.expect("sent");
    assert_eq!((report.sent, report.kept), (12, 108));
    let kept: Vec<_> = texts.iter().filter(|text| !text.ends_with('7')).cloned().collect();
    assert_eq!(left(&app).await, kept);
    let report = letters.discard(|letter| letter.offset != Some(5)).await.expect("deleted");
    assert_eq!((report.discarded, report.kept), (107, 1));
    assert_eq!(left(&app).await, ["f5"]);
}

async fn a_message_that_keeps_failing_stays_at_last() {
    let topic = unique("loop");
    dead(&topic, 1).await;
    let (app, seen) = run(&topic, "max-attempts: 1").await;
    let letters = app.dead_letters("input").expect("it has some");
    for round in 1..=3 {
        assert_eq!(letters.redrive().run().await.expect("sent").sent, 1);
        seen.wait_for(round).await;
        until("dead again", || async { letters.count().await.expect("counted") == 1 }).await;
    }
    let report = letters.redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len(), report.refused[0].letter.redriven), (0, 1, 3));
    assert_eq!(left(&app).await, ["f0"]);
    app.shutdown().await.expect("a clean end");
}

async fn a_letter_whose_origin_is_gone_stays() {
    let topic = unique("gone");
    dead(&topic, 2).await;
    delete(&format!("retry.{topic}.g")).await;
    until("no topic", || async { partitions(&format!("retry.{topic}.g")).await.is_none() }).await;
    let (app, _) = application(&topic, "").await;
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("refused");
    assert_eq!((report.sent, report.refused.len()), (0, 2));
    assert_eq!(report.refused[0].reason.kind(), ErrorKind::Unroutable, "{:?}", report.refused);
    assert_eq!(left(&app).await, ["f0", "f1"]);
}

async fn a_dropped_redrive_sends_the_rest_the_next_time() {
    let topic = unique("halfway");
    let texts = dead(&topic, 350).await;
    let (app, _) = application(&topic, "").await;
    let back = format!("retry.{topic}.g");
    // the first hundred are sent when the second are looked at
    let letters = app.dead_letters("input").expect("it has some").batch_size(100);
    let second = Arc::new(tokio::sync::Notify::new());
    let looked_at = Arc::clone(&second);
    let tell = move |letter: &DeadLetterEntry| {
        if letter.offset == Some(150) {
            looked_at.notify_one();
        }
        true
    };
    tokio::select! {
        biased;
        report = letters.redrive().only(tell).run() => panic!("its end: {report:?}"),
        () = second.notified() => {}
    }
    let report = app.dead_letters("input").expect("it has some").redrive().run().await.expect("sent");
    assert!([150, 250].contains(&report.sent) && report.refused.is_empty(), "{}", report.sent);
    assert!(left(&app).await.is_empty());
    let mut reader = consumer(&binder(), &back, Some("reader")).await;
    let mut received = BTreeSet::new();
    while received.len() < texts.len() {
        received.extend(payloads(&receive(&mut reader, 1).await));
    }
    assert_eq!(received, texts.into_iter().collect());
}

async fn all_groups() {
    let topic = unique("all");
    let letters = format!("error.{topic}.g");
    producer(&binder(), &topic, 1).await;
    producer(&binder(), &letters, 1).await;
    let headers = rdkafka::message::OwnedHeaders::new();
    raw_send(&letters, vec![(Some(0), headers, b"a")]).await;
    let (app, _) = application(&topic, "").await;
    let dead = app.dead_letters("input").expect("it has some");
    let report = dead.redrive().run().await.expect("refused");
    assert!(report.refused[0].reason.to_string().contains("all_groups"), "{:?}", report.refused);
    assert_eq!(dead.redrive().all_groups().run().await.expect("sent").sent, 1);
    let sent = raw_read(&topic, 0, 1).await;
    assert_eq!(header(&sent[0], "x-redrive-count"), [Some(b"1".to_vec())]);
}

async fn the_redrive_topic_is_checked_or_left_alone() {
    let (topic, binder) = (unique("provision"), binder());
    producer(&binder, &topic, 1).await;
    producer(&binder, &format!("error.{topic}.g"), 1).await;
    let mut binding = input(&topic, Some("g"));
    binding.provision = Provision::None;
    let reader = binder.bind_consumer(&binding).await.expect("nothing is asked for");
    reader.close().await.expect("closed");
    assert_eq!(partitions(&format!("retry.{topic}.g")).await, None, "nothing is created");
    binding.provision = Provision::Check;
    let error = binder.bind_consumer(&binding).await.expect_err("it is missing");
    assert!(!error.is_retryable() && error.to_string().contains(&format!("retry.{topic}.g")), "{error}");
    binding.provision = Provision::Create;
    binder.bind_consumer(&binding).await.expect("created").close().await.expect("closed");
    binding.provision = Provision::Check;
    binder.bind_consumer(&binding).await.expect("it is there").close().await.expect("closed");
}

const DELAYED: &str =
    "retry: delayed, ordering: none, concurrency: 4, max-attempts: 3, backoff: { initial: 300ms, multiplier: 2 }";

async fn delayed_attempts_are_counted_and_wait_their_time() {
    let topic = unique("delayed");
    let mut other = consumer(&binder(), &topic, Some("other")).await;
    let (app, seen) = run(&topic, DELAYED).await;
    send_texts(&topic, &["f".to_owned(), "once".to_owned()]).await;
    let letters = app.dead_letters("input").expect("it has some");
    until("the dead letter", || async { letters.count().await.expect("counted") == 1 }).await;
    let of = |wanted: &str| {
        let seen = seen.0.lock().unwrap();
        let of = seen.iter().filter(|(text, ..)| text == wanted).map(|(_, attempt, when)| (*attempt, *when));
        of.unzip::<_, _, Vec<_>, Vec<_>>()
    };
    assert_eq!((of("f").0, of("once").0), (vec![1, 2, 3], vec![1, 2]));
    let waits: Vec<_> = of("f").1.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert!(waits[0] >= 300 && waits[1] >= 600, "{waits:?}");
    let letter = &letters.list(9).await.expect("listed")[0];
    assert_eq!((letter.attempts, letter.partition, letter.offset), (Some(3), Some(0), Some(0)));
    let written = raw_read(&format!("error.{topic}.g"), 0, 1).await;
    for ours in ["x-retry-attempt", "x-retry-origin"] {
        assert!(header(&written[0], ours).is_empty(), "{ours}");
    }
    assert_eq!(header(&written[0], "x-original-topic"), [Some(topic.clone().into_bytes())]);
    receive(&mut other, 2).await;
    assert!(quiet(&mut other, Duration::from_millis(500)).await.is_empty(), "the other group saw each once");
    app.shutdown().await.expect("a clean end");
}

async fn what_waits_outlives_its_consumer() {
    let topic = unique("outlives");
    let (app, seen) = run(&topic, DELAYED).await;
    send_texts(&topic, &["once1".to_owned(), "once2".to_owned(), "a".to_owned()]).await;
    seen.wait_for(3).await;
    until("what is settled", || async { committed(&topic, "g", 0).await == Some(3) }).await;
    app.abort();
    let (app, again) = run(&topic, DELAYED).await;
    let seen_again = |all: Vec<(String, u32)>| {
        all.into_iter().chain(seen.all()).filter(|(_, attempt)| *attempt == 2).collect::<BTreeSet<_>>()
    };
    until("both", || async { seen_again(again.all()).len() == 2 }).await;
    app.shutdown().await.expect("a clean end");
}

/// A binding that waits on the broker, for the bare contract.
fn waiting(topic: &str) -> ConsumerBinding {
    let mut binding = input(topic, Some("g"));
    (binding.properties.retry, binding.properties.ordering) = (RetryMode::Delayed, Ordering::None);
    binding.properties.backoff = binding.properties.backoff.initial(Duration::from_millis(500));
    binding.properties.max_attempts = 2;
    binding
}

async fn a_delayed_message_that_is_not_settled_comes_twice() {
    let (topic, binder) = (unique("twice"), binder());
    let binding = waiting(&topic);
    let mut first = binder.bind_consumer(&binding).await.expect("bound");
    send_texts(&topic, &["a".to_owned()]).await;
    let parcel = receive(&mut first, 1).await.remove(0);
    let sink = binder.delay().expect("it has one").sink(&binding).expect("a sink");
    sink.send(&parcel, 2, Duration::from_millis(500)).await.expect("taken");
    drop(first);
    let mut second = binder.bind_consumer(&binding).await.expect("bound");
    let received = receive(&mut second, 2).await;
    assert_eq!(payloads(&received), ["a", "a"]);
    for parcel in &received {
        assert_eq!((&*parcel.metadata.destination, parcel.metadata.offset), (topic.as_str(), Some(0)));
        assert_eq!(parcel.headers.iter().collect::<Vec<_>>(), [("tenant", &HeaderValue::from("acme"))]);
    }
}

async fn many_wait_in_order_and_none_is_lost_over_a_pause() {
    let (topic, binder) = (unique("many"), binder());
    let binding = waiting(&topic);
    let mut reader = binder.bind_consumer(&binding).await.expect("bound");
    let texts = numbered(300);
    send_texts(&topic, &texts).await;
    let parcels = receive(&mut reader, 300).await;
    let sink = binder.delay().expect("it has one").sink(&binding).expect("a sink");
    for parcel in &parcels {
        sink.send(parcel, 2, Duration::from_millis(500)).await.expect("taken");
    }
    settle(&mut reader, parcels[299].token);
    reader.pause().expect("paused");
    assert!(quiet(&mut reader, Duration::from_millis(300)).await.len() < 300);
    reader.resume().expect("resumed");
    let mut received = Vec::new();
    while received.last() != texts.last() {
        let step = receive(&mut reader, 1).await;
        received.extend(payloads(&step));
        settle(&mut reader, step[step.len() - 1].token);
    }
    assert_eq!(received, texts);
    reader.close().await.expect("closed");
    assert_eq!(committed(&format!("retry.{topic}.g.500"), "g.retry", 0).await, Some(300));
}

async fn the_ladder_is_created_and_checked() {
    let (topic, binder) = (unique("ladder"), binder());
    binder.bind_consumer(&input(&topic, Some("g"))).await.expect("bound").close().await.expect("closed");
    let mut binding = waiting(&topic);
    binding.provision = Provision::Check;
    let error = binder.bind_consumer(&binding).await.expect_err("not there");
    assert!(!error.is_retryable() && error.to_string().contains(&format!("retry.{topic}.g.500")), "{error}");
    binding.provision = Provision::Create;
    binder.bind_consumer(&binding).await.expect("created").close().await.expect("closed");
    binding.provision = Provision::Check;
    binder.bind_consumer(&binding).await.expect("it is there").close().await.expect("closed");
}
