//! How does one reader hear of the seats? A small task that owns the connection and nothing else.
//!
//! The HTTP server hands the connection over once it knows that the answer is a stream, so ten
//! thousand readers cost ten thousand sockets and some hundred bytes each. What is sent is shared
//! by all. A reader that is slow is waited for, and takes what it has missed when it is ready; one
//! that takes nothing at all is let go.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::feed::{Encoded, Next, Reading, mode_event};
use super::hub::Place;
use super::mode::Mode;

/// A stream that has had nothing to say for this long says that it is there.
const BEAT_EVERY: Duration = Duration::from_secs(15);
/// A reader that takes nothing for this long is let go.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// What a reader of ours may say on a WebSocket is a close or a pong.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Bytes that are read at once: readers have nothing to say.
const READ_BYTES: usize = 128;

/// In which form frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Server-sent events.
    Events,
    /// Binary messages.
    WebSocket,
}

/// Somebody who follows an event, before they have their connection.
#[derive(Debug)]
pub struct Reader {
    /// What they read.
    pub reading: Reading,
    /// Their place.
    pub place: Place,
    /// The sequence number up to which they know the seats.
    pub known: Option<u64>,
    /// When the stream ends.
    pub until: Instant,
    /// How frames are sent.
    pub wire: Wire,
}

enum Connection {
    Events(TcpStream),
    /// Boxed, so that the many who read events do not pay for it.
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

/// The reader is gone, or not worth waiting for.
struct Gone;

impl Reader {
    /// Sends `head`, then frames until the time is over, the level has no streams, or the reader
    /// goes. `rest` is what the client sent after its request.
    pub async fn run(self, stream: TcpStream, head: Vec<u8>, rest: Bytes) {
        let Self { mut reading, place, mut known, until, wire } = self;
        let mut stopping = place.stopping();
        let Ok(mut connection) = Connection::open(stream, head, rest, wire).await else { return };
        let mut told = None;
        // Only who stood ready tells how late we are; others have kept themselves waiting.
        let mut stood_ready = false;
        loop {
            let pulse = reading.pulse();
            if told != Some(pulse.mode) {
                told = Some(pulse.mode);
                if connection.tell(pulse.mode).await.is_err() {
                    return;
                }
            }
            if pulse.mode.frames_every().is_none() {
                break;
            }
            let sent = match reading.feed().after(known) {
                Next::Frames(frames) => {
                    if std::mem::take(&mut stood_ready) {
                        place.wrote(pulse.cut_at);
                    }
                    connection.send(&frames).await.map(|()| frames.last().map(|last| last.seq))
                }
                Next::Snapshot(snapshot) => {
                    stood_ready = false;
                    place.metrics().live_snapshots_total.inc();
                    let seq = snapshot.seq;
                    connection.send(&[snapshot]).await.map(|()| Some(seq))
                }
                Next::Wait => {
                    let beat_at = (Instant::now() + BEAT_EVERY).min(until);
                    let news = async {
                        tokio::select! {
                            () = reading.pulsed() => Ok(()),
                            Gone = connection.gone() => Err(Gone),
                            _ = stopping.wait_for(|is_stopping| *is_stopping) => Err(Gone),
                        }
                    };
                    match timeout_at(beat_at, news).await {
                        Ok(Ok(())) => {
                            stood_ready = true;
                            Ok(None)
                        }
                        Ok(Err(Gone)) => break,
                        Err(_) if Instant::now() >= until => break,
                        Err(_) => connection.beat().await.map(|()| None),
                    }
                }
            };
            match sent {
                Ok(seq) => known = seq.or(known),
                Err(Gone) => return,
            }
        }
        connection.close().await;
    }
}

impl Connection {
    async fn open(
        mut stream: TcpStream,
        head: Vec<u8>,
        rest: Bytes,
        wire: Wire,
    ) -> Result<Self, Gone> {
        write(&mut stream, &head).await?;
        Ok(match wire {
            Wire::Events => Self::Events(stream),
            Wire::WebSocket => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(READ_BYTES)
                    .write_buffer_size(0)
                    .max_write_buffer_size(usize::MAX)
                    .max_message_size(Some(MESSAGE_BYTES_MAX))
                    .max_frame_size(Some(MESSAGE_BYTES_MAX));
                let rest = rest.to_vec();
                let (role, config) = (Role::Server, Some(config));
                let socket = WebSocketStream::from_partially_read(stream, rest, role, config).await;
                Self::WebSocket(Box::new(socket))
            }
        })
    }

    async fn send(&mut self, frames: &[Encoded]) -> Result<(), Gone> {
        match self {
            Self::Events(stream) => match frames {
                [frame] => write(stream, &frame.event).await,
                _ => {
                    let frames: Vec<&[u8]> = frames.iter().map(|f| f.event.as_ref()).collect();
                    write(stream, &frames.concat()).await
                }
            },
            Self::WebSocket(socket) => {
                // The library would copy each message, and keep room for the longest. Once it has
                // nothing of its own to send, ours go past it.
                timeout(WRITE_MAX, socket.flush()).await.map_err(|_| Gone)?.map_err(|_| Gone)?;
                for frame in frames {
                    write(socket.get_mut(), &frame.message).await?;
                }
                Ok(())
            }
        }
    }

    async fn tell(&mut self, mode: Mode) -> Result<(), Gone> {
        match self {
            Self::Events(stream) => write(stream, &mode_event(mode)).await,
            Self::WebSocket(socket) => say(socket, Message::text(mode.label())).await,
        }
    }

    async fn beat(&mut self) -> Result<(), Gone> {
        match self {
            Self::Events(stream) => write(stream, b":\n\n").await,
            Self::WebSocket(socket) => say(socket, Message::Ping(Bytes::new())).await,
        }
    }

    /// Waits until the reader has gone. Whatever else they say is not for us.
    async fn gone(&mut self) -> Gone {
        match self {
            Self::Events(stream) => {
                let mut ignored = [0; READ_BYTES];
                while let Ok(1..) = stream.read(&mut ignored).await {}
                Gone
            }
            Self::WebSocket(socket) => {
                while let Some(Ok(message)) = socket.next().await {
                    if matches!(message, Message::Close(_)) {
                        break;
                    }
                }
                Gone
            }
        }
    }

    async fn close(self) {
        // Whoever has gone already does not hear it.
        match self {
            Self::Events(mut stream) => {
                let _ = timeout(WRITE_MAX, stream.shutdown()).await;
            }
            Self::WebSocket(mut socket) => {
                let _ = timeout(WRITE_MAX, WebSocketStream::close(&mut socket, None)).await;
            }
        }
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Gone> {
    match timeout(WRITE_MAX, stream.write_all(bytes)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: Message) -> Result<(), Gone> {
    match timeout(WRITE_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}
