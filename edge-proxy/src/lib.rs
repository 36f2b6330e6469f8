//! The edge proxy: answers everyone. Gives signed places, serves the waiting page and the front,
//! lets in whom the controller counted, and proxies those inside to any origin.
//!
//! A request's way: `door` (bounds, and HTTP/1.1 that we answer) → `hot` (prebuilt answers) → `desk`
//! (deals) → `decide` (policy) → `relay` (usual requests to the origin) or `proxy` (Pingora: all
//! others, and HTTP/2); `passage` says what both make of request and answer. The desk reads
//! `credentials`, issues `places`, knows browsers again in `binding`, and answers our own addresses
//! in `queue_api`, `priority` and `transfer`.

mod accept;
mod admin;
mod answer;
mod binding;
mod client;
mod config;
mod connections;
mod controller;
mod cookies;
mod credentials;
mod decide;
mod desk;
mod door;
mod fields;
mod gather;
mod geo;
mod guard;
mod h2;
mod head;
mod hot;
mod idle;
mod limits;
mod live;
mod metrics;
mod numbers;
mod outbox;
mod pages;
mod passage;
mod places;
mod priority;
mod proxy;
mod queue_api;
mod relay;
mod route;
mod score;
mod send;
mod start;
mod stream;
mod sync;
mod template;
mod transfer;
mod visit;
mod wire;
mod words;

pub use client::{Cidr, CidrError};
pub use config::{
    ClientConfig, ConfigError, ControllerConfig, EdgeConfig, GeoConfig, LimitsConfig, OriginConfig,
    PagesConfig, TlsConfig,
};
pub use geo::GeoError;
pub use start::{Edge, EdgeParts, StartError, start};
pub use template::{Fault, TemplateError};
