//! What events do to the cache.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

mod common;

use binder_core::handler::HandlerError;
use binder_core::prelude::State;
use common::{GROWTH, STOCK, start};
use licensing::cache::Cache;
use licensing::client::OrganizationClient;
use licensing::events::{OrganizationChangeModel, invalidate};
use licensing::read_through::Organizations;

#[tokio::test]
async fn update_removes_exactly_that_organization() {
    removes_exactly_that_organization("UPDATE").await;
}

#[tokio::test]
async fn delete_removes_exactly_that_organization() {
    removes_exactly_that_organization("DELETE").await;
}

async fn removes_exactly_that_organization(action: &str) {
    let fixture = start().await;
    fixture.read_growth().await;
    fixture.read_stock().await;
    fixture.announce(action, GROWTH);
    fixture.settled().await;
    assert_eq!((fixture.cached(GROWTH).await, fixture.cached(STOCK).await), (false, true));
    fixture.stop().await;
}

#[tokio::test]
async fn after_an_update_the_new_data_is_read_and_cached() {
    let fixture = start().await;
    fixture.read_growth().await;
    fixture.organizations.rename("New").await;
    fixture.announce("UPDATE", GROWTH);
    fixture.settled().await;
    assert_eq!(fixture.read_growth().await["organizationName"], "New");
    assert!(fixture.cached(GROWTH).await);
    fixture.stop().await;
}

async fn is_acknowledged_and_leaves_the_cache_alone(action: &str) {
    let fixture = start().await;
    fixture.read_growth().await;
    fixture.announce(action, GROWTH);
    fixture.settled().await;
    assert!(fixture.cached(GROWTH).await);
    assert!(fixture.dead_letters().is_empty());
    fixture.stop().await;
}

#[tokio::test]
async fn get_is_acknowledged_and_leaves_the_cache_alone() {
    is_acknowledged_and_leaves_the_cache_alone("GET").await;
}

#[tokio::test]
async fn save_is_acknowledged_and_leaves_the_cache_alone() {
    is_acknowledged_and_leaves_the_cache_alone("SAVE").await;
}

#[tokio::test]
async fn an_unknown_action_is_acknowledged_and_leaves_the_cache_alone() {
    is_acknowledged_and_leaves_the_cache_alone("RENAMED").await;
}

#[tokio::test]
async fn what_is_no_event_goes_aside_and_the_next_one_is_handled() {
    let fixture = start().await;
    fixture.read_growth().await;
    fixture.announce_raw("{\"no\":\"event\"");
    fixture.announce("UPDATE", GROWTH);
    fixture.settled().await;
    assert!(!fixture.cached(GROWTH).await);
    assert_eq!(fixture.dead_letters(), ["{\"no\":\"event\""]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_cache_that_fails_makes_the_event_be_tried_again() {
    let cache = Cache::open("redis://127.0.0.1:1").unwrap();
    let organizations = Organizations::new(cache, OrganizationClient::new("http://127.0.0.1:1").unwrap());
    let change =
        serde_json::from_str::<OrganizationChangeModel>(r#"{"action":"UPDATE","organizationId":"x"}"#).unwrap();
    let error = invalidate(change, State(organizations), None).await.unwrap_err();
    assert!(HandlerError::from(error).is_retryable());
}

#[test]
fn an_event_of_the_originals_is_read() {
    let wire = r#"{"type":"com.optimagrowth.organization.events.model.OrganizationChangeModel","action":"UPDATE","organizationId":"442adb6e","correlationId":null,"later":1}"#;
    let change = serde_json::from_str::<OrganizationChangeModel>(wire).unwrap();
    assert_eq!(
        (change.action.as_str(), change.organization_id.as_str(), change.correlation_id),
        ("UPDATE", "442adb6e", None)
    );
}
