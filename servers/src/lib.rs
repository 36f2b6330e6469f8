//! Real servers for tests: each on a free port and in a folder of its own, both gone afterwards.
//!
//! A test that cannot have its server cannot tell anything, so everything here panics with the
//! server's own last words instead of returning errors. What must be installed is listed in
//! `scripts/install`.

mod cluster;
mod nginx;
mod postgres;
mod process;
mod redis;
mod relay;

pub use cluster::RedisCluster;
pub use nginx::Nginx;
pub use postgres::Postgres;
pub use process::{Process, free_port};
pub use redis::Redis;
pub use relay::Relay;
