//! The broker is away for a while.

use std::time::Instant;

use reqwest::StatusCode;

use crate::actions::License;
use crate::error::Failure;
use crate::steps::cache::served_by_all;
use crate::story::{Story, milliseconds};
use crate::world::{ORGANIZATION, READY, World};

pub(super) async fn restarted(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    const TITLE: &str = "The broker is restarted";
    let Some(brokerctl) = world.brokerctl.clone() else {
        story.skip(TITLE, "there is none, or nothing is given that could restart it (DEMO_BROKERCTL)");
        return Ok(());
    };
    story.step(TITLE);
    world.read(world.licensings().start, license).await?;
    brokerctl.stop(world.binder.as_str()).await?;
    without_broker(story, world, license).await?;
    brokerctl.start(world.binder.as_str()).await?;
    let start = Instant::now();
    for slot in [ORGANIZATION].into_iter().chain(world.licensings()) {
        let claim = format!("{} is ready again", world.name(slot));
        story.until_since(start, claim, READY, async || world.is_ready(slot).await).await?;
    }
    let answer = world.rename(&license.organization, "OptimaGrowth after the restart").await?;
    story.expect("the change can be sent again", &StatusCode::OK, &answer.status)?;
    served_by_all(story, world, license, "OptimaGrowth after the restart", Instant::now()).await
}

async fn without_broker(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    let answer = world.read(world.licensings().start, license).await?;
    story.expect("licences are served", &StatusCode::OK, &answer.status)?;
    let down = async || match world.is_ready(ORGANIZATION).await {
        Ok(()) => Err("/health says ready".to_owned()),
        Err(_) => Ok(()),
    };
    story.until("the organization service's /health says that it has no broker", READY, down).await?;
    let refused = world.rename(&license.organization, "OptimaGrowth after the restart").await?;
    story.tell(format_args!("PUT without broker: {}", milliseconds(refused.took)));
    story.expect(
        "a change is answered with 503: stored, not announced",
        &StatusCode::SERVICE_UNAVAILABLE,
        &refused.status,
    )
}
