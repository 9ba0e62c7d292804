//! What a file of Spring becomes is understood here.

use binder_core::config::Config;
use binder_core::{Application, Input, Output};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/application.yml");

#[derive(binder_core::Binding)]
struct Channels {
    #[input("process-in-0")]
    orders: Input<String>,
    #[input("audit-in-0")]
    audit: Input<String>,
    #[output("process-out-0")]
    invoices: Output<String>,
}

/// Bindings check all their settings before they open anything.
#[tokio::test]
async fn a_binding_accepts_what_a_file_of_spring_becomes() {
    let config = Config::builder().spring(FILE).build().expect("read");
    let app = Application::builder().config(config).binder("rabbit", crate::factory()).build().expect("built");
    let channels = app.bind::<Channels>().await.expect("accepted");
    assert_eq!((channels.orders.name(), channels.invoices.name()), ("process-in-0", "process-out-0"));
    assert_eq!(channels.audit.name(), "audit-in-0");
    let page = app.describe().expect("described");
    for said in ["prefetch: 20 # ", "ordering: none # ", "unroutable: error # ", "dead-letters: true # ", "ttl: 1m # "]
    {
        assert!(page.contains(said), "{said} in\n{page}");
    }
    assert!(!page.contains("s3cret"), "{page}");
}
