//! TLS before a server of a test, with an authority of the test's own.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rowcast::application::CancellationToken;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// An authority that nobody trusts who was not told to.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = authority.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(authority, key), pem }
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Serves at a port of its own, with a certificate for this machine, what the server at `port`
    /// answers.
    pub(crate) fn before(&self, port: u16) -> Tls {
        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        let certificate = names.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        // as the client does; whoever is first
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certificate.der().clone()], key);
        Tls::start(TlsAcceptor::from(Arc::new(config.expect("they belong together"))), port)
    }
}

/// TLS before a server; ended when dropped.
pub(crate) struct Tls {
    port: u16,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Tls {
    fn start(acceptor: TlsAcceptor, behind: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("tokio wants it so");
        let port = listener.local_addr().expect("it is bound").port();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            super::block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                loop {
                    let accepted = tokio::select! {
                        () = stopped.cancelled() => return,
                        accepted = listener.accept() => accepted,
                    };
                    let (stream, _) = accepted.expect("a connection");
                    tokio::spawn(pass_on(acceptor.clone(), stream, behind));
                }
            });
        });
        Self { port, stop, thread: Some(thread) }
    }

    /// This address, with a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

async fn pass_on(acceptor: TlsAcceptor, stream: TcpStream, behind: u16) {
    // a client that does not trust us breaks off here
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", behind)).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
