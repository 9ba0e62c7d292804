//! Cases on a real broker: `RABBIT_URL=amqp://…`.

#[path = "../support/mod.rs"]
#[macro_use]
mod support;
mod consuming;
mod failing;
mod publishing;
mod topology;

fn main() {
    let cases = [consuming::cases(), failing::cases(), publishing::cases(), topology::cases()];
    support::run(&["RABBIT_URL"], cases.into_iter().flatten().collect());
}
