//! What tests look at.

use super::*;

#[test]
fn what_does_not_exist_is_empty() {
    let binder = MemoryBinder::new();
    assert!(binder.messages("orders").is_empty());
    assert_eq!((binder.partitions("orders"), binder.position("orders", "billing")), (0, None));
    publish(&binder, "orders", 0, &["a"]);
    assert_eq!(binder.position("orders", "billing"), None);
}

#[test]
fn messages_come_partition_by_partition() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 2, &["c"]);
    publish(&binder, "orders", 0, &["a", "b"]);
    let messages = binder.messages("orders");
    assert_eq!(payloads(&messages), [b"a", b"b", b"c"]);
    assert_eq!(messages.iter().map(|message| message.partition()).collect::<Vec<_>>(), [Some(0), Some(0), Some(2)]);
    assert_eq!(messages[0].content_type(), Some(&ContentType::JSON));
}

#[test]
fn debug_names_the_destinations_and_no_payload() {
    let binder = MemoryBinder::new();
    publish(&binder, "orders", 0, &["secret"]);
    assert_eq!(format!("{binder:?}"), r#"MemoryBinder { destinations: ["orders"], .. }"#);
    let consumer = consumer(&binder, "orders", "billing");
    assert!(!format!("{consumer:?}").contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn idle_waits_for_every_named_group() {
    let binder = MemoryBinder::new();
    binder.idle().await;
    let mut one = consumer(&binder, "orders", "billing");
    let mut other = consumer(&binder, "orders", "audit");
    let _anonymous = bind(&binder, &binding("orders", None));
    publish(&binder, "orders", 0, &["a"]);
    publish(&binder, "orders", 1, &["b"]);
    let waiting = tokio::spawn({
        let binder = binder.clone();
        async move { binder.idle().await }
    });
    for group in [&mut one, &mut other] {
        for parcel in drain(&mut **group) {
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            settle(&mut **group, &[parcel]);
        }
    }
    soon(waiting).await.unwrap();
}
