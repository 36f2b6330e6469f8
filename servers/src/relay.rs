//! An address that leads to one server now and to another one later, or nowhere: what a virtual
//! address, a proxy or a broken network are to the clients of a server.

use std::io::Read as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// Passes connections on, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    way: Arc<Mutex<Way>>,
}

#[derive(Debug, Default)]
struct Way {
    /// Nowhere, if there is none.
    to: Option<u16>,
    is_over: bool,
    open: Vec<TcpStream>,
}

impl Way {
    fn cut(&mut self) {
        self.to = None;
        for stream in self.open.drain(..) {
            // An error means that it is closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Relay {
    /// Listens on a free port of loopback and passes connections on to this one.
    ///
    /// # Panics
    /// If there is no free port.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let own = listener.local_addr().expect("a listener has an address").port();
        let way = Arc::new(Mutex::new(Way { to: Some(port), ..Way::default() }));
        let shared = Arc::clone(&way);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut way = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if way.is_over {
                    return;
                }
                // A server that does not listen closes the connection, as the relay does then.
                let there = way.to.map(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
                if let Some(Ok(there)) = there {
                    pass_on(&stream, &there);
                    way.open.extend([stream, there]);
                }
            }
        });
        Self { port: own, way }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections go there from now on; those that are open stay where they are.
    pub fn turn_to(&self, port: u16) {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).to = Some(port);
    }

    /// Ends all connections, and takes no new ones until it is turned somewhere.
    pub fn cut(&self) {
        self.way.lock().unwrap_or_else(PoisonError::into_inner).cut();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut way = self.way.lock().unwrap_or_else(PoisonError::into_inner);
        way.is_over = true;
        way.cut();
        drop(way);
        // So that the thread looks up; an error means that it is gone already.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Copies both ways, each by a thread that ends with either connection.
fn pass_on(here: &TcpStream, there: &TcpStream) {
    for (from, to) in [(here, there), (there, here)] {
        // Small answers are not to wait for the one before; an error means that it is gone already.
        let _ = to.set_nodelay(true);
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
        std::thread::spawn(move || {
            let mut bytes = [0; CHUNK_BYTES];
            while let Ok(count) = from.read(&mut bytes)
                && count > 0
                && to.write_all(&bytes[..count]).is_ok()
            {}
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}
