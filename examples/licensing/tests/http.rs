//! The routes of the licensing service.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not in a test function")]

mod common;

use common::{GROWTH, GROWTH_LICENSE, STOCK, answer, license_path, licenses_path, start};
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A request is refused with this status, and with a JSON error that agrees with it.
async fn refused(request: reqwest::RequestBuilder) -> StatusCode {
    let (status, body) = answer(request).await;
    let name = status.canonical_reason().unwrap().to_uppercase().replace(' ', "_");
    assert_eq!(body["metadata"]["status"], name, "{body}");
    assert!(body["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
    status
}

#[tokio::test]
async fn a_licence_is_read_with_its_organization_and_links() {
    let fixture = start().await;
    let get = fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).header("host", "demo");
    let body = get.send().await.unwrap().text().await.unwrap();
    let (one, all) = (license_path(GROWTH, GROWTH_LICENSE), licenses_path(GROWTH));
    let expected = format!(
        r#"{{"licenseId":"{GROWTH_LICENSE}","description":"Software Product","organizationId":"{GROWTH}","productName":"Ostock","licenseType":"complete","comment":"I AM DEV","organizationName":"OptimaGrowth","contactName":"Admin","contactPhone":"888888888","contactEmail":"a@example.com","_links":{{"self":{{"href":"http://demo{one}"}},"createLicense":{{"href":"http://demo{all}"}},"updateLicense":{{"href":"http://demo{all}"}},"deleteLicense":{{"href":"http://demo{one}"}}}}}}"#
    );
    assert_eq!(body, expected);
    fixture.stop().await;
}

#[tokio::test]
async fn licences_of_an_organization_are_listed_without_it() {
    let fixture = start().await;
    let (_, list) = answer(fixture.get(&format!("{}/", licenses_path(GROWTH)))).await;
    let expected = json!([{"licenseId": GROWTH_LICENSE, "description": "Software Product", "organizationId": GROWTH,
        "productName": "Ostock", "licenseType": "complete", "comment": "I AM DEV"}]);
    assert_eq!((list, fixture.organizations.calls()), (expected, 0));
    assert_eq!(answer(fixture.get(&licenses_path("nobody"))).await.1, json!([]));
    fixture.stop().await;
}

#[tokio::test]
async fn a_licence_is_made_changed_and_deleted() {
    let fixture = start().await;
    let new = json!({"productName": "P", "licenseType": "T"});
    let (status, made) = answer(fixture.post(&licenses_path(STOCK)).json(&new)).await;
    assert_eq!((status, made["organizationId"].as_str()), (StatusCode::OK, Some(STOCK)));
    let id = made["licenseId"].as_str().unwrap();
    let changed = json!({"licenseId": id, "organizationId": STOCK, "productName": "Q", "licenseType": "T"});
    let (status, answered) = answer(fixture.put(&licenses_path(STOCK)).json(&changed)).await;
    assert_eq!((status, answered["productName"].as_str()), (StatusCode::OK, Some("Q")));
    let path = license_path(STOCK, id);
    assert_eq!(answer(fixture.get(&path)).await.1["productName"], "Q");
    let (status, text) = answer(fixture.delete(&path)).await;
    assert_eq!((status, text), (StatusCode::OK, Value::String(format!("Deleting license with id {id}"))));
    assert_eq!(refused(fixture.get(&path)).await, StatusCode::NOT_FOUND);
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_missing_is_404() {
    let fixture = start().await;
    let path = license_path(GROWTH, "missing");
    assert_eq!(refused(fixture.get(&path)).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.get(&license_path(STOCK, GROWTH_LICENSE))).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.get(&format!("{path}/rest"))).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.delete(&path)).await, StatusCode::NOT_FOUND);
    let body = json!({"licenseId": "missing", "productName": "P", "licenseType": "T"});
    assert_eq!(refused(fixture.put(&licenses_path(GROWTH)).json(&body)).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.post(&licenses_path("nobody")).json(&body)).await, StatusCode::NOT_FOUND);
    assert_eq!(refused(fixture.get("/elsewhere")).await, StatusCode::NOT_FOUND);
    fixture.stop().await;
}

#[tokio::test]
async fn the_text_of_a_missing_licence_is_the_originals() {
    let fixture = start().await;
    let (_, body) = answer(fixture.get(&license_path(GROWTH, "X"))).await;
    let message = format!("Unable to find license with License id X and Organization id {GROWTH}");
    assert_eq!(
        body,
        json!({"metadata": {"status": "NOT_FOUND"}, "errors": [{"message": message, "code": null, "detail": message}]})
    );
    fixture.stop().await;
}

#[tokio::test]
async fn bodies_that_contradict_the_path_or_are_no_licence_are_400() {
    let fixture = start().await;
    let path = licenses_path(GROWTH);
    let other = json!({"licenseId": GROWTH_LICENSE, "organizationId": STOCK, "productName": "P", "licenseType": "T"});
    assert_eq!(refused(fixture.put(&path).json(&other)).await, StatusCode::BAD_REQUEST);
    assert_eq!(refused(fixture.post(&path).json(&other)).await, StatusCode::BAD_REQUEST);
    let without_id = json!({"productName": "P", "licenseType": "T"});
    assert_eq!(refused(fixture.put(&path).json(&without_id)).await, StatusCode::BAD_REQUEST);
    for body in ["", "{", "[]", "{}", r#"{"productName":null,"licenseType":"T"}"#] {
        let post = fixture.post(&path).header("content-type", "application/json").body(body);
        assert_eq!(refused(post).await, StatusCode::BAD_REQUEST, "{body:?}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let fixture = start().await;
    let body = json!({"productName": "x".repeat(100_000), "licenseType": "T"});
    assert_eq!(refused(fixture.post(&licenses_path(GROWTH)).json(&body)).await, StatusCode::PAYLOAD_TOO_LARGE);
    fixture.stop().await;
}

#[tokio::test]
async fn ids_with_odd_characters_are_400() {
    let fixture = start().await;
    for (organization, license) in [("a%20b", "x"), ("x", "a%2Fb"), ("%ff", "x"), ("x", "%00")] {
        assert_eq!(refused(fixture.get(&license_path(organization, license))).await, StatusCode::BAD_REQUEST);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn the_correlation_id_goes_to_the_organization_service_and_comes_back() {
    let fixture = start().await;
    let get = fixture.get(&license_path(GROWTH, GROWTH_LICENSE)).header("tmx-correlation-id", "abc");
    assert_eq!(get.send().await.unwrap().headers()["tmx-correlation-id"], "abc");
    assert_eq!(fixture.organizations.last_correlation().await.as_deref(), Some("abc"));
    fixture.stop().await;
}
