//! A server of HTTP on a thread of its own, for as long as a test wants it.

use std::net::TcpListener;
use std::thread::JoinHandle;

use axum::Router;
use rowcast::application::CancellationToken;

/// A running server; ended when dropped.
pub(crate) struct Serving {
    port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Serves these routes at this port of this machine; 0: at any that is free.
    pub(crate) fn start(port: u16, routes: Router) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        listener.set_nonblocking(true).expect("tokio wants it so");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            super::block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let served = axum::serve(listener, routes);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    ended = async { served.await } => ended.expect("it serves"),
                }
            });
        });
        Self { port, stop, thread: Some(thread) }
    }

    /// Where it listens.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
