//! What others need is away: the organization service, Redis.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::actions::License;
use crate::error::Failure;
use crate::steps::cache::served_by_all;
use crate::steps::crash::Settled;
use crate::story::{Story, milliseconds};
use crate::world::{ORGANIZATION, READY, World};

const RENAMED: &str = "OptimaGrowth without Redis";

/// No answer takes longer, whatever is away.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn organization_stopped(
    story: &mut Story,
    world: &mut World,
    cached: &Settled,
) -> Result<(), Failure> {
    story.step("The organization service is stopped");
    let uncached = world.create("Never read").await?;
    world.stop_one(ORGANIZATION).await;
    for slot in world.licensings() {
        let answer = world.read(slot, &cached.license).await?;
        let claim = format!("{} serves what is cached", world.name(slot));
        story.expect(claim, cached.name.as_str(), answer.text("organizationName"))?;
    }
    let answer = world.read(world.licensings().start, &uncached).await?;
    story.tell(format_args!("uncached read: {}", milliseconds(answer.took)));
    story.expect("of what is not cached, the licence itself is served", &StatusCode::OK, &answer.status)?;
    story.expect("without the organization's fields", "", answer.text("organizationName"))?;
    story.check("with a warning", answer.warning.is_some())?;
    story.check(format_args!("within {PATIENCE:?}"), answer.took < PATIENCE)?;
    world.start(ORGANIZATION).await?;
    story.until("the organization service is back", READY, async || world.is_ready(ORGANIZATION).await).await?;
    served_by_all(story, world, &uncached, "Never read", Instant::now()).await
}

pub(super) async fn redis_stopped(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    const TITLE: &str = "Redis is stopped, and comes back";
    let Some(brokerctl) = world.brokerctl.clone() else {
        let reason = "the cache is in this process, or nothing is given that could stop Redis (DEMO_BROKERCTL)";
        story.skip(TITLE, reason);
        return Ok(());
    };
    story.step(TITLE);
    brokerctl.stop("redis").await?;
    without_redis(story, world, license).await?;
    brokerctl.start("redis").await?;
    let start = Instant::now();
    let again = async || cached_with_new_name(world, license).await;
    story
        .until_since(start, "the new name is cached: the change that came without Redis is not lost", READY, again)
        .await?;
    served_by_all(story, world, license, RENAMED, start).await
}

/// Redis may come back with what it held before: the old name, until the change that waits for Redis is handled.
async fn cached_with_new_name(world: &World, license: &License) -> Result<(), String> {
    let before = world.requests().await.map_err(|error| error.to_string())?;
    world.serves(world.licensings().start, license, RENAMED).await?;
    let asked = world.requests().await.map_err(|error| error.to_string())? - before;
    if asked == 0 { Ok(()) } else { Err("the organization service is still asked".to_owned()) }
}

async fn without_redis(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    let before = world.requests().await?;
    let answer = world.read(world.licensings().start, license).await?;
    story.tell(format_args!("read without cache: {}", milliseconds(answer.took)));
    story.expect("reads are served, by asking", "OptimaGrowth SE", answer.text("organizationName"))?;
    story.check("the organization service was asked", world.requests().await? > before)?;
    let changed = world.rename(&license.organization, RENAMED).await?;
    story.expect("the organization service does not notice", &StatusCode::OK, &changed.status)?;
    served_by_all(story, world, license, RENAMED, Instant::now()).await
}
