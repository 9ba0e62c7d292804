//! What the cache and its fence promise, in memory and, if `REDIS_URL` names one, in Redis.
//!
//! Two handles on one cache stand for two processes. In each case the steps of both are written in the order in which they happen.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use licensing::cache::{Cache, CacheError, Lease, Lookup};
use licensing::organization::Organization;

type Case = fn(Two) -> Pin<Box<dyn Future<Output = ()>>>;

/// Two handles on one cache, and an id that no other case uses.
struct Two {
    one: Cache,
    other: Cache,
    id: String,
}

const CASES: &[(&str, Case)] = &[
    ("what_was_filled_in_is_found_by_all", |two| Box::pin(filled_is_found(two))),
    ("fill_after_a_removal_is_refused", |two| Box::pin(late_fill(two))),
    ("fill_after_a_removal_and_a_flush_is_refused", |two| Box::pin(late_fill_after_flush(two))),
    ("fill_of_an_earlier_reader_does_not_use_a_later_lease", |two| Box::pin(foreign_lease(two))),
    ("readers_under_way_together_fill_once", |two| Box::pin(together(two))),
    ("removal_removes_exactly_one", |two| Box::pin(exactly_one(two))),
    ("removal_of_what_is_not_there_is_no_error", |two| Box::pin(nothing_there(two))),
    ("clearing_leaves_nothing", |two| Box::pin(cleared(two))),
];

const REDIS_CASES: &[(&str, Case)] = &[
    ("organization_is_json_in_the_documented_hash", |two| Box::pin(documented_key(two))),
    ("content_that_is_no_organization_is_a_miss", |two| Box::pin(odd_content(two))),
    ("lease_runs_out", |two| Box::pin(lease_runs_out(two))),
];

async fn filled_is_found(two: Two) {
    let lease = miss(&two.one, &two.id).await;
    assert!(two.one.fill(&two.id, &named("Ostock"), &lease).await.unwrap());
    assert_eq!(two.other.find(&two.id).await.unwrap(), Lookup::Hit(named("Ostock")));
    assert!(two.other.contains(&two.id).await.unwrap());
}

async fn late_fill(two: Two) {
    let lease = miss(&two.one, &two.id).await;
    two.other.remove(&two.id).await.unwrap();
    assert!(!two.one.fill(&two.id, &named("stale"), &lease).await.unwrap());
    miss(&two.other, &two.id).await;
}

/// A fence that counts would be at its first value again, and take the stale fill.
async fn late_fill_after_flush(two: Two) {
    let lease = miss(&two.one, &two.id).await;
    two.other.remove(&two.id).await.unwrap();
    two.other.clear().await.unwrap();
    assert!(!two.one.fill(&two.id, &named("stale"), &lease).await.unwrap());
    let fresh = miss(&two.other, &two.id).await;
    assert_ne!(lease, fresh);
}

async fn foreign_lease(two: Two) {
    let early = miss(&two.one, &two.id).await;
    two.other.remove(&two.id).await.unwrap();
    let late = miss(&two.other, &two.id).await;
    assert!(!two.one.fill(&two.id, &named("stale"), &early).await.unwrap());
    assert!(two.other.fill(&two.id, &named("new"), &late).await.unwrap());
    assert_eq!(two.one.find(&two.id).await.unwrap(), Lookup::Hit(named("new")));
}

async fn together(two: Two) {
    let (one, other) = (miss(&two.one, &two.id).await, miss(&two.other, &two.id).await);
    assert!(two.one.fill(&two.id, &named("Ostock"), &one).await.unwrap());
    assert!(!two.other.fill(&two.id, &named("Ostock"), &other).await.unwrap());
    assert!(two.other.contains(&two.id).await.unwrap());
}

async fn exactly_one(two: Two) {
    let neighbour = format!("{}-neighbour", two.id);
    for id in [&two.id, &neighbour] {
        let lease = miss(&two.one, id).await;
        assert!(two.one.fill(id, &named("Ostock"), &lease).await.unwrap());
    }
    two.other.remove(&two.id).await.unwrap();
    assert!(!two.one.contains(&two.id).await.unwrap());
    assert!(two.one.contains(&neighbour).await.unwrap());
}

async fn nothing_there(two: Two) {
    two.one.remove(&two.id).await.unwrap();
    two.one.remove(&two.id).await.unwrap();
}

async fn cleared(two: Two) {
    let lease = miss(&two.one, &two.id).await;
    two.one.fill(&two.id, &named("Ostock"), &lease).await.unwrap();
    two.other.clear().await.unwrap();
    assert!(!two.one.contains(&two.id).await.unwrap());
}

async fn documented_key(two: Two) {
    let lease = miss(&two.one, &two.id).await;
    two.one.fill(&two.id, &named("Ostock"), &lease).await.unwrap();
    let found: String =
        raw("HGET").arg("organization").arg(&two.id).query_async(&mut raw_connection().await).await.unwrap();
    let json = r#"{"id":"x","name":"Ostock","contactName":"c","contactEmail":"e","contactPhone":"p"}"#;
    assert_eq!(found, json);
}

async fn odd_content(two: Two) {
    let mut put = raw("HSET");
    put.arg("organization").arg(&two.id).arg("odd").exec_async(&mut raw_connection().await).await.unwrap();
    let lease = miss(&two.one, &two.id).await;
    assert!(two.one.fill(&two.id, &named("Ostock"), &lease).await.unwrap());
}

async fn lease_runs_out(two: Two) {
    miss(&two.one, &two.id).await;
    let key = format!("organization:lease:{}", two.id);
    let left: i64 = raw("PTTL").arg(key).query_async(&mut raw_connection().await).await.unwrap();
    assert!((1..=30_000).contains(&left), "{left}");
}

fn raw(command: &str) -> redis::Cmd {
    redis::cmd(command)
}

async fn raw_connection() -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(std::env::var("REDIS_URL").unwrap()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn miss(cache: &Cache, id: &str) -> Lease {
    match cache.find(id).await.unwrap() {
        Lookup::Miss(lease) => lease,
        Lookup::Hit(found) => panic!("unexpected hit: {found:?}"),
    }
}

fn named(name: &str) -> Organization {
    let [id, contact_name, contact_email, contact_phone] = ["x", "c", "e", "p"].map(str::to_owned);
    Organization { id, name: name.to_owned(), contact_name, contact_email, contact_phone }
}

fn unreachable_redis_fails_fast() {
    run(async {
        let cache = Cache::open("redis://127.0.0.1:1").unwrap();
        let started = std::time::Instant::now();
        for _ in 0..3 {
            assert!(matches!(cache.remove("x").await, Err(CacheError::Redis(_))));
        }
        assert!(started.elapsed().as_millis() < 1500, "{:?}", started.elapsed());
    });
}

fn other_urls_are_refused_without_their_secret() {
    let error = Cache::open("https://user:secret@host").unwrap_err().to_string();
    assert!(error.contains("`https`") && !error.contains("secret"), "{error}");
}

fn run(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(20), future).await.unwrap() });
}

fn trials(backend: &str, cases: &'static [(&'static str, Case)], url: Option<&str>) -> Vec<Trial> {
    let url: Arc<str> = url.unwrap_or_default().into();
    let trial = |(name, case): &'static (&'static str, Case)| {
        let open = Arc::clone(&url);
        let trial = Trial::test(format!("{backend}::{name}"), move || {
            run(async move {
                let (one, other) = (Cache::open(&open).unwrap(), Cache::open(&open).unwrap());
                case(Two { one, other, id: uuid::Uuid::new_v4().to_string() }).await;
            });
            Ok(())
        });
        trial.with_ignored_flag(url.is_empty())
    };
    cases.iter().map(trial).collect()
}

fn main() -> ExitCode {
    let redis = std::env::var("REDIS_URL").ok();
    assert!(redis.is_some() || std::env::var_os("CI").is_none(), "CI is set but REDIS_URL is not");
    // `clear` would empty the cache under the other cases.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let mut all = trials("memory", CASES, Some("memory:cache-test"));
    all.extend(trials("redis", CASES, redis.as_deref()));
    all.extend(trials("redis", REDIS_CASES, redis.as_deref()));
    let plain = [
        ("unreachable_redis_fails_fast", unreachable_redis_fails_fast as fn()),
        ("other_urls_are_refused_without_their_secret", other_urls_are_refused_without_their_secret),
    ];
    all.extend(plain.map(|(name, case)| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    }));
    libtest_mimic::run(&arguments, all).exit_code()
}
