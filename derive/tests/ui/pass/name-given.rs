//! A given name is taken as it is.

use binder_core::binding::{Declare, Direction};
use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input("inboundOrgChanges")]
    org_changes: Input<String>,
    #[output("audit.out-1",)]
    audit: Output<String>,
}

fn main() {
    let declared = Declare::of::<Channels>();
    assert_eq!(declared[0], ("inboundOrgChanges".to_owned(), Direction::Input));
    assert_eq!(declared[1], ("audit.out-1".to_owned(), Direction::Output));
    let _ = |channels: Channels| (channels.org_changes, channels.audit);
}
