//! The conformance suite on the memory binder.

use binder_core::memory::MemoryBinder;
use binder_core::testkit::suite::{Broker, Harness, Unsteady};

fn main() {
    let broker = || {
        let memory = Unsteady::new(MemoryBinder::new());
        let (switch, network) = (memory.clone(), memory.clone());
        Broker::new(memory).with_control(move |verb| switch.set(verb)).with_network(move |state| network.disturb(state))
    };
    Harness::new("memory", broker).paused_clock().main()
}
