//! What all requests share: the store, the faults, and the courier of hooks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::runtime::Handle;

use super::document::Document;
use super::export::Export;
use super::hooks;
use super::store::{Key, Refused, Store, Version, Written};
use super::subscription;
use super::{Faults, Hooks, Settings};

/// A server without its listener.
pub(super) struct Shared {
    /// For the tasks that outlive a request.
    own: Weak<Shared>,
    pub(super) base: String,
    pub(super) settings: Settings,
    pub(super) client: reqwest::Client,
    state: Mutex<State>,
}

/// What changes.
pub(super) struct State {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) hooks: Hooks,
    pub(super) chance: fastrand::Rng,
    /// The entries of results that are paged, by the name of the snapshot.
    pub(super) snapshots: HashMap<String, (String, Vec<String>)>,
    pub(super) exports: HashMap<String, Export>,
    pub(super) tokens: HashSet<String>,
    pub(super) asked: Vec<String>,
    /// Events so far, by subscription.
    pub(super) events: BTreeMap<String, u64>,
    /// Where hooks are sent from; none: the server is away.
    courier: Option<Handle>,
}

impl Shared {
    pub(super) fn new(base: String, settings: Settings) -> Arc<Self> {
        // http only, but the client does not begin without
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a client");
        let state = State {
            store: Store::default(),
            faults: Faults::default(),
            hooks: Hooks::default(),
            chance: fastrand::Rng::with_seed(settings.seed),
            snapshots: HashMap::new(),
            exports: HashMap::new(),
            tokens: HashSet::new(),
            asked: Vec::new(),
            events: BTreeMap::new(),
            courier: None,
        };
        let state = Mutex::new(state);
        Arc::new_cyclic(|own| Self { own: own.clone(), base, settings, client, state })
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().expect("nobody panicked"))
    }

    pub(super) fn attach(&self, courier: Handle) {
        self.with(|state| state.courier = Some(courier));
        for key in self.with(|state| subscription::requested(state)) {
            self.activate_later(key);
        }
    }

    /// No hook is sent any more.
    pub(super) fn detach(&self) {
        self.with(|state| state.courier = None);
    }

    /// Hooks that waited are lost, once nothing runs any more.
    pub(super) fn abandon_hooks(&self) {
        self.with(|state| state.hooks.lost += std::mem::take(&mut state.hooks.waiting));
    }

    /// Runs something beside the requests, unless the server is away.
    pub(super) fn beside<F>(&self, task: impl FnOnce(Arc<Self>) -> F) -> bool
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let courier = self.with(|state| state.courier.clone());
        let (Some(courier), Some(own)) = (courier, self.own.upgrade()) else { return false };
        courier.spawn(task(own));
        true
    }

    pub(super) fn put(
        &self,
        key: &Key,
        document: &Document,
        if_match: Option<u64>,
    ) -> Result<Written, Refused> {
        let document = subscription::as_stored(key, document);
        let written =
            self.with(|state| state.store.put(key, &document, if_match, TimeDelta::zero()))?;
        self.tell(&written);
        Ok(written)
    }

    pub(super) fn create(&self, of_type: &str, document: &Document) -> Result<Written, Refused> {
        let key = (of_type.to_owned(), self.with(|state| state.store.next_id()));
        self.put(&key, document, None)
    }

    pub(super) fn delete(&self, key: &Key, if_match: Option<u64>) -> Result<Written, Refused> {
        let written = self.with(|state| state.store.delete(key, if_match, TimeDelta::zero()))?;
        self.tell(&written);
        Ok(written)
    }

    /// Tells the subscribers, if there is anything to tell.
    pub(super) fn tell(&self, written: &Written) {
        let Written::New(version) = written else { return };
        if subscription::is_requested(version) {
            self.activate_later(version.key.clone());
        }
        hooks::tell(self, version);
    }

    fn activate_later(&self, key: Key) {
        let wait = self.settings.activation;
        self.beside(|shared| async move {
            tokio::time::sleep(wait).await;
            let activated = shared.with(|state| -> Option<Version> {
                let current = state.store.latest(&key).filter(|it| subscription::is_requested(it));
                let mut document = current?.document.clone()?;
                document.set("status", "\"active\"");
                let written = state.store.put(&key, &document, None, TimeDelta::zero());
                Some(written.ok()?.version().clone())
            });
            if let Some(version) = activated {
                hooks::activated(&shared, &version);
                hooks::tell(&shared, &version);
            }
        });
    }
}
