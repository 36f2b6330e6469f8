//! End-to-end tests by promise. Each file is one promise to the people who use this.

#![allow(clippy::unwrap_used)] // a test that panics has failed, and says where

mod support;

mod access;
mod apart;
mod bots;
mod bounds;
mod cache;
mod catalogue;
mod clients;
mod codes_on_the_page;
mod configuration;
mod consoles;
mod crowd;
mod devices;
mod draw;
mod expiry;
mod fleet;
mod foreign;
mod forged;
mod journey;
mod live;
mod odd_requests;
mod order;
mod oversell;
mod passes;
mod proxying;
mod relayed;
mod restarts;
mod rotation;
mod shop;
mod sold_out;
mod specification;
mod taps;
mod theatre;
mod tls;
mod turns;
mod waiting_page;
mod waitlist;
