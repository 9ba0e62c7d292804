//! The conformance suite on files.

use binder_core::testkit::suite::{Broker, Feature, Harness, Unsteady};
use serde_json::json;

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_path_buf();
    let broker = || {
        let files = Unsteady::new(custom_binder::factory());
        let (switch, network) = (files.clone(), files.clone());
        Broker::new(files).with_control(move |verb| switch.set(verb)).with_network(move |state| network.disturb(state))
    };
    Harness::new("file", broker)
        .section(json!({ "directory": path }))
        .lacks(Feature::Rebalance, "a file has one lane, which one member of a group reads")
        .paused_clock()
        .after(move || std::fs::remove_dir_all(directory.path()).expect("removed"))
        .main()
}
