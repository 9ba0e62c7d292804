//! Names of the user do not get into the generated code: not in a macro, not where std's names mean something else.

#![allow(dead_code, non_camel_case_types)]

mod hostile {
    pub struct Result;
    pub struct Option;
    pub struct Vec;
    pub struct Self_;
    pub trait Binding {}
    pub fn channels() {}
    pub mod std {}
    pub mod core {}
    pub mod serde {}

    type Ok = ();
    type Some = ();
    type None = ();

    macro_rules! channels {
        ($name:ident, $field:ident: $ty:ty, $channel:literal, $key:literal) => {
            #[derive(::binder_core::Binding)]
            pub struct $name {
                #[output($channel, key = $key)]
                pub $field: $ty,
                #[input]
                pub channels: ::binder_core::Input<u8>,
            }
        };
    }

    #[derive(::serde::Serialize)]
    pub struct Payload {
        pub payload: u8,
        pub key: u8,
    }

    channels!(Channels, key: ::binder_core::Output<Payload>, "named", "payload");
}

fn main() {
    let declared = binder_core::binding::Declare::of::<hostile::Channels>();
    assert_eq!(declared[0].0, "named");
    assert_eq!(declared[1].0, "channels");
}
