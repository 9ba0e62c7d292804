//! Keys that have to be searched for.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::channel::KeySource;
use crate::codec::Codecs;
use crate::runtime::input::Decoder;

/// Counts how often a header or a content type is asked for.
struct Searched {
    view: View,
    count: AtomicUsize,
}

impl BatchView for Searched {
    fn len(&self) -> usize {
        self.view.len()
    }
    fn payload(&self, index: usize) -> Option<&[u8]> {
        self.view.payload(index)
    }
    fn key(&self, _: usize) -> Option<&[u8]> {
        None
    }
    fn token(&self, index: usize) -> Token {
        self.view.token(index)
    }
    fn content_type(&self, _: usize) -> Option<ContentType> {
        self.count.fetch_add(1, SeqCst);
        None
    }
    fn header(&self, index: usize, _: &str) -> Option<HeaderValue> {
        self.count.fetch_add(1, SeqCst);
        self.payload(index).map(|payload| HeaderValue::Bytes(Bytes::copy_from_slice(payload)))
    }
    fn headers(&self, _: usize) -> Headers {
        Headers::new()
    }
    fn metadata(&self, index: usize) -> Metadata {
        self.view.metadata(index)
    }
    fn detach(&self, index: usize, arena: &mut BytesMut) -> Parcel {
        self.view.detach(index, arena)
    }
}

/// Hands a batch of a, a, b, b and one without a key to handlers that never end, and returns how many began and how often keys were
/// searched for.
fn search(source: Option<&str>, ordering: Ordering) -> (usize, usize) {
    let decoder = || Decoder { codecs: Codecs::new(), content_type: ContentType::JSON, from_header: true };
    let key = KeyPlace::new(source.and_then(KeySource::parse_received), decoder);
    let settings = Settings { key, ordering, concurrency: 10, ..settings() };
    let state = StateCell::new("test".into(), Status::new(), HookSet::default());
    let began = AtomicUsize::new(0);
    let invoke = |_: &DeliveryRef<'_>| {
        began.fetch_add(1, SeqCst);
        Ok(std::future::pending::<Verdict>())
    };
    let mut work = Work::new(settings, invoke, Exhausted::Discard, state);
    let parcels = [r#"{"id":"a"}"#, r#"{"id":"a"}"#, r#"{"id":"b"}"#, r#"{"id":"b"}"#, "{}"];
    let parcels = parcels.into_iter().zip(1..).map(|(payload, number)| parcel(number, "", payload)).collect();
    let view = Searched { view: View(parcels), count: AtomicUsize::new(0) };
    work.accept(&view);
    work.pump(usize::MAX);
    (began.load(SeqCst), view.count.into_inner())
}

#[tokio::test]
async fn a_key_is_searched_for_once() {
    assert_eq!(search(Some("payload.id"), Ordering::Key), (3, 5));
    assert_eq!(search(Some("header.id"), Ordering::Key), (3, 5));
}

#[tokio::test]
async fn nothing_is_searched_for_that_is_not_needed() {
    assert_eq!(search(None, Ordering::Key), (5, 0), "no record has a key");
    assert_eq!(search(Some("payload.id"), Ordering::None), (5, 0));
    assert_eq!(search(Some("payload.id"), Ordering::Partition), (1, 0));
}
