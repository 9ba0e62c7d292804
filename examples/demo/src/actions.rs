//! What users of the services do.

use crate::error::Failure;
use crate::http::{self, Answer};
use crate::world::{ORGANIZATION, World};

/// A licence and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct License {
    pub(crate) organization: String,
    pub(crate) license: String,
}

impl License {
    /// One of the initial rows: a licence of `OptimaGrowth`.
    pub(crate) fn of_optima_growth() -> Self {
        Self::new("d898a142-de44-466c-8c88-9ceb2c2429d3", "f2a9c9d4-d2c0-44fa-97fe-724d77173c62")
    }

    /// One of the initial rows: a licence of `Ostock`.
    pub(crate) fn of_ostock() -> Self {
        Self::new("e839ee96-28de-4f67-bb79-870ca89743a0", "279709ff-e6d5-4a54-8b55-a5c37542025b")
    }

    fn new(organization: &str, license: &str) -> Self {
        Self { organization: organization.to_owned(), license: license.to_owned() }
    }

    pub(crate) fn path(&self) -> String {
        format!("/v1/organization/{}/license/{}", self.organization, self.license)
    }
}

impl World {
    /// Reads a licence from a licensing service.
    pub(crate) async fn read(&self, slot: usize, license: &License) -> Result<Answer, Failure> {
        self.http.get(&self.url(slot, &license.path())).await
    }

    /// Tells whether a licensing service answers with this name of the organization.
    pub(crate) async fn serves(&self, slot: usize, license: &License, name: &str) -> Result<(), String> {
        let answer = self.read(slot, license).await.map_err(|error| error.to_string())?;
        let found = answer.text("organizationName");
        if found == name { Ok(()) } else { Err(format!("{} says {} `{found}`", self.name(slot), answer.status)) }
    }

    /// Returns how many requests the organization service has had.
    pub(crate) async fn requests(&self) -> Result<u64, Failure> {
        Ok(self.http.get(&self.url(ORGANIZATION, "/stats")).await?.number("requests"))
    }

    /// Renames an organization.
    pub(crate) async fn rename(&mut self, organization: &str, name: &str) -> Result<Answer, Failure> {
        let (url, correlation) = (self.organization_url(organization), correlation());
        let answer = self.http.put(&url, &http::organization(name), &correlation).await?;
        self.note(&answer, correlation);
        Ok(answer)
    }

    /// Deletes an organization.
    pub(crate) async fn delete_organization(&mut self, organization: &str) -> Result<Answer, Failure> {
        let (url, correlation) = (self.organization_url(organization), correlation());
        let answer = self.http.delete(&url, &correlation).await?;
        self.note(&answer, correlation);
        Ok(answer)
    }

    /// Makes an organization and a licence for it.
    pub(crate) async fn create(&mut self, name: &str) -> Result<License, Failure> {
        let correlation = correlation();
        let url = self.url(ORGANIZATION, "/v1/organization");
        let created = self.http.post(&url, &http::organization(name), &correlation).await?;
        self.note(&created, correlation.clone());
        let organization = created.text("id").to_owned();
        let url = self.url(self.licensings().start, &format!("/v1/organization/{organization}/license"));
        let license = self.http.post(&url, &http::license(), &correlation).await?;
        Ok(License { organization, license: license.text("licenseId").to_owned() })
    }

    /// Deletes a licence.
    pub(crate) async fn delete_license(&self, license: &License) -> Result<Answer, Failure> {
        self.http.delete(&self.url(self.licensings().start, &license.path()), &correlation()).await
    }

    /// Tells whether an organization is cached.
    pub(crate) async fn is_cached(&self, license: &License) -> Result<bool, Failure> {
        Ok(self.cache.contains(&license.organization).await?)
    }

    fn organization_url(&self, organization: &str) -> String {
        self.url(ORGANIZATION, &format!("/v1/organization/{organization}"))
    }

    fn note(&mut self, answer: &Answer, correlation: String) {
        if answer.status.is_success() {
            self.announced.push(correlation);
        }
    }
}

fn correlation() -> String {
    format!("demo-{}", uuid::Uuid::new_v4())
}
