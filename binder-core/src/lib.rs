//! Typed, named channels bound by configuration.
