//! Connections of those who call.
//!
//! In: a listening socket and what answers requests. Out: answered requests, until told to stop: then
//! those under way are finished. Connections are bounded, and one that says nothing is closed, whoever
//! it is: this comes before any token is looked at.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest time for the head of a request to come, and longest silence of a connection before it.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// Longest head of a request, bytes.
const LARGEST_HEAD: usize = 64 << 10;
/// Wait after the operating system gave no connection, for want of files.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take once it is to stop.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Serves until `stop`. `most`: connections at a time; more wait with the operating system.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(most));
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stop) = (router.clone(), stop.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    serve_connection(stream, router, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(END_WITHIN, connections.wait()).await.is_err() {
        tracing::warn!("requests under way were not answered in time for the stop");
    }
}

async fn serve_connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    // answers are small: they must not wait for more
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // a client that breaks off, or sends what is no HTTP, is its own business
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;

    use axum::body::{Body, Bytes};
    use axum::routing::get;
    use futures_util::stream;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    async fn start(most: usize) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let never = || async { Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()) };
        let router = Router::new().route("/", get(|| async { "well" })).route("/never", get(never));
        let stop = CancellationToken::new();
        (address, stop.clone(), tokio::spawn(serve(listener, router, most, stop)))
    }

    async fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(bytes).await.expect("it is sent");
        stream
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn more_connections_than_are_served_wait_for_one_to_end() {
        let (address, _stop, _serving) = start(1).await;
        let mut first = send(address, REQUEST).await;
        assert_eq!(answer(&mut first).await, "HTTP/1.1 200 OK");
        let mut second = send(address, REQUEST).await;
        let early = tokio::time::timeout(Duration::from_millis(300), second.readable()).await;
        assert!(early.is_err(), "it is served beside the first");
        drop(first);
        assert_eq!(answer(&mut second).await, "HTTP/1.1 200 OK");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
        let (address, _stop, _serving) = start(1).await;
        for begun in [&b""[..], b"GET / HTTP/1.1\r\nHost: local"] {
            let mut slow = send(address, begun).await;
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(HEAD_WITHIN * 2, slow.read_to_end(&mut answer));
            assert!(closed.await.is_ok(), "still open");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_never_answered_does_not_hold_up_the_stop_for_ever() {
        let (address, stop, serving) = start(1).await;
        let mut under_way = send(address, b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        // its answer has begun
        assert_eq!(answer(&mut under_way).await, "HTTP/1.1 200 OK");
        stop.cancel();
        let ended = tokio::time::timeout(END_WITHIN * 2, serving).await;
        assert!(ended.is_ok(), "still serving");
    }
}
