//! Writes to a client, as long as it takes what comes.

use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::AsyncWriteExt as _;

/// A client that takes longer than this to accept one write is dropped.
pub const CLIENT_WRITE_MAX: Duration = Duration::from_secs(30);

/// Writes all of it within this time; `false` if the client does not take it.
pub async fn send(client: &mut Stream, bytes: &[u8], time_max: Duration) -> bool {
    let written = async {
        client.write_all(bytes).await?;
        client.flush().await
    };
    matches!(tokio::time::timeout(time_max, written).await, Ok(Ok(())))
}
