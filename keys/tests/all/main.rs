//! Do statements, key files and the `keys` command keep their promises?

#![allow(clippy::unwrap_used)] // the helpers are tests as well

mod bytes;
mod chance;
mod command;
mod draw;
mod files;
mod refusals;
mod roles;
mod support;
mod times;
mod vectors;
