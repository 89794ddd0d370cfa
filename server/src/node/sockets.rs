//! The sockets of a node.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::start::{StartError, refused};
use crate::config::NodeConfig;

/// How often an address that is in use is tried again, and after what pause.
const BIND_ATTEMPTS: usize = 10;
const BIND_PAUSE: Duration = Duration::from_millis(50);

/// Listens on an address. One that is in use is tried for a moment more: whoever had it may be just about to end, such as this
/// node's own last process, or may only have looked whether it is free.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    for _ in 0..BIND_ATTEMPTS {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                tokio::time::sleep(BIND_PAUSE).await;
            }
            bound => return bound,
        }
    }
    TcpListener::bind(address).await
}

/// The sockets of a node, bound before anything else is touched.
pub struct Sockets {
    pub(super) listener: TcpListener,
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "it is refused"))]
    pub(super) admin: Option<TcpListener>,
}

impl Sockets {
    /// Binds what a configuration asks for.
    ///
    /// # Errors
    /// A port in use, by its address; a build without doors.
    pub async fn bind(config: &NodeConfig) -> Result<Self, StartError> {
        if !cfg!(feature = "grpc") {
            return Err(refused("this build has no doors (its feature is `grpc`)"));
        }
        let bind = async |address: SocketAddr, key: &str| {
            listen(address).await.map_err(|error| {
                refused(format!("{key} = \"{address}\" cannot be listened on: {error}"))
            })
        };
        let listener = bind(config.listen, "listen").await?;
        let admin = match config.admin_listen {
            Some(address) if !cfg!(feature = "server") => {
                let why = "this build has no admin port (its feature is `server`)";
                return Err(refused(format!("admin_listen = \"{address}\": {why}")));
            }
            Some(address) => Some(bind(address, "admin_listen").await?),
            None => None,
        };
        Ok(Self { listener, admin })
    }

    /// The address that clients and peers reach.
    ///
    /// # Errors
    /// What the operating system answers.
    pub fn address(&self) -> Result<SocketAddr, StartError> {
        self.listener.local_addr().map_err(refused)
    }
}
