//! Licences, as they travel and as they are stored.

use serde::{Deserialize, Serialize};
use sqlx::AnyPool;

use crate::organization::Organization;

/// A licence; what is not known is left out of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct License {
    /// Its id.
    #[serde(default)]
    pub license_id: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whose it is.
    #[serde(default)]
    pub organization_id: String,
    /// For which product.
    pub product_name: String,
    /// Of which kind.
    pub license_type: String,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Name of the organization; never stored.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub organization_name: Option<String>,
    /// Contact of the organization; never stored.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<String>,
    /// Telephone of the organization; never stored.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub contact_phone: Option<String>,
    /// E-mail of the organization; never stored.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub contact_email: Option<String>,
}

impl License {
    /// Adds what is known of the organization.
    #[must_use]
    pub fn with_organization(self, organization: Option<Organization>) -> Self {
        let Some(organization) = organization else { return self };
        Self {
            organization_name: Some(organization.name),
            contact_name: Some(organization.contact_name),
            contact_phone: Some(organization.contact_phone),
            contact_email: Some(organization.contact_email),
            ..self
        }
    }

    /// Replaces the remark.
    #[must_use]
    pub fn with_comment(self, comment: &str) -> Self {
        Self { comment: Some(comment.to_owned()), ..self }
    }
}

type Row = (String, Option<String>, String, String, String, Option<String>);

fn read((license_id, description, organization_id, product_name, license_type, comment): Row) -> License {
    License { license_id, description, organization_id, product_name, license_type, comment, ..License::default() }
}

/// The table of licences.
#[derive(Clone, Debug)]
pub struct Licenses(AnyPool);

impl Licenses {
    /// Stores licences in a database.
    pub fn new(database: AnyPool) -> Self {
        Self(database)
    }

    /// Finds one licence of an organization.
    pub async fn find(&self, organization: &str, license: &str) -> sqlx::Result<Option<License>> {
        let query = sqlx::query_as::<_, Row>(
            "SELECT license_id, description, organization_id, product_name, license_type, comment
             FROM licenses WHERE organization_id = $1 AND license_id = $2",
        );
        Ok(query.bind(organization).bind(license).fetch_optional(&self.0).await?.map(read))
    }

    /// Lists the licences of an organization.
    pub async fn list(&self, organization: &str) -> sqlx::Result<Vec<License>> {
        let query = sqlx::query_as::<_, Row>(
            "SELECT license_id, description, organization_id, product_name, license_type, comment
             FROM licenses WHERE organization_id = $1 ORDER BY license_id",
        );
        Ok(query.bind(organization).fetch_all(&self.0).await?.into_iter().map(read).collect())
    }

    /// Stores a new licence.
    pub async fn insert(&self, license: &License) -> sqlx::Result<()> {
        let query = sqlx::query(
            "INSERT INTO licenses (license_id, description, organization_id, product_name, license_type, comment)
             VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let query = query.bind(&license.license_id).bind(&license.description).bind(&license.organization_id);
        let query = query.bind(&license.product_name).bind(&license.license_type).bind(&license.comment);
        query.execute(&self.0).await.map(drop)
    }

    /// Changes a licence; returns whether there is such a one.
    pub async fn update(&self, license: &License) -> sqlx::Result<bool> {
        let query = sqlx::query(
            "UPDATE licenses SET description = $1, product_name = $2, license_type = $3, comment = $4
             WHERE license_id = $5 AND organization_id = $6",
        );
        let query = query.bind(&license.description).bind(&license.product_name).bind(&license.license_type);
        let query = query.bind(&license.comment).bind(&license.license_id).bind(&license.organization_id);
        Ok(query.execute(&self.0).await?.rows_affected() > 0)
    }

    /// Deletes a licence; returns whether there was such a one.
    pub async fn delete(&self, organization: &str, license: &str) -> sqlx::Result<bool> {
        let query = sqlx::query("DELETE FROM licenses WHERE organization_id = $1 AND license_id = $2");
        Ok(query.bind(organization).bind(license).execute(&self.0).await?.rows_affected() > 0)
    }
}
