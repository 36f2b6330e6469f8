//! The origin alone, as fault tests start, freeze and kill it: `origin-under-test FILE`.
//!
//! It is `waiting-room origin --config FILE` without what that links, and only built with the
//! feature `failpoints`.

use std::path::PathBuf;

use origin::{OriginConfig, OriginParts};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // It fails only if another one was installed, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = std::env::args_os().nth(1).ok_or("which file? origin-under-test FILE")?;
    let config = OriginConfig::load(&PathBuf::from(file))?;
    let listener = std::net::TcpListener::bind(config.listen)?;
    let internal_listener = std::net::TcpListener::bind(config.internal_listen)?;
    let (stop, shutdown) = watch::channel(false);
    let parts = OriginParts { listener, internal_listener, shutdown };
    let origin = origin::start(config, parts).await?;
    signal(SignalKind::terminate())?.recv().await;
    // It is not heard only if the origin has ended by itself.
    let _ = stop.send(true);
    origin.stopped().await;
    Ok(())
}
