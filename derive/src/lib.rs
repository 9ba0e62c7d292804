//! Macros of `binder-core`, which re-exports them: `#[derive(Binding)]` and `#[check_handler]`.

mod binding;
mod check_handler;
mod diagnostics;

use proc_macro::TokenStream;

/// Makes a struct of channels a `binder_core::Binding`.
///
/// | attribute | on | means |
/// |---|---|---|
/// | `#[input]`, `#[input("name")]` | `Input<T>` | a channel that receives; its name is the field's, if none is given |
/// | `#[output]`, `#[output("name")]` | `Output<T>` | a channel that sends |
/// | `#[output(key = "customer.id")]` | `Output<T>` | as above; the key of a message is this field of its payload |
/// | `#[binding]`, `#[binding(prefix = "billing-")]` | a struct with `#[derive(Binding)]` | its channels too, with `prefix` before their names |
/// | `#[binding(crate = "path")]` | the struct itself | where `binder_core` is found, if it is not there under this name |
///
/// A struct with exactly one output is a `Source`, one with exactly one input a `Sink`, one with exactly one of each a `Processor`; a
/// struct with a nested binding is none of them.
///
/// ```
/// use binder_core::{Binding, Input, Output};
///
/// #[derive(Binding)]
/// struct Billing {
///     #[input("orders.paid")]
///     paid: Input<u64>,
///     #[output]
///     invoices: Output<String>,
/// }
///
/// let names = binder_core::binding::Declare::of::<Billing>();
/// assert_eq!(names[0].0, "orders.paid");
/// assert_eq!(names[1].0, "invoices");
/// ```
#[proc_macro_derive(Binding, attributes(input, output, binding))]
pub fn derive_binding(input: TokenStream) -> TokenStream {
    binding::derive(&syn::parse_macro_input!(input)).into()
}

/// Checks that an `async fn` has the shape of a handler, and says at which token it does not; the function itself is not changed.
///
/// It is for the time in which a function is refused by `handle` and one wonders why; leave it on or take it off, it costs nothing. It
/// stands on a free function.
///
/// The state is that of the argument that is written `State<S>`. If none is written so, because the type has another name, tell it:
/// `#[check_handler(state = Cache)]`. `crate = "path"` says where `binder_core` is found, if it is not there under this name.
///
/// ```
/// use binder_core::check_handler;
///
/// #[check_handler]
/// async fn print(order: String) {
///     println!("{order}");
/// }
/// ```
#[proc_macro_attribute]
pub fn check_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    check_handler::check(arguments.into(), item.into()).into()
}
