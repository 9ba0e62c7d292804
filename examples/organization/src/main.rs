//! Runs the organization service with the binders that are compiled in.

use std::process::ExitCode;

use example_service::Binders;

fn main() -> ExitCode {
    let binders = Binders::new();
    #[cfg(feature = "kafka")]
    let binders = binders.with("kafka", binder_kafka::factory());
    #[cfg(feature = "rabbit")]
    let binders = binders.with("rabbit", binder_rabbit::factory());
    example_service::main(binders, organization::run)
}
