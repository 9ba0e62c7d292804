//! Groups that are sent to another position.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use binder_core::binder::{Consumer, Parcel};
use binder_core::channel::ProcessorBinding;
use binder_core::prelude::*;
use binder_core::{SeekTo, binder::Outgoing};
use libtest_mimic::Trial;
use rdkafka::message::OwnedHeaders;
use serde_json::json;

use crate::handling::application;
use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("a_seek_goes_to_offsets_ends_and_times", ready, a_seek_goes_to_offsets_ends_and_times),
        case("a_seek_survives_a_restart", ready, a_seek_survives_a_restart),
        case("a_seek_is_committed_by_a_close", ready, a_seek_is_committed_by_a_close),
        case("a_seek_moves_one_partition", ready, a_seek_moves_one_partition),
        case("a_seek_leaves_what_comes_back_with_one_client", ready, || a_seek_leaves_what_comes_back("cooperative")),
        case("a_seek_leaves_what_comes_back_with_two_clients", ready, || a_seek_leaves_what_comes_back("consumer")),
        case("a_seek_is_a_new_assignment", ready, a_seek_is_a_new_assignment),
        case("a_static_member_finds_what_it_sought", ready, a_static_member_finds_what_it_sought),
        case("a_paused_consumer_seeks", ready, a_paused_consumer_seeks),
        case("a_seek_waits_for_the_first_partition", ready, a_seek_waits_for_the_first_partition),
        case("a_settlement_from_before_a_seek_is_ignored", ready, a_settlement_from_before_a_seek_is_ignored),
        case("seeks_in_a_row_end_at_the_last", ready, seeks_in_a_row_end_at_the_last),
        case("a_seek_under_load_begins_where_it_says_cooperative", ready, || {
            a_seek_under_load_begins_where_it_says("cooperative")
        }),
        case("a_seek_under_load_begins_where_it_says_eager", ready, || a_seek_under_load_begins_where_it_says("eager")),
        case("a_seek_under_load_begins_where_it_says_consumer", ready, || {
            a_seek_under_load_begins_where_it_says("consumer")
        }),
        case("an_application_handles_again_what_it_seeks", ready, an_application_handles_again_what_it_seeks),
    ]
}

async fn send_to(sender: &dyn binder_core::binder::Producer, partition: u32, name: &str) {
    send(sender, Outgoing { partition: Some(partition), ..text(name, None) }).await.unwrap();
}

/// A consumer that has received and settled ten messages.
async fn settled_ten(topic: &str) -> (Box<dyn Consumer>, Arc<dyn binder_core::binder::Producer>, Vec<Parcel>) {
    let binder = binder();
    let sender = producer(&binder, topic, 1).await;
    send_all(&*sender, numbered(10)).await;
    let mut receiver = consumer(&binder, topic, Some(topic)).await;
    let parcels = receive(&mut receiver, 10).await;
    settle(&mut receiver, parcels[9].token);
    (receiver, sender, parcels)
}

async fn a_seek_goes_to_offsets_ends_and_times() {
    let topic = unique("seek");
    let (mut receiver, sender, before) = settled_ten(&topic).await;
    let middle = before[9].metadata.timestamp.expect("a time") + Duration::from_millis(1);
    while std::time::SystemTime::now() < middle + Duration::from_millis(5) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    send_all(&*sender, ["new".to_owned()]).await;
    receive(&mut receiver, 1).await;
    for (to, expected, committed_at) in [
        (SeekTo::Beginning, "0", 0),
        (SeekTo::Offset(4), "4", 4),
        (SeekTo::Timestamp(middle), "new", 10),
        (SeekTo::Timestamp(std::time::UNIX_EPOCH), "0", 0),
    ] {
        let known = receiver.seek(None, to).expect("it seeks");
        let after = receive(&mut receiver, 1).await;
        assert_eq!(payloads(&after)[0], expected, "{to:?}");
        assert!(!known.contains(&after[0].token.lane), "a new lane");
        assert_eq!(committed(&topic, &topic, 0).await, Some(committed_at), "before the first delivery: {to:?}");
    }
    let late = std::time::SystemTime::now() + Duration::from_secs(3600);
    for (number, to) in [SeekTo::End, SeekTo::Timestamp(late), SeekTo::Offset(1_000_000)].into_iter().enumerate() {
        receiver.seek(None, to).expect("it seeks");
        assert_eq!(quiet(&mut receiver, Duration::from_secs(1)).await.len(), 0, "{to:?}");
        let name = format!("behind {number}");
        send_all(&*sender, [name.clone()]).await;
        assert_eq!(payloads(&receive(&mut receiver, 1).await), [name], "{to:?}");
    }
}

async fn a_seek_survives_a_restart() {
    let topic = unique("survives");
    let (mut receiver, _sender, _) = settled_ten(&topic).await;
    while committed(&topic, &topic, 0).await != Some(10) {
        quiet(&mut receiver, Duration::from_millis(100)).await;
    }
    receiver.seek(None, SeekTo::Offset(3)).expect("it seeks");
    receive(&mut receiver, 7).await;
    // longer than `commit-interval`: what was settled before is not committed again
    quiet(&mut receiver, Duration::from_millis(2500)).await;
    assert_eq!(committed(&topic, &topic, 0).await, Some(3));
    drop(receiver);
    let mut again = consumer(&binder(), &topic, Some(&topic)).await;
    let parcels = receive(&mut again, 7).await;
    assert_eq!(payloads(&parcels), numbered(10)[3..]);
    settle(&mut again, parcels[1].token);
    again.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(5));
}

async fn a_seek_is_committed_by_a_close() {
    let topic = unique("close");
    let (mut receiver, _sender, _) = settled_ten(&topic).await;
    receiver.seek(None, SeekTo::Offset(6)).expect("it seeks");
    receiver.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(6));
}

async fn a_seek_moves_one_partition() {
    let (binder, topic) = (binder(), unique("one"));
    let sender = producer(&binder, &topic, 2).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    for (partition, name) in [(0, "a"), (1, "b"), (1, "c")] {
        send_to(&*sender, partition, name).await;
    }
    let before = receive(&mut receiver, 3).await;
    let ended = receiver.seek(Some(1), SeekTo::Beginning).expect("it seeks");
    assert_eq!(ended.len(), 1);
    assert!(before.iter().all(|parcel| (parcel.metadata.partition == Some(1)) == ended.contains(&parcel.token.lane)));
    assert_eq!(payloads(&receive(&mut receiver, 2).await), ["b", "c"]);
    send_to(&*sender, 0, "d").await;
    let after = receive(&mut receiver, 1).await;
    assert_eq!(payloads(&after), ["d"], "the other partition went on");
    let error = receiver.seek(Some(7), SeekTo::End).expect_err("there is no such partition");
    assert_eq!(error.kind(), ErrorKind::Refused);
}

/// With the broker's own assignor a second client reads what comes back.
async fn a_seek_leaves_what_comes_back(kind: &'static str) {
    let (binder, topic) = (binder_of(kind), unique("back"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(3)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(membership(kind));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let back = format!("retry.{topic}.{topic}");
    raw_send(&back, vec![(None, OwnedHeaders::new(), b"back")]).await;
    let before = receive(&mut receiver, 4).await;
    let mut all = payloads(&before);
    all.sort();
    assert_eq!(all, ["0", "1", "2", "back"]);
    let returned = before.iter().find(|parcel| payloads(std::slice::from_ref(parcel)) == ["back"]).unwrap();
    let ended = receiver.seek(None, SeekTo::Offset(1)).expect("it seeks");
    assert!(!ended.contains(&returned.token.lane) && ended.len() == 1, "{ended:?}");
    settle(&mut receiver, returned.token);
    assert_eq!(payloads(&receive(&mut receiver, 2).await), ["1", "2"]);
    assert_eq!(quiet(&mut receiver, Duration::from_secs(1)).await.len(), 0);
    receiver.close().await.unwrap();
    let group = if kind == "consumer" { format!("{topic}.retry") } else { topic.clone() };
    assert_eq!(committed(&back, &group, 0).await, Some(1), "settled in spite of the seek");
    assert_eq!(committed(&topic, &topic, 0).await, Some(1));
}

async fn a_seek_is_a_new_assignment() {
    let (binder, topic) = (binder(), unique("told"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(1)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.tells_assignments = true;
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let Step::Assigned(first) = step(&mut receiver).await else { panic!("the assignment comes first") };
    receive(&mut receiver, 1).await;
    assert_eq!(receiver.seek(None, SeekTo::Beginning).expect("it seeks"), [first[0].lane]);
    let Step::Assigned(second) = step(&mut receiver).await else { panic!("the lane is another one") };
    assert!(second.len() == 1 && second[0].lane != first[0].lane && second[0].partition == Some(0), "{second:?}");
    let again = receive(&mut receiver, 1).await;
    assert_eq!(again[0].token.lane, second[0].lane);
}

async fn a_static_member_finds_what_it_sought() {
    let (binder, topic) = (binder(), unique("static"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(10)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(json!({ "group-instance-id": "one" }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 10).await;
    settle(&mut receiver, parcels[9].token);
    receiver.seek(None, SeekTo::Offset(4)).expect("it seeks");
    receiver.close().await.unwrap();
    let mut again = binder.bind_consumer(&binding).await.unwrap();
    assert_eq!(payloads(&receive(&mut again, 6).await), numbered(10)[4..]);
}

async fn a_paused_consumer_seeks() {
    let topic = unique("paused");
    let (mut receiver, ..) = settled_ten(&topic).await;
    receiver.pause().unwrap();
    receiver.seek(None, SeekTo::Offset(2)).expect("it seeks");
    assert_eq!(quiet(&mut receiver, Duration::from_millis(1500)).await.len(), 0);
    assert_eq!(committed(&topic, &topic, 0).await, Some(2));
    receiver.resume().unwrap();
    assert_eq!(payloads(&receive(&mut receiver, 8).await), numbered(10)[2..]);
}

async fn a_seek_waits_for_the_first_partition() {
    let topic = unique("first");
    let (receiver, ..) = settled_ten(&topic).await;
    receiver.close().await.unwrap();
    let mut again = consumer(&binder(), &topic, Some(&topic)).await;
    assert_eq!(again.seek(None, SeekTo::Offset(5)).expect("it is kept"), []);
    assert_eq!(payloads(&receive(&mut again, 5).await), numbered(10)[5..], "though nothing new was sent");
}

async fn a_settlement_from_before_a_seek_is_ignored() {
    let topic = unique("before");
    let (mut receiver, _sender, before) = settled_ten(&topic).await;
    receiver.seek(None, SeekTo::Beginning).expect("it seeks");
    settle(&mut receiver, before[9].token);
    receive(&mut receiver, 10).await;
    settle(&mut receiver, before[9].token);
    receiver.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(0));
}

async fn seeks_in_a_row_end_at_the_last() {
    let topic = unique("row");
    let (mut receiver, ..) = settled_ten(&topic).await;
    for offset in [9, 1, 8, 2, 7, 3] {
        receiver.seek(None, SeekTo::Offset(offset)).expect("it seeks");
        // lets the search begin, not end
        let _ = receiver.try_recv_many(100).expect("it is open");
    }
    assert_eq!(payloads(&receive(&mut receiver, 7).await), numbered(10)[3..]);
    assert_eq!(committed(&topic, &topic, 0).await, Some(3));
}

/// The client holds thousands of messages ahead of what was received: none of them may come after the seek.
async fn a_seek_under_load_begins_where_it_says(kind: &'static str) {
    const COUNT: usize = 20_000;
    let (binder, topic) = (binder_of(kind), unique("load"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(COUNT)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(membership(kind));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let mut position = 0;
    for round in 0..30 {
        let received = receive(&mut receiver, 500).await;
        assert_eq!(payloads(&received), numbered(position + received.len())[position..], "round {round}");
        settle(&mut receiver, received[received.len() - 1].token);
        position = (round * 7_919) % (COUNT - 1_000);
        receiver.seek(None, SeekTo::Offset(position as u64)).expect("it seeks");
        assert!(round % 3 > 0 || receiver.try_recv_many(100).expect("it is open").is_none(), "nothing from before");
    }
    receiver.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(position as i64));
}

#[derive(Clone, Default)]
struct Handled(Arc<Mutex<Vec<String>>>);

impl Handled {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    async fn until(&self, count: usize) -> Vec<String> {
        until("all are handled", async || self.0.lock().unwrap().len() >= count).await;
        self.take()
    }
}

async fn note(text: String, State(handled): State<Handled>) {
    handled.0.lock().unwrap().push(text);
}

async fn an_application_handles_again_what_it_seeks() {
    let (topic, handled) = (unique("app"), Handled::default());
    let app = application(&topic, "");
    let channels = app.bind::<ProcessorBinding<String, String>>().await.unwrap();
    app.handle(channels.input, note.with_state(handled.clone())).await.unwrap();
    let control = app.control("input").unwrap();
    // before there is a consumer: kept
    control.seek(SeekTo::Beginning).await.expect("it is kept");
    app.start().await.unwrap();
    app.ready(Duration::from_secs(30)).await.unwrap();
    let texts = numbered(5);
    for text in &texts {
        channels.output.send(text).await.unwrap();
    }
    assert_eq!(handled.until(5).await, texts);
    control.seek(SeekTo::Offset(3)).await.expect("it seeks");
    assert_eq!(handled.until(2).await, texts[3..]);
    control.pause();
    control.seek(SeekTo::Beginning).await.expect("it seeks while paused");
    control.resume();
    assert_eq!(handled.until(5).await, texts);
    control.seek_partition(0, SeekTo::End).await.expect("it seeks");
    let error = control.seek_partition(9, SeekTo::End).await.expect_err("there is no such partition");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
    app.shutdown().await.unwrap();
    assert_eq!(committed(&topic, "g", 0).await, Some(5));
}
