//! The cache: filled by reading, emptied by events.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::actions::License;
use crate::error::Failure;
use crate::story::{Story, milliseconds};
use crate::world::World;

/// How long an event may take from the request that causes it to the cache.
pub(super) const EVENT: Duration = Duration::from_secs(30);

/// The first read of a process opens connections, which says nothing of a cache.
const READS: usize = 5;

pub(super) async fn first_read(story: &mut Story, world: &World, license: &License) -> Result<(), Failure> {
    story.step("First read: not cached, so the organization service is asked");
    let before = world.requests().await?;
    let answer = world.read(world.licensings().start, license).await?;
    story.tell(format_args!("cold read: {}", milliseconds(answer.took)));
    story.expect("the licence is served", &StatusCode::OK, &answer.status)?;
    story.expect("with the name of its organization", "OptimaGrowth", answer.text("organizationName"))?;
    story.expect("the organization service was asked once", &1, &(world.requests().await? - before))?;
    story.check("now it is cached", world.is_cached(license).await?)
}

pub(super) async fn second_read(story: &mut Story, world: &World, license: &License) -> Result<(), Failure> {
    story.step("Second read: cached, for every instance");
    let before = world.requests().await?;
    for slot in world.licensings() {
        let mut fastest = world.read(slot, license).await?;
        for _ in 1..READS {
            let answer = world.read(slot, license).await?;
            fastest.took = fastest.took.min(answer.took);
        }
        let (name, took) = (world.name(slot), milliseconds(fastest.took));
        story.tell(format_args!("cached read from {name}, the fastest of {READS}: {took}"));
        story.expect(format_args!("{name} serves the same name"), "OptimaGrowth", fastest.text("organizationName"))?;
    }
    story.expect("the organization service's counter stands still", &before, &world.requests().await?)
}

pub(super) async fn update(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    story.step("Update: every instance serves the new name");
    let start = Instant::now();
    let answer = world.rename(&license.organization, "OptimaGrowth AG").await?;
    story.expect("the organization service takes the change", &StatusCode::OK, &answer.status)?;
    story.tell(format_args!("PUT, stored and announced: {}", milliseconds(answer.took)));
    served_by_all(story, world, license, "OptimaGrowth AG", start).await?;
    let before = world.requests().await?;
    world.read(world.licensings().start, license).await?;
    story.expect("and it is cached again", &before, &world.requests().await?)
}

/// Checks that all instances come to serve a name, counted from a moment.
pub(super) async fn served_by_all(
    story: &mut Story,
    world: &World,
    license: &License,
    name: &str,
    start: Instant,
) -> Result<(), Failure> {
    for slot in world.licensings() {
        let claim = format!("{} serves `{name}`", world.name(slot));
        story.until_since(start, claim, EVENT, async || world.serves(slot, license, name).await).await?;
    }
    Ok(())
}

pub(super) async fn delete(story: &mut Story, world: &mut World, other: &License) -> Result<(), Failure> {
    story.step("Delete: a deleted organization leaves the cache");
    let doomed = world.create("Doomed Ltd").await?;
    world.read(world.licensings().start, &doomed).await?;
    story.check("a new organization is cached", world.is_cached(&doomed).await?)?;
    let refused = world.delete_organization(&doomed.organization).await?;
    story.expect("it can't be deleted while it has a licence", &StatusCode::CONFLICT, &refused.status)?;
    let deleted = world.delete_license(&doomed).await?;
    story.expect("its licence can", &StatusCode::OK, &deleted.status)?;
    let start = Instant::now();
    let deleted = world.delete_organization(&doomed.organization).await?;
    story.expect("then the organization can, too", &StatusCode::NO_CONTENT, &deleted.status)?;
    gone(story, world, &doomed, start).await?;
    let read = world.read(world.licensings().start, &doomed).await?;
    story.expect("its licence is not found any more", &StatusCode::NOT_FOUND, &read.status)?;
    story.check("the other organization is still cached", world.is_cached(other).await?)
}

async fn gone(story: &mut Story, world: &World, license: &License, start: Instant) -> Result<(), Failure> {
    let look = async || match world.is_cached(license).await {
        Ok(false) => Ok(()),
        Ok(true) => Err("still cached".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    story.until_since(start, "it is not cached any more", EVENT, look).await.map(drop)
}

pub(super) async fn only_that_one(
    story: &mut Story,
    world: &mut World,
    changed: &License,
    other: &License,
) -> Result<(), Failure> {
    story.step("Only the organization that was changed is dropped");
    let first = world.licensings().start;
    for license in [changed, other] {
        world.read(first, license).await?;
    }
    story.check("two organizations are cached", world.is_cached(changed).await? && world.is_cached(other).await?)?;
    let start = Instant::now();
    world.rename(&changed.organization, "OptimaGrowth SE").await?;
    gone(story, world, changed, start).await?;
    story.check("the other one is", world.is_cached(other).await?)?;
    let before = world.requests().await?;
    for slot in world.licensings() {
        world.read(slot, other).await?;
    }
    story.expect("reading the other one asks nobody", &before, &world.requests().await?)?;
    served_by_all(story, world, changed, "OptimaGrowth SE", Instant::now()).await
}

pub(super) async fn flushed(story: &mut Story, world: &World, license: &License) -> Result<(), Failure> {
    story.step("Redis is flushed: nothing is cached in the services themselves");
    for slot in world.licensings() {
        world.cache.clear().await?;
        let before = world.requests().await?;
        let answer = world.read(slot, license).await?;
        let claim = format!("{} serves the name all the same", world.name(slot));
        story.expect(claim, "OptimaGrowth SE", answer.text("organizationName"))?;
        let claim = format!("{} has asked the organization service", world.name(slot));
        story.expect(claim, &1, &(world.requests().await? - before))?;
    }
    Ok(())
}
