//! The library may be known under another name.

mod vendored {
    pub mod messaging {
        pub use binder_core::{__private, Binding, Output, binding};
    }
}

use vendored::messaging::binding::Declare;
use vendored::messaging::{Binding, Output};

#[derive(Binding)]
#[binding(crate = "crate::vendored::messaging")]
struct Channels {
    #[output]
    changes: Output<u8>,
}

fn main() {
    assert_eq!(Declare::of::<Channels>()[0].0, "changes");
    let _ = |channels: Channels| channels.changes;
}
