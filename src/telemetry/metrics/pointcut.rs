//! What POINTCUT counts, and the closed lists of its labels.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::registering::Registering;

/// How a request at the hook endpoint was answered: the label `answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookAnswer {
    /// 200: the broker has all that it told.
    Accepted,
    /// 200: it told of nothing that the rules use.
    Ignored,
    /// 400: no JSON, no resource, or another one than its address names.
    Malformed,
    /// 401: without the token.
    Unauthorized,
    /// 403: without a token to be shown, a browser sent it, or it is for another host.
    Forbidden,
    /// 404: its address names no resource.
    NotFound,
    /// 405: neither PUT, POST nor DELETE.
    WrongMethod,
    /// 408: it did not come to its end in time.
    TooSlow,
    /// 413: larger than `source.max_record_bytes`, or than the broker takes.
    TooLarge,
    /// 415: neither JSON nor XML.
    Unsupported,
    /// 503: as many requests as are worked on at a time were there already.
    Busy,
    /// 503: the broker does not have what it told.
    BrokerAway,
    /// 503: what it hinted at could not be read from the FHIR server.
    ServerAway,
}

impl HookAnswer {
    /// All answers.
    pub const ALL: [Self; 13] = [
        Self::Accepted,
        Self::Ignored,
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::WrongMethod,
        Self::TooSlow,
        Self::TooLarge,
        Self::Unsupported,
        Self::Busy,
        Self::BrokerAway,
        Self::ServerAway,
    ];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::WrongMethod => "wrong_method",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::BrokerAway => "broker_away",
            Self::ServerAway => "server_away",
        }
    }

    /// HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted | Self::Ignored => 200,
            Self::Malformed => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::WrongMethod => 405,
            Self::TooSlow => 408,
            Self::TooLarge => 413,
            Self::Unsupported => 415,
            Self::Busy | Self::BrokerAway | Self::ServerAway => 503,
        }
    }
}

/// What became of a hint, or of an entry of a history: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// The broker has the record.
    Written,
    /// The server knows no such resource (any more).
    Unknown,
    /// It cannot be written: without a usable version, not whole, or too large for the topic.
    Refused,
    /// Server or broker are away; catching up will bring it.
    Failed,
}

impl ReadOutcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Written, Self::Unknown, Self::Refused, Self::Failed];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// How catching up with a type ended: the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CatchUpOutcome {
    /// The broker has all of its history.
    Completed,
    /// The FHIR server did not answer, or refused; it is tried again.
    Failed,
}

impl CatchUpOutcome {
    /// All outcomes.
    pub const ALL: [Self; 2] = [Self::Completed, Self::Failed];

    /// Label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// How a subscription at the FHIR server stands: the label `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionState {
    /// The server sends hooks.
    Active,
    /// The server has it and did not activate it yet.
    Requested,
    /// The server gave it up.
    Error,
    /// It was switched off.
    Off,
    /// The server does not have it.
    Missing,
    /// The server could not be asked.
    Unknown,
}

impl SubscriptionState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Active, Self::Requested, Self::Error, Self::Off, Self::Missing, Self::Unknown];

    /// Label value, and the name in commands.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Requested => "requested",
            Self::Error => "error",
            Self::Off => "off",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// The metrics of POINTCUT.
#[derive(Debug)]
pub struct PointcutMetrics {
    requests: IntCounterVec,
    hints: IntCounterVec,
    entries: IntCounterVec,
    catch_ups: IntCounterVec,
    age: IntGauge,
    subscriptions: IntGaugeVec,
}

impl PointcutMetrics {
    /// Registers them, every series at 0.
    pub(super) fn register(to: &mut Registering) -> Self {
        let metrics = Self {
            requests: to.counters(
                "pointcut_requests_total",
                "Requests at the hook endpoint, by how they were answered.",
                &["answer"],
            ),
            hints: to.counters(
                "pointcut_hints_total",
                "Resources of which a hook told no more than that they changed, by what reading them from the FHIR server came to.",
                &["outcome"],
            ),
            entries: to.counters(
                "pointcut_catch_up_entries_total",
                "Entries of the FHIR server's history that were read to catch up.",
                &["outcome"],
            ),
            catch_ups: to.counters(
                "pointcut_catch_ups_total",
                "Readings of a type's history since the last, by how they ended.",
                &["outcome"],
            ),
            age: to.register(
                "gauge",
                IntGauge::new(
                    "rowcast_pointcut_catch_up_age_seconds",
                    "Seconds since the last completed catch-up of the type for which that is longest ago; since the start if there was none.",
                ),
            ),
            subscriptions: to.gauges(
                "pointcut_subscriptions",
                "Subscriptions of ours at the FHIR server, as last seen.",
                &["state"],
            ),
        };
        for answer in HookAnswer::ALL {
            metrics.requests.with_label_values(&[answer.as_str()]);
        }
        for outcome in ReadOutcome::ALL {
            metrics.hints.with_label_values(&[outcome.as_str()]);
            metrics.entries.with_label_values(&[outcome.as_str()]);
        }
        for outcome in CatchUpOutcome::ALL {
            metrics.catch_ups.with_label_values(&[outcome.as_str()]);
        }
        for state in SubscriptionState::ALL {
            metrics.subscriptions.with_label_values(&[state.as_str()]);
        }
        metrics
    }

    /// A request was answered.
    pub fn answered(&self, answer: HookAnswer) {
        self.requests.with_label_values(&[answer.as_str()]).inc();
    }

    /// A hint came to this.
    pub fn hint(&self, outcome: ReadOutcome) {
        self.hints.with_label_values(&[outcome.as_str()]).inc();
    }

    /// Entries of a history came to this.
    pub fn entries(&self, outcome: ReadOutcome, count: usize) {
        self.entries.with_label_values(&[outcome.as_str()]).inc_by(count as u64);
    }

    /// Catching up with a type ended.
    pub fn caught_up(&self, outcome: CatchUpOutcome) {
        self.catch_ups.with_label_values(&[outcome.as_str()]).inc();
    }

    /// How long the oldest of the last completed catch-ups is ago, seconds.
    pub fn catch_up_age(&self, seconds: u64) {
        self.age.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// How our subscriptions stand.
    pub fn subscriptions(&self, states: &[SubscriptionState]) {
        for state in SubscriptionState::ALL {
            let count = states.iter().filter(|it| **it == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.subscriptions.with_label_values(&[state.as_str()]).set(count);
        }
    }
}
