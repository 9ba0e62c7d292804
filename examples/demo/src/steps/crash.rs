//! Licensing dies in the middle.

use std::time::Instant;

use crate::actions::License;
use crate::error::Failure;
use crate::steps::cache::EVENT;
use crate::story::{Story, milliseconds};
use crate::world::{READY, World};

const ORGANIZATIONS: usize = 20;
const BEFORE_THE_KILL: usize = 5;

/// An organization whose last change was handled by all, and that is cached since.
pub(super) struct Settled {
    pub(super) license: License,
    pub(super) name: String,
}

/// Returns the one that was renamed last: before the kill nobody has seen its change, so none of its events can come again.
/// Those of the organizations before may: a kill loses what is handled and not yet committed, and the broker delivers it again.
pub(super) async fn killed(story: &mut Story, world: &mut World) -> Result<Settled, Failure> {
    story.step("All licensing instances are killed with -9 during updates, and started again");
    let mut licenses = cached(story, world).await?;
    for (index, license) in licenses.iter().enumerate() {
        if index == BEFORE_THE_KILL {
            kill_all(story, world).await;
        }
        world.rename(&license.organization, &new_name(index)).await?;
    }
    let left = count_cached(world, &licenses).await?;
    story.tell(format_args!("{ORGANIZATIONS} organizations renamed; {left} old names are still cached"));
    story.check("what was changed while nobody listened is still cached with its old name", left > 0)?;
    let start = Instant::now();
    for slot in world.licensings() {
        world.start(slot).await?;
    }
    for slot in world.licensings() {
        let claim = format!("{} is ready again", world.name(slot));
        story.until(claim, READY, async || world.is_ready(slot).await).await?;
    }
    let took = all_new(story, world, &licenses, start).await?;
    story.tell(format_args!("backlog handled {} after the start", milliseconds(took)));
    let license = licenses.swap_remove(ORGANIZATIONS - 1);
    Ok(Settled { license, name: new_name(ORGANIZATIONS - 1) })
}

/// Makes organizations and has each of them cached.
async fn cached(story: &mut Story, world: &mut World) -> Result<Vec<License>, Failure> {
    let mut licenses = Vec::new();
    for index in 0..ORGANIZATIONS {
        licenses.push(world.create(&format!("Before {index}")).await?);
    }
    for license in &licenses {
        world.read(world.licensings().start, license).await?;
    }
    let count = count_cached(world, &licenses).await?;
    story.expect("new organizations are cached", &ORGANIZATIONS, &count)?;
    Ok(licenses)
}

async fn kill_all(story: &Story, world: &mut World) {
    for slot in world.licensings() {
        world.kill(slot).await;
    }
    story.tell(format_args!("killed after {BEFORE_THE_KILL} of {ORGANIZATIONS} updates"));
}

async fn count_cached(world: &World, licenses: &[License]) -> Result<usize, Failure> {
    let mut count = 0;
    for license in licenses {
        count += usize::from(world.is_cached(license).await?);
    }
    Ok(count)
}

/// Nothing is lost: of every organization every instance comes to serve the new name.
async fn all_new(
    story: &mut Story,
    world: &World,
    licenses: &[License],
    start: Instant,
) -> Result<std::time::Duration, Failure> {
    let all = async || {
        for slot in world.licensings() {
            for (index, license) in licenses.iter().enumerate() {
                world.serves(slot, license, &new_name(index)).await?;
            }
        }
        Ok(())
    };
    story.until_since(start, format_args!("all {ORGANIZATIONS} new names are served by all"), EVENT * 2, all).await
}

fn new_name(index: usize) -> String {
    format!("After {index}")
}
