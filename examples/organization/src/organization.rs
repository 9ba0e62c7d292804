//! Organizations, as they travel and as they are stored.

use serde::{Deserialize, Serialize};
use sqlx::AnyPool;

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Organization {
    /// Its id. In a request it may be absent: a new organization gets one, a change has it in the path.
    #[serde(default)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whom to talk to.
    #[serde(default)]
    pub contact_name: String,
    /// Where to write to.
    #[serde(default)]
    pub contact_email: String,
    /// Where to call.
    #[serde(default)]
    pub contact_phone: String,
}

type Row = (String, String, String, String, String);

fn read((id, name, contact_name, contact_email, contact_phone): Row) -> Organization {
    Organization { id, name, contact_name, contact_email, contact_phone }
}

/// The table of organizations. Each method that changes something has committed when it returns.
#[derive(Clone, Debug)]
pub struct Organizations(AnyPool);

impl Organizations {
    /// Stores organizations in a database.
    pub fn new(database: AnyPool) -> Self {
        Self(database)
    }

    /// Finds an organization.
    pub async fn find(&self, id: &str) -> sqlx::Result<Option<Organization>> {
        let query = sqlx::query_as::<_, Row>(
            "SELECT organization_id, name, contact_name, contact_email, contact_phone
             FROM organizations WHERE organization_id = $1",
        );
        Ok(query.bind(id).fetch_optional(&self.0).await?.map(read))
    }

    /// Stores a new organization.
    pub async fn insert(&self, new: &Organization) -> sqlx::Result<()> {
        let query = sqlx::query(
            "INSERT INTO organizations (organization_id, name, contact_name, contact_email, contact_phone)
             VALUES ($1, $2, $3, $4, $5)",
        );
        let query = query.bind(&new.id).bind(&new.name).bind(&new.contact_name);
        query.bind(&new.contact_email).bind(&new.contact_phone).execute(&self.0).await.map(drop)
    }

    /// Changes an organization; returns whether there is such a one.
    pub async fn update(&self, changed: &Organization) -> sqlx::Result<bool> {
        let query = sqlx::query(
            "UPDATE organizations SET name = $1, contact_name = $2, contact_email = $3, contact_phone = $4
             WHERE organization_id = $5",
        );
        let query = query.bind(&changed.name).bind(&changed.contact_name).bind(&changed.contact_email);
        Ok(query.bind(&changed.contact_phone).bind(&changed.id).execute(&self.0).await?.rows_affected() > 0)
    }

    /// Deletes an organization; returns whether there was such a one.
    pub async fn delete(&self, id: &str) -> sqlx::Result<bool> {
        let query = sqlx::query("DELETE FROM organizations WHERE organization_id = $1");
        Ok(query.bind(id).execute(&self.0).await?.rows_affected() > 0)
    }
}
