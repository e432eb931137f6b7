//! A FHIR server of a test's own, faithful to what was seen of HAPI FHIR: versions and deletions,
//! history and paging, subscriptions and the requests they send, transactions, Bulk Data export.
//!
//! In: requests, or calls from the test. Out: answers and hooks, and the state that tables must
//! equal. It keeps everything in memory; hooks can be lost, doubled and delayed, answers refused, and
//! it can go away and come back at the same port. What it does not have: search beyond `_id` and
//! `_lastUpdated`, validation, PATCH, conditional requests.

mod answer;
mod auth;
mod bundle;
mod captured;
mod document;
mod export;
mod hooks;
mod notification;
mod own;
mod recorder;
mod routes;
mod search;
mod settings;
mod shared;
mod store;
mod subscription;
mod transaction;
mod xml;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::TimeDelta;
use rowcast::application::CancellationToken;
use serde_json::Value;

pub(crate) use document::Document;
pub(crate) use settings::{Auth, Dialect, Faults, Paging, Refusing, Settings, Topic};
use shared::Shared;
pub(crate) use store::Key;

use crate::support::wait_for;

/// A running server; ended when dropped.
pub(crate) struct FhirServer {
    port: u16,
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: CancellationToken,
    thread: JoinHandle<()>,
}

/// The newest version of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) version: u64,
    /// None: it is deleted.
    pub(crate) document: Option<Document>,
}

/// What became of the hooks so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// Answered with 2xx, and with a Bundle where one was wanted.
    pub(crate) accepted: usize,
    /// Answered otherwise, or not at all: each try counts.
    pub(crate) failed: usize,
    /// Never sent, because the test wanted it so or the server was away.
    pub(crate) lost: usize,
    /// Sent twice, because the test wanted it so.
    pub(crate) doubled: usize,
    /// Not sent yet.
    pub(crate) waiting: usize,
}

impl FhirServer {
    /// R4, without authentication and faults.
    pub(crate) fn start() -> Self {
        Self::start_with(Settings::default())
    }

    pub(crate) fn start_with(settings: Settings) -> Self {
        let port = quiet_port();
        let shared = Shared::new(format!("http://127.0.0.1:{port}/fhir"), settings);
        let server = Self { port, shared, running: Mutex::new(None) };
        server.come_back();
        server
    }

    /// The base of all its URLs.
    pub(crate) fn url(&self) -> String {
        self.shared.base.clone()
    }

    /// Where client credentials become a token.
    pub(crate) fn token_url(&self) -> String {
        format!("http://127.0.0.1:{}/oauth/token", self.port)
    }

    /// Listens no longer and cuts all connections; hooks that were not sent are lost. What is written
    /// by the test meanwhile is seen by nobody.
    pub(crate) fn go_away(&self) {
        let running = self.running.lock().expect("nobody panicked").take();
        if let Some(Running { stop, thread }) = running {
            self.shared.detach();
            stop.cancel();
            thread.join().expect("it served");
            self.shared.abandon_hooks();
        }
    }

    /// Listens again at the same port, with all that it had.
    pub(crate) fn come_back(&self) {
        let mut running = self.running.lock().expect("nobody panicked");
        if running.is_some() {
            return;
        }
        // the port is of none of the ranges that systems give out by themselves
        let listener = wait_for("the port", Duration::from_secs(20), || {
            TcpListener::bind(("127.0.0.1", self.port)).ok()
        });
        listener.set_nonblocking(true).expect("tokio wants it so");
        let stop = CancellationToken::new();
        let (stopped, shared) = (stop.clone(), Arc::clone(&self.shared));
        let (attached, is_attached) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // dropped with every connection and every hook that waits
            runtime.expect("a runtime").block_on(async move {
                shared.attach(tokio::runtime::Handle::current());
                attached.send(()).expect("it is waited for");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let served = axum::serve(listener, routes::routes(shared));
                tokio::select! {
                    () = stopped.cancelled() => {}
                    ended = async { served.await } => ended.expect("it serves"),
                }
            });
        });
        is_attached.recv().expect("it starts");
        *running = Some(Running { stop, thread });
    }

    /// Changes what goes wrong from now on.
    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        self.shared.with(|state| change(&mut state.faults));
    }

    /// Creates or updates `Type/id`; its version.
    pub(crate) fn put(&self, path: &str, resource: &Value) -> u64 {
        let document = Document::parse(&resource.to_string()).expect("an object");
        let written = self.shared.put(&key(path), &document, None);
        written.expect("no version was asked for").version().number
    }

    /// Deletes `Type/id`, which was there once.
    pub(crate) fn delete(&self, path: &str) {
        self.shared.delete(&key(path), None).expect("it was there once");
    }

    /// A transaction of entries with `request` and, unless they delete, `resource`.
    pub(crate) fn transaction(&self, entries: &[Value]) {
        let bundle = serde_json::json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        let bundle = Document::parse(&bundle.to_string()).expect("an object");
        self.shared.transaction(&bundle).expect("the transaction is one");
    }

    /// Everything that is or was there, subscriptions included.
    pub(crate) fn current(&self) -> BTreeMap<Key, Current> {
        self.shared.with(|state| {
            let current = |version: &store::Version| {
                let (version, key) = (version.clone(), version.key.clone());
                (key, Current { version: version.number, document: version.document })
            };
            state.store.current().map(current).collect()
        })
    }

    /// The active subscriptions' ids.
    pub(crate) fn active_subscriptions(&self) -> Vec<String> {
        self.shared.with(|state| {
            let active = subscription::active(state, &self.shared.settings);
            active.into_iter().map(|subscription| subscription.id).collect()
        })
    }

    /// How many subscriptions there are, active or not.
    pub(crate) fn subscriptions(&self) -> usize {
        self.shared.with(|state| state.store.of_type("Subscription").len())
    }

    /// Somebody else takes all subscriptions away.
    pub(crate) fn delete_subscriptions(&self) {
        let there = self.shared.with(|state| state.store.of_type("Subscription"));
        for version in there {
            self.delete(&version.path());
        }
    }

    /// What became of the hooks.
    pub(crate) fn hooks(&self) -> Hooks {
        self.shared.with(|state| state.hooks)
    }

    /// Waits until no hook is left to be sent.
    pub(crate) fn wait_for_hooks(&self) {
        wait_for("all hooks", Duration::from_mins(1), || (self.hooks().waiting == 0).then_some(()));
    }

    /// Everything was written so much earlier.
    pub(crate) fn age(&self, by: TimeDelta) {
        self.shared.with(|state| state.store.age(by));
    }

    /// The requests it was asked, as `GET /fhir/Patient/_history?_count=5`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.with(|state| state.asked.clone())
    }

    /// No token that was given out is good any more.
    pub(crate) fn forget_tokens(&self) {
        self.shared.with(|state| state.tokens.clear());
    }
}

impl Drop for FhirServer {
    fn drop(&mut self) {
        self.go_away();
    }
}

fn key(path: &str) -> Key {
    let (of_type, id) = path.split_once('/').expect("Type/id");
    (of_type.to_owned(), id.to_owned())
}

/// A port that no client is given while nobody listens on it for a while, and that nobody else of
/// these tests has.
pub(crate) fn quiet_port() -> u16 {
    const FIRST: u16 = 13_000;
    const COUNT: u16 = 7000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..)));
    loop {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
