//! End-to-end tests by promise. Each file is one promise to the people who use this.

mod support;

mod apart;
mod bots;
mod bounds;
mod configuration;
mod expiry;
mod forged;
mod journey;
mod order;
mod oversell;
mod proxying;
mod restarts;
