//! Dead letters.

use super::*;
use crate::binder::{DeadLetter, DeadLetterSink, DeadLetterStore, Disposal, Purpose, REDRIVE_COUNT};
use crate::message::HeaderValue;

fn sink(consumer: &dyn Consumer) -> Arc<dyn DeadLetterSink> {
    consumer.dead_letters().expect("a named group has dead letters")
}

fn broken() -> Error {
    Error::new(ErrorKind::Handler, "no stock").with_source(std::io::Error::other("disk"))
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_the_message_and_why_and_from_where() {
    let binder = MemoryBinder::new();
    producer(&binder, "orders", 3);
    let message = Message::new("{").with_key("k").with_header("tenant", "acme").with_partition(1);
    binder.publish("orders", message.with_content_type("text/x")).unwrap();
    let mut group = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *group);
    sink(&*group).send(DeadLetter::new(&parcels[0], &broken(), 3)).await.unwrap();
    let letters = binder.messages("error.orders.billing");
    let letter = &letters[0];
    assert_eq!((letters.len(), letter.payload().unwrap().as_ref(), letter.key_str()), (1, &b"{"[..], Some("k")));
    assert_eq!(letter.content_type().unwrap().as_str(), "text/x");
    assert_eq!((letter.partition(), binder.partitions("error.orders.billing")), (Some(1), 3));
    let names: Vec<&str> = letter.headers().iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "tenant",
            "x-original-topic",
            "x-original-partition",
            "x-original-offset",
            "x-original-timestamp",
            "x-exception-fqcn",
            "x-exception-message",
            "x-exception-stacktrace",
            "x-attempts"
        ]
    );
    let header = |name| letter.headers().get(name).unwrap();
    let sent = parcels[0].metadata.timestamp.unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(header("x-original-topic"), &HeaderValue::from("orders"));
    assert_eq!(header("x-original-partition"), &HeaderValue::I32(1));
    assert_eq!(header("x-original-offset"), &HeaderValue::I64(0));
    assert_eq!(header("x-original-timestamp"), &HeaderValue::I64(sent.as_millis() as i64));
    assert_eq!(header("x-exception-fqcn"), &HeaderValue::from("handler"));
    assert_eq!(header("x-exception-message"), &HeaderValue::from("no stock"));
    assert_eq!(header("x-exception-stacktrace"), &HeaderValue::from("handler: no stock\n  caused by: disk"));
}

#[tokio::test(start_paused = true)]
async fn each_destination_has_its_own_dead_letters() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "returns", 0, &["b"]);
    let mut both = binding("orders", Some("billing"));
    both.destinations.push("returns".to_owned());
    let mut group = bind(&binder, &both);
    for parcel in drain(&mut *group) {
        sink(&*group).send(DeadLetter::new(&parcel, &broken(), 1)).await.unwrap();
    }
    assert_eq!(payloads(&binder.messages("error.orders.billing")), [b"a"]);
    assert_eq!(payloads(&binder.messages("error.returns.billing")), [b"b"]);
}

#[test]
fn who_wants_none_or_is_anonymous_has_no_dead_letters() {
    let binder = MemoryBinder::new();
    assert!(bind(&binder, &binding("orders", None)).dead_letters().is_none());
    let mut off = binding("orders", Some("billing"));
    off.properties.dead_letters = Some(false);
    assert!(bind(&binder, &off).dead_letters().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_waits_for_room() {
    let binder = MemoryBinder::with_retention(1);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "error.orders.billing", 0, &["old"]);
    let mut reader = consumer(&binder, "error.orders.billing", "clerk");
    let parcel = drain(&mut *group).remove(0);
    let sink = sink(&*group);
    let waiting = tokio::spawn(async move { sink.send(DeadLetter::new(&parcel, &broken(), 1)).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let old = drain(&mut *reader);
    settle(&mut *reader, &old);
    soon(waiting).await.unwrap().unwrap();
    assert_eq!(texts(&drain(&mut *reader)), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_fails_when_the_binder_closes() {
    let binder = MemoryBinder::with_retention(1);
    let mut group = consumer(&binder, "orders", "billing");
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "error.orders.billing", 0, &["old"]);
    let _reader = consumer(&binder.connect(), "error.orders.billing", "clerk");
    let parcel = drain(&mut *group).remove(0);
    let sink = sink(&*group);
    let waiting = tokio::spawn(async move { kind(sink.send(DeadLetter::new(&parcel, &broken(), 1)).await) });
    tokio::task::yield_now().await;
    binder.close().await.unwrap();
    assert_eq!(soon(waiting).await.unwrap(), Some(ErrorKind::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_goes_back_to_all_lies_among_what_comes_new() {
    let binder = MemoryBinder::new();
    let mut group = consumer(&binder, "orders", "billing");
    let mut expected = Vec::new();
    for round in 0..3 {
        let texts = [format!("{round}-first"), format!("{round}-second"), format!("{round}-third")];
        publish(&binder, "orders", 0, &texts.each_ref().map(String::as_str));
        expected.extend(texts.iter().cloned());
        let parcels = drain(&mut *group);
        // the last is none, so that letters and segments do not go in step
        for parcel in &parcels[..2] {
            sink(&*group).send(DeadLetter::new(parcel, &broken(), 1)).await.unwrap();
        }
        settle(&mut *group, &parcels);
        // what is behind the letters in the log is not read yet, so its bytes are still being added to
        publish(&binder, "orders", 0, &["new"]);
        expected.push("new".to_owned());
        let store: &dyn DeadLetterStore = &binder;
        let all = Purpose::Resolve { all_groups: true };
        let mut pass = store.open(&binding("orders", Some("billing")), all).await.unwrap();
        let taken = pass.take(10).await.unwrap();
        assert_eq!(taken.len(), if round == 0 { 2 } else { 3 });
        // one stays each time, behind the others
        let mut disposals = vec![Disposal::Send; taken.len()];
        disposals[0] = Disposal::Keep;
        pass.resolve(&disposals).await.unwrap();
        expected
            .extend(taken[1..].iter().map(|letter| String::from_utf8_lossy(letter.payload.as_ref().unwrap()).into()));
        pass.close().await.unwrap();
        publish(&binder, "orders", 0, &["newer"]);
        expected.push("newer".to_owned());
        let parcels = drain(&mut *group);
        settle(&mut *group, &parcels);
    }
    let kept: Vec<String> = payloads(&binder.messages("orders"))
        .into_iter()
        .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        .collect();
    assert_eq!(kept, expected);
    let counts = binder.messages("orders");
    let counts: Vec<_> = counts.iter().filter_map(|message| message.headers().get(REDRIVE_COUNT)).collect();
    assert_eq!(counts.len(), expected.len() - 3 * 5);
}

/// The letters' destination is full when one of two is to stay: the call waits and is dropped.
#[tokio::test(start_paused = true)]
async fn a_resolution_that_is_dropped_loses_nothing_and_ends_its_pass() {
    let binder = MemoryBinder::with_retention(2);
    publish(&binder, "orders", 0, &["a", "b"]);
    let mut group = consumer(&binder, "orders", "billing");
    let parcels = drain(&mut *group);
    for parcel in &parcels {
        sink(&*group).send(DeadLetter::new(parcel, &broken(), 3)).await.unwrap();
    }
    settle(&mut *group, &parcels);
    let mut reader = consumer(&binder, "error.orders.billing", "reader");
    let of_group = binding("orders", Some("billing"));
    let open = || binder.open(&of_group, Purpose::Resolve { all_groups: false });
    let mut pass = open().await.unwrap();
    assert_eq!(pass.take(2).await.unwrap().len(), 2);
    let disposals = [Disposal::Discard, Disposal::Keep];
    let waited = tokio::time::timeout(std::time::Duration::from_secs(1), pass.resolve(&disposals)).await;
    assert!(waited.is_err(), "there is no room");
    assert_eq!(kind(pass.take(2).await), Some(ErrorKind::Unexpected));
    let error = soon(pass.resolve(&disposals)).await.expect_err("they are on their way");
    assert_eq!(
        error.to_string(),
        "an earlier call that resolved dead letters was dropped or failed; only another pass can"
    );
    pass.close().await.unwrap();

    let unread = drain(&mut *reader);
    settle(&mut *reader, &unread);
    let mut pass = open().await.unwrap();
    let letters = pass.take(2).await.unwrap();
    let told: Vec<_> = letters.iter().map(|letter| (letter.payload.as_deref().unwrap(), letter.reason())).collect();
    assert_eq!(told, [(&b"a"[..], Some("no stock".to_owned())), (b"b", Some("no stock".to_owned()))]);
    assert!(pass.resolve(&disposals).await.unwrap().iter().all(Option::is_none));
}
