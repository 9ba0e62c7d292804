//! The kafka binder.
