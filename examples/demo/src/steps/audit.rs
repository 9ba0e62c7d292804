//! A second group, added late.

use std::time::Instant;

use serde_json::Value;

use crate::actions::License;
use crate::error::Failure;
use crate::settings::BinderKind;
use crate::steps::cache::EVENT;
use crate::story::Story;
use crate::world::{AUDIT, READY, World};

pub(super) async fn joins_late(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    match world.binder {
        BinderKind::Rabbit => since_its_queue(story, world, license).await,
        _ => from_the_first(story, world).await,
    }
}

/// On Kafka and memory a group that is named starts at the earliest event.
async fn from_the_first(story: &mut Story, world: &mut World) -> Result<(), Failure> {
    story.step("Audit joins late: it gets every change from the first one on");
    start(story, world).await?;
    let all = world.announced.clone();
    has_seen(story, world, &all).await
}

/// On RabbitMQ it starts when its queue is declared; from then on nothing is missed.
async fn since_its_queue(story: &mut Story, world: &mut World, license: &License) -> Result<(), Failure> {
    story.step("Audit joins late: it gets every change since its queue exists, also those that came while it was down");
    start(story, world).await?;
    let before = world.announced.len();
    world.rename(&license.organization, "Seen by audit").await?;
    let seen = world.announced[before..].to_vec();
    has_seen(story, world, &seen).await?;
    world.stop_one(AUDIT).await;
    let before = world.announced.len();
    for name in ["Audit is down", "Audit is still down"] {
        world.rename(&license.organization, name).await?;
    }
    let missed = world.announced[before..].to_vec();
    story.tell(format_args!("{} changes while audit was down", missed.len()));
    start(story, world).await?;
    has_seen(story, world, &missed).await
}

async fn start(story: &mut Story, world: &mut World) -> Result<(), Failure> {
    world.start(AUDIT).await?;
    story.until("audit is ready", READY, async || world.is_ready(AUDIT).await).await.map(drop)
}

/// Checks by their correlation ids that audit comes to have logged all of these changes.
async fn has_seen(story: &mut Story, world: &World, wanted: &[String]) -> Result<(), Failure> {
    let look = async || {
        let answer = world.http.get(&world.url(AUDIT, "/events")).await.map_err(|error| error.to_string())?;
        let events = answer.body.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
        let seen =
            |id: &String| events.iter().any(|event| event.get("correlationId").and_then(Value::as_str) == Some(id));
        let missing = wanted.iter().filter(|id| !seen(id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", wanted.len())) }
    };
    story
        .until_since(Instant::now(), format_args!("audit has logged all {} changes", wanted.len()), EVENT, look)
        .await
        .map(drop)
}
