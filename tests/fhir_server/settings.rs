//! What a server is like, and what goes wrong with it.

use std::ops::Range;
use std::time::Duration;

/// What it is like for its whole life.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) dialect: Dialect,
    pub(crate) auth: Auth,
    /// How the pages of a history are linked.
    pub(crate) paging: Paging,
    /// Largest page, whatever `_count` says.
    pub(crate) largest_page: usize,
    /// From `requested` to `active`; HAPI takes seconds.
    pub(crate) activation: Duration,
    /// Topics that subscriptions may name, besides those of `SubscriptionTopic` resources.
    pub(crate) topics: Vec<Topic>,
    /// How often an export says that it is not done.
    pub(crate) export_polls: u32,
    /// Resources in a file of an export.
    pub(crate) export_lines: usize,
    /// Of all chances that are taken.
    pub(crate) seed: u64,
}

/// FHIR version, which also is the form of topic notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    R4,
    /// Subscriptions as in R4, notifications as in R5.
    R4B,
    R5,
}

/// Who may ask. `/metadata` is for everybody.
#[derive(Debug, Clone)]
pub(crate) enum Auth {
    None,
    Basic { user: String, password: String },
    Bearer { token: String },
    ClientCredentials { id: String, secret: String },
}

/// How a page names the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    /// `_offset=5`: what is written meanwhile moves the pages, as HAPI 8.8 does with histories.
    Offset,
    /// `?_getpages=...`: a snapshot under an opaque name, as HAPI does with searches.
    Snapshot,
}

/// A topic of subscriptions.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) url: String,
    /// The types whose changes it is about, deletions included.
    pub(crate) types: Vec<String>,
}

/// What goes wrong at present.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Share of hooks that are never sent: 0 to 1.
    pub(crate) lose: f64,
    /// Share of hooks that are sent twice.
    pub(crate) double: f64,
    /// Each hook waits so long, by chance: a wide range changes the order.
    pub(crate) delay: Range<Duration>,
    /// How often a hook is sent again that was refused, a little later. HAPI: never.
    pub(crate) retries: u32,
    /// Asked for anything, it answers so.
    pub(crate) refusing: Option<Refusing>,
    /// Each answer takes so long.
    pub(crate) latency: Duration,
    /// `lastUpdated` of what a transaction writes lies so far back when it becomes visible.
    pub(crate) backdated: Duration,
}

/// An answer instead of the right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusing {
    pub(crate) status: u16,
    /// Seconds.
    pub(crate) retry_after: Option<u32>,
    /// Of so many requests: 0 to 1.
    pub(crate) share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dialect: Dialect::R4,
            auth: Auth::None,
            paging: Paging::Offset,
            largest_page: 200,
            activation: Duration::from_millis(50),
            topics: Vec::new(),
            export_polls: 2,
            export_lines: 1000,
            seed: 7,
        }
    }
}
