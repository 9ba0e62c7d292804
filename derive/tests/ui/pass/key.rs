//! A key is a field of the payload, or a field of a field.

use std::sync::Arc;

use binder_core::binding::Declare;
use binder_core::{Binding, Output};
use serde::Serialize;

#[derive(Serialize)]
struct Order<T> {
    id: u64,
    customer: Customer,
    r#type: Option<T>,
    place: (u8, String),
}

#[derive(Serialize)]
struct Customer {
    name: String,
}

#[derive(Binding)]
struct Channels<T: binder_core::channel::Key + Clone> {
    #[output("by-id", key = "id")]
    by_id: Output<Order<T>>,
    #[output(key = "customer.name")]
    by_customer: Output<Order<u8>>,
    #[output(key = "type")]
    by_type: Output<Order<T>>,
    #[output(key = "place.1")]
    by_place: Output<Order<u8>>,
    #[output(key = "0", "alone")]
    newtype: Output<Id>,
}

#[derive(Serialize)]
struct Id(String);

fn main() {
    let names: Vec<_> = Declare::of::<Channels<bool>>().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["by-id", "by_customer", "by_type", "by_place", "alone"]);
    let _ = |c: Channels<u8>| (c.by_id, c.by_customer, c.by_type, c.by_place, c.newtype);
    let _: Option<Arc<str>> = None;
}
