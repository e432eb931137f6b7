//! Connections to the hook endpoint.
//!
//! In: a listening socket and what answers requests. Out: answered requests, until told to stop: then
//! those under way are finished. Connections are bounded, and one that says nothing is closed.

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

/// Connections at a time; more wait with the operating system.
const CONNECTIONS: usize = 1024;
/// Longest time for the head of a request to come, and longest silence of a connection before it.
const HEAD_WITHIN: Duration = Duration::from_mins(1);
/// Longest head of a request, bytes.
const LARGEST_HEAD: usize = 64 << 10;
/// Wait after the operating system gave no connection, for want of files.
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests under way may take once it is to stop.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Serves until `stop`.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
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
        tracing::warn!("hooks under way were not answered in time for the stop");
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
