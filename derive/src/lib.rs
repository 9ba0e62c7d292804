//! `#[derive(Binding)]`.
