//! The steps, in their order.

mod audit;
mod broker;
mod cache;
mod crash;
mod outage;

use crate::actions::License;
use crate::error::Failure;
use crate::story::Story;
use crate::world::{ORGANIZATION, READY, World};

/// Plays all steps.
pub(crate) async fn play(story: &mut Story, world: &mut World) -> Result<(), Failure> {
    start(story, world).await?;
    let (growth, stock) = (License::of_optima_growth(), License::of_ostock());
    cache::first_read(story, world, &growth).await?;
    cache::second_read(story, world, &growth).await?;
    cache::update(story, world, &growth).await?;
    cache::delete(story, world, &growth).await?;
    cache::only_that_one(story, world, &growth, &stock).await?;
    cache::flushed(story, world, &growth).await?;
    let settled = crash::killed(story, world).await?;
    outage::organization_stopped(story, world, &settled).await?;
    outage::redis_stopped(story, world, &growth).await?;
    audit::joins_late(story, world, &growth).await?;
    broker::restarted(story, world, &growth).await
}

async fn start(story: &mut Story, world: &mut World) -> Result<(), Failure> {
    story.step("The services start; the cache is empty");
    world.cache.clear().await?;
    world.start(ORGANIZATION).await?;
    for slot in world.licensings() {
        world.start(slot).await?;
    }
    for slot in [ORGANIZATION].into_iter().chain(world.licensings()) {
        let claim = format!("{} is ready at {}", world.name(slot), world.url(slot, ""));
        story.until(claim, READY, async || world.is_ready(slot).await).await?;
    }
    Ok(())
}
