//! Connections, as they come in. Who may stay is the lobby's to say.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::answers;
use super::budget::{Budget, Whole};
use super::lobby::{Guest, Lobby};
use crate::node::Inner;
use crate::shell::fatal_on_panic;

/// How long to wait after the operating system would not give a connection, for want of files for instance.
const PAUSE: Duration = Duration::from_millis(50);

/// How often to look for those who have waited too long in the lobby.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A connection.
pub(super) struct Connection {
    stream: TcpStream,
    guest: Arc<Guest>,
}

/// The connections that come in, until the node stops.
pub(super) fn connections(
    node: Arc<Inner>,
    listener: TcpListener,
    whole: Arc<Whole>,
    answers: Arc<answers::Whole>,
) -> impl Stream<Item = io::Result<Connection>> {
    let (taken, stream) = mpsc::channel(1);
    let lobby = Lobby::new(node.config.max_connections, node.metrics.clone(), answers);
    let fatal = node.fatal();
    tokio::spawn(fatal_on_panic(fatal, "taking connections", async move {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = sweep.tick() => {
                    lobby.sweep();
                    continue;
                }
                () = node.stopping() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection went away at once");
                        continue;
                    }
                    let guest = lobby.enter(Budget::of_connection(&whole));
                    if taken.send(Ok(Connection { stream, guest })).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }));
    ReceiverStream::new(stream)
}

impl Connected for Connection {
    type ConnectInfo = Arc<Guest>;

    fn connect_info(&self) -> Arc<Guest> {
        self.guest.clone()
    }
}

impl Connection {
    /// What is read from and written to, until the connection is cut off: then neither goes on. HTTP/2 does not read while something
    /// that it has to answer waits to be written, so that the one that a client does not let happen is not the one to ask in.
    fn stream(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        if self.guest.poll_cut(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(cx)?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream(cx)?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
