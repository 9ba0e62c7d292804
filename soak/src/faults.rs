//! What goes wrong, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::broker::Switch;
use crate::crew::Crew;
use crate::{Carrier, Fallible, RunArguments};

/// How often each fault was let happen.
pub(crate) type Drawn = BTreeMap<String, u32>;

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill(usize),
    Stop(usize),
    Freeze(usize),
    BrokerStop,
    BrokerKill,
}

/// Lets things go wrong until the time is over; everybody is back in the end.
pub(crate) async fn let_go_wrong(
    crew: &mut Crew,
    broker: &Switch,
    arguments: &RunArguments,
    seed: u64,
    time: Duration,
) -> Fallible<Drawn> {
    let mut random = Rng::with_seed(seed);
    let mut drawn = Drawn::new();
    let end = Instant::now() + time;
    let seconds = |random: &mut Rng, from: u64, to: u64| Duration::from_millis(random.u64(from * 1000..to * 1000));
    loop {
        let wait = if arguments.faults { seconds(&mut random, 4, 12) } else { time };
        let left = end.saturating_duration_since(Instant::now());
        if wait >= left {
            tokio::time::sleep(left).await;
            return Ok(drawn);
        }
        tokio::time::sleep(wait).await;
        let fault = draw(&mut random, crew.len(), broker);
        let away = seconds(&mut random, 0, 4);
        let name = name(fault, crew);
        println!("soak: {:>5.1} s left: {name}, back after {away:?}", (left - wait).as_secs_f64());
        *drawn.entry(name).or_default() += 1;
        strike(fault, crew, broker, away).await?;
    }
}

fn draw(random: &mut Rng, members: usize, broker: &Switch) -> Fault {
    loop {
        let member = random.usize(..members);
        return match random.u32(..10) {
            0..=3 => Fault::Kill(member),
            4..=5 => Fault::Stop(member),
            6 if broker.carrier != Carrier::Memory => Fault::Freeze(member),
            7..=8 if broker.works() => Fault::BrokerStop,
            9 if broker.works() && broker.carrier != Carrier::Memory => Fault::BrokerKill,
            _ => continue,
        };
    }
}

fn name(fault: Fault, crew: &Crew) -> String {
    match fault {
        Fault::Kill(index) => format!("{} killed with -9", crew.role(index)),
        Fault::Stop(index) => format!("{} stopped", crew.role(index)),
        Fault::Freeze(index) => format!("{} frozen", crew.role(index)),
        Fault::BrokerStop => "broker stopped".to_owned(),
        Fault::BrokerKill => "broker killed with -9".to_owned(),
    }
}

async fn strike(fault: Fault, crew: &mut Crew, broker: &Switch, away: Duration) -> Fallible<()> {
    match fault {
        Fault::Kill(index) => {
            crew.kill(index).await?;
            tokio::time::sleep(away).await;
            crew.revive(index).await
        }
        Fault::Stop(index) => {
            crew.stop(index).await?;
            tokio::time::sleep(away).await;
            crew.revive(index).await
        }
        Fault::Freeze(index) => Ok(crew.freeze(index, away * 4).await?),
        Fault::BrokerStop | Fault::BrokerKill => {
            broker.set(if matches!(fault, Fault::BrokerStop) { "stop" } else { "kill" }).await?;
            tokio::time::sleep(away).await;
            Ok(broker.set("start").await?)
        }
    }
}
