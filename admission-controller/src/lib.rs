//! Admission controller.
pub mod claims;
pub mod front;
pub mod pace;
pub mod store;
