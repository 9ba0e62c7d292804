//! The rabbit binder.
