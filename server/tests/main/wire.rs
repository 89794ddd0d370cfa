//! A client of HTTP/2 that says and reads what it likes.

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use stator_server::Node;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::codegen::http::{Request, Response};

use crate::cluster::PATIENCE;

pub(crate) async fn tcp(node: &Node) -> TcpStream {
    TcpStream::connect(node.listening().expect("it listens")).await.expect("connects")
}

/// A connection of HTTP/2, driven by a task of its own.
pub(crate) struct Wire {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Wire {
    pub(crate) async fn to(node: &Node) -> Self {
        Self::of(h2::client::Builder::new(), node).await
    }

    /// A connection with room for so many bytes of each answer, however many answers there are.
    pub(crate) async fn with_window(node: &Node, bytes: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(bytes).initial_connection_window_size((1 << 31) - 1);
        Self::of(builder, node).await
    }

    async fn of(mut builder: h2::client::Builder, node: &Node) -> Self {
        builder.initial_max_send_streams(1024);
        let (send, connection) = builder.handshake(tcp(node).await).await.expect("an HTTP/2 node");
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send, task }
    }

    /// Begins a call, unless the node has closed the connection.
    pub(crate) async fn open(&self, path: &str) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let request = Request::post(format!("http://node{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        self.send.clone().ready().await.ok()?.send_request(request, false).ok()
    }

    /// Sends a whole body; answers the status of gRPC, or nothing if the stream broke.
    pub(crate) async fn call(&self, path: &str, body: Bytes) -> Option<String> {
        let (answer, mut stream) = self.open(path).await?;
        let _ = stream.send_data(body, true);
        status(timeout(PATIENCE, answer).await.expect("an answer in time").ok()?).await
    }

    /// Goes away in the midst of everything.
    pub(crate) async fn vanish(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) async fn status(answer: Response<RecvStream>) -> Option<String> {
    let text = |value: &tonic::codegen::http::HeaderValue| value.to_str().ok().map(str::to_owned);
    if let Some(status) = answer.headers().get("grpc-status") {
        return text(status);
    }
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        let _ = body.flow_control().release_capacity(data.ok()?.len());
    }
    text(body.trailers().await.ok()??.get("grpc-status")?)
}

/// A message in gRPC's frame, which says that it has so many bytes.
pub(crate) fn framed(flag: u8, said: u32, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(flag);
    bytes.put_u32(said);
    bytes.put_slice(message);
    bytes.freeze()
}

pub(crate) fn whole(message: &[u8]) -> Bytes {
    framed(0, u32::try_from(message.len()).expect("short"), message)
}
