//! The services at work, step by step: what a person can follow, with a check behind each claim.
//!
//! On memory everything runs in this process: applications that share one memory binder stand for processes, and dropping one without a
//! drain stands for `kill -9`. On a broker the services' own programs are started.

#![allow(clippy::future_not_send, reason = "the story is played by one task, which nobody spawns")]

mod actions;
mod brokerctl;
mod error;
mod http;
mod in_process;
mod instance;
mod process;
mod programs;
mod settings;
mod steps;
mod story;
mod world;

pub use error::Failure;
pub use settings::{BinderKind, Settings};

use story::Story;
use world::World;

/// Plays all steps; returns how many checks passed.
///
/// # Errors
/// The first check that failed, or what kept a step from being played.
pub async fn run(settings: Settings) -> Result<u32, Failure> {
    println!("demo: binder {}, {} licensing instances", settings.binder, settings.instances);
    let mut world = World::new(settings)?;
    let mut story = Story::default();
    let played = steps::play(&mut story, &mut world).await;
    if played.is_err() {
        world.print_logs();
    }
    world.stop().await;
    played.map(|()| story.checks()).map_err(|failure| failure.in_step(story.number()))
}
