//! Groups, positions, pauses.

use std::time::Duration;

use binder_core::binder::BinderHealth;
use binder_core::config::Start;
use libtest_mimic::Trial;
use serde_json::json;

use crate::support::*;

pub(crate) fn cases(ready: bool) -> Vec<Trial> {
    vec![
        case("a_named_group_resumes_behind_what_is_settled", ready, a_named_group_resumes_behind_what_is_settled),
        case("what_is_unsettled_comes_again_after_a_drop", ready, what_is_unsettled_comes_again_after_a_drop),
        case("what_is_settled_is_committed_while_running", ready, what_is_settled_is_committed_while_running),
        case("settling_alone_commits_nothing", ready, settling_alone_commits_nothing),
        case("a_count_commits_before_the_interval", ready, a_count_commits_before_the_interval),
        case(
            "an_anonymous_group_gets_what_comes_after_its_bind",
            ready,
            an_anonymous_group_gets_what_comes_after_its_bind,
        ),
        case("start_turns_the_defaults_round", ready, start_turns_the_defaults_round),
        case("settling_what_never_came_commits_no_further", ready, settling_what_never_came_commits_no_further),
        case("a_pause_keeps_the_membership", ready, a_pause_keeps_the_membership),
        case("a_pause_repeats_nothing", ready, a_pause_repeats_nothing),
        case("one_input_reads_several_topics", ready, one_input_reads_several_topics),
        case("a_topic_that_begins_anew_is_another_lane", ready, a_topic_that_begins_anew_is_another_lane),
        case("assignments_are_told_before_deliveries", ready, assignments_are_told_before_deliveries),
        case("a_dropped_wait_loses_nothing", ready, a_dropped_wait_loses_nothing),
    ]
}

async fn assignments_are_told_before_deliveries() {
    let (binder, topic) = (binder(), unique("told"));
    send_all(&*producer(&binder, &topic, 2).await, numbered(10)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.tells_assignments = true;
    let mut consumer = binder.bind_consumer(&binding).await.unwrap();
    let Step::Assigned(mut told) = step(&mut consumer).await else { panic!("nothing is assigned yet") };
    told.sort_by_key(|one| one.partition);
    assert_eq!(
        told.iter().map(|one| (&*one.destination, one.partition)).collect::<Vec<_>>(),
        [(&*topic, Some(0)), (&*topic, Some(1))]
    );
    let parcels = receive(&mut consumer, 10).await;
    assert!(parcels.iter().all(|parcel| told.iter().any(|one| one.lane == parcel.token.lane)));
}

async fn a_named_group_resumes_behind_what_is_settled() {
    let (binder, topic) = (binder(), unique("resume"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(10)).await;
    let mut first = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut first, 10).await;
    assert_eq!(payloads(&parcels), numbered(10), "from the earliest");
    settle(&mut first, parcels[3].token);
    settle(&mut first, parcels[1].token);
    first.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(4));
    let mut second = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut second, 6).await;
    assert_eq!(payloads(&parcels), numbered(10)[4..]);
    settle(&mut second, parcels[5].token);
    second.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(10));
}

async fn what_is_unsettled_comes_again_after_a_drop() {
    let (binder, topic) = (binder(), unique("drop"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(5)).await;
    let mut first = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut first, 5).await;
    settle(&mut first, parcels[1].token);
    drop(first);
    let mut second = consumer(&binder, &topic, Some(&topic)).await;
    assert_eq!(payloads(&receive(&mut second, 3).await), ["2", "3", "4"]);
}

async fn what_is_settled_is_committed_while_running() {
    let (binder, topic) = (binder(), unique("interval"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(5)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(json!({ "commit-interval": "100ms" }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 5).await;
    assert!(receiver.try_recv_many(1).unwrap().is_none());
    assert_eq!(committed(&topic, &topic, 0).await, None, "nothing is settled");
    settle(&mut receiver, parcels[2].token);
    assert!(receiver.try_recv_many(1).unwrap().is_none(), "stores what is settled");
    until("the commit", || async { committed(&topic, &topic, 0).await == Some(3) }).await;
}

/// A request for each message would be the price of its handling.
async fn settling_alone_commits_nothing() {
    let (binder, topic) = (binder(), unique("each"));
    let sender = producer(&binder, &topic, 1).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(json!({ "commit-interval": "1h", "commit-count": 0 }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    for number in 0..20 {
        send_all(&*sender, vec![number.to_string()]).await;
        let parcel = receive(&mut receiver, 1).await.remove(0);
        settle(&mut receiver, parcel.token);
        assert!(receiver.try_recv_many(1).unwrap().is_none());
    }
    assert_eq!(committed(&topic, &topic, 0).await, None);
    receiver.close().await.expect("closed");
    assert_eq!(committed(&topic, &topic, 0).await, Some(20));
}

async fn a_count_commits_before_the_interval() {
    let (binder, topic) = (binder(), unique("count"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(30)).await;
    let mut binding = input(&topic, Some(&topic));
    binding.section = section(json!({ "commit-interval": "1h", "commit-count": 20 }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    let parcels = receive(&mut receiver, 30).await;
    settle(&mut receiver, parcels[9].token);
    assert!(receiver.try_recv_many(1).unwrap().is_none());
    settle(&mut receiver, parcels[24].token);
    assert!(receiver.try_recv_many(1).unwrap().is_none());
    until("the commit", || async { committed(&topic, &topic, 0).await == Some(25) }).await;
}

async fn an_anonymous_group_gets_what_comes_after_its_bind() {
    let (binder, topic) = (binder(), unique("anonymous"));
    let sender = producer(&binder, &topic, 2).await;
    send_all(&*sender, numbered(5)).await;
    let mut receiver = consumer(&binder, &topic, None).await;
    assert!(receiver.dead_letters().is_none());
    send_all(&*sender, ["after".to_owned()]).await;
    assert_eq!(payloads(&receive(&mut receiver, 1).await), ["after"]);
    assert_eq!(quiet(&mut receiver, Duration::from_millis(500)).await.len(), 0);
}

async fn start_turns_the_defaults_round() {
    let (binder, topic) = (binder(), unique("start"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(3)).await;
    let mut anonymous = input(&topic, None);
    anonymous.properties.start = Some(Start::Earliest);
    let mut receiver = binder.bind_consumer(&anonymous).await.unwrap();
    assert_eq!(receive(&mut receiver, 3).await.len(), 3);
    let mut named = input(&topic, Some(&topic));
    named.properties.start = Some(Start::Latest);
    let mut receiver = binder.bind_consumer(&named).await.unwrap();
    assert_eq!(quiet(&mut receiver, Duration::from_secs(1)).await.len(), 0);
    send_all(&*sender, ["new".to_owned()]).await;
    assert_eq!(payloads(&receive(&mut receiver, 1).await), ["new"]);
}

async fn settling_what_never_came_commits_no_further() {
    let (binder, topic) = (binder(), unique("beyond"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(2)).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let parcels = receive(&mut receiver, 2).await;
    receiver.settle(parcels[0].token.lane, 1_000_000).unwrap();
    receiver.settle(binder_core::binder::LaneId(u32::MAX), 7).unwrap();
    receiver.close().await.unwrap();
    assert_eq!(committed(&topic, &topic, 0).await, Some(2));
}

async fn a_pause_keeps_the_membership() {
    let (binder, topic) = (binder(), unique("pause"));
    let sender = producer(&binder, &topic, 2).await;
    let mut binding = input(&topic, Some(&topic));
    let limits = json!({ "session.timeout.ms": 1500, "max.poll.interval.ms": 2000, "heartbeat.interval.ms": 200 });
    binding.section = section(json!({ "configuration": limits }));
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    send_all(&*sender, numbered(4)).await;
    let before = receive(&mut receiver, 4).await;
    receiver.pause().unwrap();
    send_all(&*sender, numbered(4)).await;
    let paused = tokio::time::timeout(Duration::from_secs(4), step(&mut receiver)).await;
    assert!(paused.is_err(), "nothing comes, also no rebalance: {paused:?}");
    receiver.resume().unwrap();
    let after = receive(&mut receiver, 4).await;
    let lanes = |parcels: &[binder_core::binder::Parcel]| {
        let mut lanes: Vec<_> = parcels.iter().map(|parcel| (parcel.metadata.partition, parcel.token.lane)).collect();
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    };
    for lane in lanes(&after) {
        assert!(!lanes(&before).iter().any(|known| known.0 == lane.0 && known.1 != lane.1), "the same assignment");
    }
    assert_eq!(binding.status.get(), BinderHealth::Up);
}

async fn a_pause_repeats_nothing() {
    let (binder, topic) = (binder(), unique("repeat"));
    let sender = producer(&binder, &topic, 1).await;
    send_all(&*sender, numbered(20_000)).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let mut received = Vec::new();
    while received.len() < 20_000 {
        received.extend(receive(&mut receiver, 1).await);
        if received.len() % 7 == 0 {
            receiver.pause().unwrap();
            receiver.resume().unwrap();
        }
    }
    assert_eq!(payloads(&received), numbered(20_000));
}

async fn one_input_reads_several_topics() {
    let (binder, one, two) = (binder(), unique("one"), unique("two"));
    send_all(&*producer(&binder, &one, 1).await, ["1".to_owned()]).await;
    let mut binding = input(&one, Some(&one));
    binding.destinations.push(two.clone());
    let mut receiver = binder.bind_consumer(&binding).await.unwrap();
    send_all(&*producer(&binder, &two, 1).await, ["2".to_owned()]).await;
    let parcels = receive(&mut receiver, 2).await;
    let mut found: Vec<_> = parcels.iter().map(|parcel| parcel.metadata.destination.to_string()).collect();
    found.sort_unstable();
    let mut expected = [one.clone(), two.clone()];
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_ne!(parcels[0].token.lane, parcels[1].token.lane);
    assert_eq!(partitions(&format!("error.{two}.{one}")).await, Some(1));
}

async fn a_dropped_wait_loses_nothing() {
    let (binder, topic) = (binder(), unique("cancel"));
    let sender = producer(&binder, &topic, 1).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let sending = async {
        for number in numbered(2000) {
            send_all(&*sender, [number]).await
        }
    };
    let receiving = async {
        let mut received = Vec::new();
        let mut cancelled = 0;
        while received.len() < 2000 {
            match tokio::time::timeout(Duration::from_micros(300), step(&mut receiver)).await {
                Ok(Step::Batch(parcels)) => received.extend(parcels),
                Ok(other) => panic!("{other:?}"),
                Err(_) => cancelled += 1,
            }
        }
        (received, cancelled)
    };
    let ((), (received, cancelled)) = tokio::join!(sending, receiving);
    assert_eq!(payloads(&received), numbered(2000));
    assert!(cancelled > 10, "{cancelled}");
}

async fn a_topic_that_begins_anew_is_another_lane() {
    let (binder, topic) = (binder(), unique("anew"));
    send_all(&*producer(&binder, &topic, 1).await, numbered(10)).await;
    let mut receiver = consumer(&binder, &topic, Some(&topic)).await;
    let before = receive(&mut receiver, 10).await;
    delete(&topic).await;
    until("the topic goes", async || partitions(&topic).await.is_none()).await;
    send_all(&*producer(&binder, &topic, 1).await, numbered(3)).await;
    let after = receive(&mut receiver, 3).await;
    assert_eq!(payloads(&after), numbered(3));
    assert_ne!(after[0].token.lane, before[0].token.lane);
}
