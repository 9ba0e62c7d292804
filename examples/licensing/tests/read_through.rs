//! Cache, organization service, fill: in this order, and what happens if one of them is away.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

mod common;

use std::time::{Duration, Instant};

use common::stub::Stub;
use common::{GROWTH, GROWTH_LICENSE, answer, license_path, start, start_with};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn a_miss_is_one_look_one_call_and_one_fill() {
    let fixture = start().await;
    fixture.read_growth().await;
    let stats = answer(fixture.get("/stats")).await.1;
    let expected = json!({"cacheHits": 0, "cacheMisses": 1, "cacheFailures": 0, "cacheFills": 1, "staleFills": 0,
        "organizationCalls": 1, "invalidations": 0});
    assert_eq!((stats, fixture.organizations.calls()), (expected, 1));
    fixture.stop().await;
}

#[tokio::test]
async fn a_hit_is_one_look_and_nothing_else() {
    let fixture = start().await;
    let first = fixture.read_growth().await;
    let second = fixture.read_growth().await;
    let stats = answer(fixture.get("/stats")).await.1;
    assert_eq!(
        (&stats["cacheHits"], &stats["cacheFills"], &stats["organizationCalls"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(first, second);
    fixture.stop().await;
}

#[tokio::test]
async fn feign_and_discovery_go_past_the_cache_all_else_through_it() {
    let fixture = start().await;
    let path = license_path(GROWTH, GROWTH_LICENSE);
    for (client, calls) in [("feign", 1), ("discovery", 2), ("rest", 3), ("rest", 3), ("whatever", 3), ("feign", 4)] {
        let (_, license) = answer(fixture.get(&format!("{path}/{client}"))).await;
        assert_eq!(
            (license["organizationName"].as_str(), fixture.organizations.calls()),
            (Some("OptimaGrowth"), calls),
            "{client}"
        );
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_fill_that_began_before_a_change_does_not_write_old_data() {
    let fixture = start_with(&format!("memory:{}", uuid::Uuid::new_v4()), Stub::gated().await).await;
    let reader = tokio::spawn(fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).send());
    fixture.organizations.called(1).await; // it holds the old name in its hands
    fixture.organizations.rename("New").await;
    fixture.announce("UPDATE", GROWTH);
    fixture.settled().await;
    fixture.organizations.let_answer();
    let old: Value = reader.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(old["organizationName"], "OptimaGrowth");
    assert!(!fixture.cached(GROWTH).await);
    assert_eq!(fixture.stat("staleFills").await, 1);
    fixture.organizations.let_answer();
    assert_eq!(fixture.read_growth().await["organizationName"], "New");
    fixture.stop().await;
}

#[tokio::test]
async fn without_redis_reads_are_served_from_the_organization_service() {
    let fixture = start_with("redis://127.0.0.1:1", Stub::start().await).await;
    for calls in 1..=3 {
        let start = Instant::now();
        assert_eq!(fixture.read_growth().await["organizationName"], "OptimaGrowth");
        assert_eq!(fixture.organizations.calls(), calls);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    fixture.stop().await;
}

#[tokio::test]
async fn without_the_organization_service_what_is_cached_is_served() {
    let fixture = start().await;
    let cached = fixture.read_growth().await;
    fixture.organizations.stop();
    assert_eq!(fixture.read_growth().await, cached);
    fixture.stop().await;
}

#[tokio::test]
async fn without_the_organization_service_an_uncached_licence_is_served_bare_with_a_warning() {
    let fixture = start().await;
    fixture.organizations.stop();
    let response = fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["warning"].to_str().unwrap().starts_with("199 licensing"));
    let license: Value = response.json().await.unwrap();
    assert_eq!((&license["productName"], license.get("organizationName")), (&json!("Ostock"), None));
    fixture.stop().await;
}

#[tokio::test]
async fn an_organization_service_that_hangs_is_waited_for_two_seconds_at_most() {
    let fixture = start_with(&format!("memory:{}", uuid::Uuid::new_v4()), Stub::gated().await).await;
    let start = Instant::now();
    let response = fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).send().await.unwrap();
    assert!(response.headers().contains_key("warning"));
    assert!(start.elapsed() <= Duration::from_secs(2), "{:?}", start.elapsed());
    fixture.stop().await;
}

#[tokio::test]
async fn an_organization_that_does_not_exist_is_not_cached_and_no_warning() {
    let fixture = start().await;
    fixture.organizations.forget_all();
    let response = fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).send().await.unwrap();
    assert!(!response.headers().contains_key("warning"));
    assert_eq!(response.json::<Value>().await.unwrap().get("organizationName"), None);
    assert!(!fixture.cached(GROWTH).await);
    fixture.stop().await;
}
