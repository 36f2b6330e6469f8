//! Writes to a client, as long as it takes what comes.

use std::pin::pin;
use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::AsyncWriteExt as _;

/// A client that takes longer than this to accept one write is dropped.
pub const CLIENT_WRITE_MAX: Duration = Duration::from_secs(30);

/// Writes all of it within this time; `false` if the client does not take it.
pub async fn send(client: &mut Stream, bytes: &[u8], time_max: Duration) -> bool {
    let mut written = pin!(async {
        client.write_all(bytes).await?;
        client.flush().await
    });
    let written = tokio::select! {
        biased;
        written = &mut written => written,
        // Usually all is taken at once, and there is nothing to be timed.
        () = std::future::ready(()) => match tokio::time::timeout(time_max, written).await {
            Ok(written) => written,
            Err(_) => return false,
        },
    };
    written.is_ok()
}
