//! What the organization service announces.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

mod common;

use common::{Event, OSTOCK, WITH_LICENSE, answer, refused, start, start_on_a_full_broker};
use reqwest::StatusCode;
use serde_json::json;

/// The event of a change, as the originals write it.
fn event(action: &str, id: &str, correlation: &str) -> Event {
    let payload = format!(
        r#"{{"type":"com.optimagrowth.organization.events.model.OrganizationChangeModel","action":"{action}","organizationId":"{id}","correlationId":"{correlation}"}}"#
    );
    Event { key: id.to_owned(), header: correlation.to_owned(), payload }
}

#[tokio::test]
async fn each_change_is_announced_once_keyed_by_organization() {
    let fixture = start().await;
    let path = format!("/v1/organization/{OSTOCK}");
    let id = ("tmx-correlation-id", "abc");
    let (_, created) = answer(fixture.post("/v1/organization").header(id.0, id.1).json(&json!({"name": "new"}))).await;
    answer(fixture.put(&path).header(id.0, id.1).json(&json!({"name": "changed"}))).await;
    answer(fixture.delete(&path).header(id.0, id.1)).await;
    let new = created["id"].as_str().unwrap();
    assert_eq!(
        fixture.events(),
        [event("SAVE", new, "abc"), event("UPDATE", OSTOCK, "abc"), event("DELETE", OSTOCK, "abc")]
    );
    fixture.stop().await;
}

#[tokio::test]
async fn nothing_is_announced_of_reads_and_of_what_was_refused() {
    let fixture = start().await;
    answer(fixture.get(&format!("/v1/organization/{OSTOCK}"))).await;
    refused(fixture.get("/v1/organization/missing")).await;
    refused(fixture.put("/v1/organization/missing").json(&json!({"name": "x"}))).await;
    refused(fixture.put(&format!("/v1/organization/{OSTOCK}")).json(&json!({"id": "other", "name": "x"}))).await;
    refused(fixture.delete("/v1/organization/missing")).await;
    refused(fixture.delete(&format!("/v1/organization/{WITH_LICENSE}"))).await;
    refused(fixture.post("/v1/organization").body("no")).await;
    assert_eq!(fixture.events(), []);
    fixture.stop().await;
}

#[tokio::test]
async fn a_request_without_correlation_id_gets_one_that_the_event_has_too() {
    let fixture = start().await;
    let put = fixture.put(&format!("/v1/organization/{OSTOCK}")).json(&json!({"name": "x"}));
    let made = put.send().await.unwrap().headers()["tmx-correlation-id"].to_str().unwrap().to_owned();
    assert_eq!(fixture.events(), [event("UPDATE", OSTOCK, &made)]);
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_stored_but_not_announced_is_503() {
    let fixture = start_on_a_full_broker().await;
    let path = format!("/v1/organization/{OSTOCK}");
    let (status, body) = answer(fixture.put(&path).json(&json!({"name": "stored"}))).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("stored but not announced"), "{body}");
    assert_eq!(answer(fixture.get(&path)).await.1["name"], "stored");
    fixture.stop().await;
}
