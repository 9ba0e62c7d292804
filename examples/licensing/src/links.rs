//! Links of a licence, in HAL.

use axum::http::HeaderValue;
use serde::Serialize;

use crate::license::License;

/// A licence with its `_links`.
#[derive(Debug, Serialize)]
pub(crate) struct Linked {
    #[serde(flatten)]
    license: License,
    #[serde(rename = "_links")]
    links: Links,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Links {
    #[serde(rename = "self")]
    itself: Link,
    create_license: Link,
    update_license: Link,
    delete_license: Link,
}

#[derive(Debug, Serialize)]
struct Link {
    href: String,
}

impl Linked {
    /// Adds links on the host that was asked; without a host they have only a path.
    pub(crate) fn new(license: License, host: Option<&HeaderValue>) -> Self {
        let host = host.and_then(|host| host.to_str().ok());
        let root = host.map(|host| format!("http://{host}")).unwrap_or_default();
        let all = format!("{root}/v1/organization/{}/license", license.organization_id);
        let one = format!("{all}/{}", license.license_id);
        let link = |href: &str| Link { href: href.to_owned() };
        let links = Links {
            itself: link(&one),
            create_license: link(&all),
            update_license: link(&all),
            delete_license: link(&one),
        };
        Self { license, links }
    }
}
