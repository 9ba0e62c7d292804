//! Without a name of its own a channel is called as its field.

use binder_core::binding::{Declare, Direction};
use binder_core::{Binding, Input, Output};

#[derive(Binding)]
struct Channels {
    #[input]
    org_changes: Input<String>,
    #[output()]
    r#type: Output<String>,
}

fn main() {
    let declared = Declare::of::<Channels>();
    assert_eq!(declared, [("org_changes".to_owned(), Direction::Input), ("type".to_owned(), Direction::Output)]);
    let _ = |channels: Channels| (channels.org_changes, channels.r#type);
}
