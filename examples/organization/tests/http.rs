//! The routes of the organization service.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

mod common;

use common::{OSTOCK, WITH_LICENSE, answer, refused, start};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn an_organization_is_read_as_json() {
    let fixture = start().await;
    let body = fixture.get(&format!("/v1/organization/{OSTOCK}")).send().await.unwrap().text().await.unwrap();
    let expected = r#"{"id":"e6a625cc-718b-48c2-ac76-1dfdff9a531e","name":"Ostock","contactName":"Illary Huaylupo","contactEmail":"illaryhs@gmail.com","contactPhone":"888888888"}"#;
    assert_eq!(body, expected);
    fixture.stop().await;
}

#[tokio::test]
async fn a_new_organization_gets_an_id_whatever_the_body_says() {
    let fixture = start().await;
    let new =
        json!({"id": "mine", "name": "Neu", "contactName": "N", "contactEmail": "n@example.com", "contactPhone": "1"});
    let (status, created) = answer(fixture.post("/v1/organization").json(&new)).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(created["id"], "mine");
    let path = format!("/v1/organization/{}", created["id"].as_str().unwrap());
    assert_eq!(answer(fixture.get(&path)).await, (StatusCode::OK, created));
    fixture.stop().await;
}

#[tokio::test]
async fn a_change_is_stored_and_answered_without_body() {
    let fixture = start().await;
    let path = format!("/v1/organization/{OSTOCK}");
    let changed =
        json!({"id": OSTOCK, "name": "Neu", "contactName": "N", "contactEmail": "n@example.com", "contactPhone": "1"});
    assert_eq!(answer(fixture.put(&path).json(&changed)).await, (StatusCode::OK, Value::Null));
    assert_eq!(answer(fixture.get(&path)).await.1, changed);
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_organization_is_gone() {
    let fixture = start().await;
    let path = format!("/v1/organization/{OSTOCK}");
    assert_eq!(answer(fixture.delete(&path)).await, (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(refused(fixture.get(&path)).await, StatusCode::NOT_FOUND);
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_404() {
    let fixture = start().await;
    let path = "/v1/organization/missing";
    assert_eq!(refused(fixture.get(path)).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.put(path).json(&json!({"name": "x"}))).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.delete(path)).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.get("/elsewhere")).await, StatusCode::NOT_FOUND);
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_contradicts_the_path_is_400() {
    let fixture = start().await;
    let put = fixture.put(&format!("/v1/organization/{OSTOCK}")).json(&json!({"id": WITH_LICENSE, "name": "x"}));
    assert_eq!(refused(put).await, StatusCode::BAD_REQUEST);
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_an_organization_is_400() {
    let fixture = start().await;
    for body in ["", "{", "nonsense", "[]", "{}", r#"{"name":1}"#, "\u{0}"] {
        let post = fixture.post("/v1/organization").header("content-type", "application/json").body(body);
        assert_eq!(refused(post).await, StatusCode::BAD_REQUEST, "{body:?}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_claim_to_be_json_is_415() {
    let fixture = start().await;
    let post = fixture.post("/v1/organization").body(r#"{"name":"x"}"#);
    assert_eq!(refused(post).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let fixture = start().await;
    let post = fixture.post("/v1/organization").json(&json!({"name": "x".repeat(100_000)}));
    assert_eq!(refused(post).await, StatusCode::PAYLOAD_TOO_LARGE);
    fixture.stop().await;
}

#[tokio::test]
async fn an_id_with_odd_characters_is_400() {
    let fixture = start().await;
    let long = "x".repeat(101);
    for id in ["a%20b", "a%2Fb", "%00", "%ff", "%C3%A4", "'%3B--", &long] {
        assert_eq!(refused(fixture.get(&format!("/v1/organization/{id}"))).await, StatusCode::BAD_REQUEST, "{id}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn another_method_is_405() {
    let fixture = start().await;
    let patch = fixture.patch(&format!("/v1/organization/{OSTOCK}"));
    assert_eq!(refused(patch).await, StatusCode::METHOD_NOT_ALLOWED);
    fixture.stop().await;
}

#[tokio::test]
async fn what_others_refer_to_is_not_deleted() {
    let fixture = start().await;
    let path = format!("/v1/organization/{WITH_LICENSE}");
    assert_eq!(refused(fixture.delete(&path)).await, StatusCode::CONFLICT);
    assert_eq!(answer(fixture.get(&path)).await.0, StatusCode::OK);
    fixture.stop().await;
}

#[tokio::test]
async fn the_correlation_id_comes_back() {
    let fixture = start().await;
    let get = fixture.get("/health").header("tmx-correlation-id", "abc");
    assert_eq!(get.send().await.unwrap().headers()["tmx-correlation-id"], "abc");
    let made = fixture.get("/nowhere").send().await.unwrap().headers()["tmx-correlation-id"].clone();
    assert_eq!(made.len(), 36);
    fixture.stop().await;
}

#[tokio::test]
async fn health_tells_of_the_channel() {
    let fixture = start().await;
    let mut last = (StatusCode::SERVICE_UNAVAILABLE, Value::Null);
    for _ in 0..1000 {
        last = answer(fixture.get("/health")).await;
        if last.0 == StatusCode::OK {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(last.0, StatusCode::OK, "{}", last.1);
    assert!(last.1["bindings"]["output"].is_object(), "{}", last.1);
    assert_eq!(answer(fixture.get("/health/live")).await.0, StatusCode::OK);
    fixture.stop().await;
}

#[tokio::test]
async fn requests_are_counted_others_are_not() {
    let fixture = start().await;
    answer(fixture.get(&format!("/v1/organization/{OSTOCK}"))).await;
    answer(fixture.get("/health")).await;
    refused(fixture.get("/v1/organization/missing")).await;
    assert_eq!(answer(fixture.get("/stats")).await.1, json!({"requests": 2}));
    fixture.stop().await;
}
