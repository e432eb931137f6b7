//! The log filter, changed while the process runs.
//!
//! In: directives, and for how long. Out: the filter in force; a change for a time is taken back by
//! itself, so that nobody forgets the troubleshooting log on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload;

use super::filter::{BadFilter, LogFilter};
use crate::model::Reveal;

/// The gate through which all lines go, as a layer.
pub(super) type Gate = reload::Layer<Targets, Registry>;

/// Longest time for which a change may be asked: what is to last longer belongs into the start.
pub const LONGEST: Duration = Duration::from_hours(24);

/// Changes the filter of this process; cheap to clone.
#[derive(Clone)]
pub struct LogSwitch {
    gate: reload::Handle<Targets, Registry>,
    reveal: Reveal,
    state: Arc<Mutex<State>>,
}

struct State {
    now: LogFilter,
    /// What a change for a time goes back to, and when.
    back_to: Option<(LogFilter, Instant)>,
    /// Counts the changes, so that one that was overtaken is not taken back.
    changes: u64,
}

/// The filter in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InForce {
    /// Its directives.
    pub filter: String,
    /// The directives that come back by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub then: Option<String>,
    /// In how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl LogSwitch {
    /// A gate with this filter, and what changes it.
    pub(super) fn new(filter: LogFilter, reveal: Reveal) -> (Gate, Self) {
        let (layer, gate) = reload::Layer::new(filter.targets());
        let state = State { now: filter, back_to: None, changes: 0 };
        (layer, Self { gate, reveal, state: Arc::new(Mutex::new(state)) })
    }

    /// What is in force.
    pub fn in_force(&self) -> InForce {
        self.locked().in_force()
    }

    /// Sets the filter: for good, or for a time (at most [`LONGEST`]), after which what was set for
    /// good comes back. The latter must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`BadFilter`]; the former filter stays.
    pub fn set(&self, directives: &str, lasting: Option<Duration>) -> Result<InForce, BadFilter> {
        let filter = LogFilter::parse(directives, self.reveal)?;
        let mut state = self.locked();
        // said while the former filter still lets it through
        tracing::info!(former = %state.now, new = %filter, "the log filter is changed");
        state.changes += 1;
        let standing = match state.back_to.take() {
            Some((standing, _)) => standing,
            None => state.now.clone(),
        };
        state.back_to = lasting.map(|lasting| (standing, Instant::now() + lasting.min(LONGEST)));
        self.let_in(&mut state, filter);
        if let Some((_, at)) = &state.back_to {
            tokio::spawn(self.clone().take_back(state.changes, *at));
        }
        Ok(state.in_force())
    }

    async fn take_back(self, change: u64, at: Instant) {
        tokio::time::sleep_until(at.into()).await;
        let mut state = self.locked();
        if state.changes == change
            && let Some((standing, _)) = state.back_to.take()
        {
            self.let_in(&mut state, standing);
            tracing::info!(filter = %state.now, "the former log filter is back");
        }
    }

    fn let_in(&self, state: &mut State, filter: LogFilter) {
        // fails only once the subscriber is gone, and nobody listens any more
        let _ = self.gate.reload(filter.targets());
        state.now = filter;
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn in_force(&self) -> InForce {
        let left = |at: &Instant| at.saturating_duration_since(Instant::now()).as_secs();
        InForce {
            filter: self.now.to_string(),
            then: self.back_to.as_ref().map(|(standing, _)| standing.to_string()),
            seconds_left: self.back_to.as_ref().map(|(_, at)| left(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch() -> (Gate, LogSwitch) {
        let filter = LogFilter::parse("info", Reveal::Nothing).expect("a filter");
        LogSwitch::new(filter, Reveal::Nothing)
    }

    async fn pass(time: Duration) {
        // the wall clock, since the switch keeps to it
        tokio::time::sleep(time).await;
    }

    #[tokio::test]
    async fn a_change_for_a_time_is_taken_back_by_itself() {
        let (_gate, switch) = switch();
        let before = switch.in_force();
        let told = switch.set("debug", Some(Duration::from_millis(100))).expect("a filter");
        assert_ne!(told.filter, before.filter);
        assert_eq!(told.then.as_ref(), Some(&before.filter));
        pass(Duration::from_millis(400)).await;
        assert_eq!(switch.in_force(), before);
    }

    #[tokio::test]
    async fn what_was_set_for_good_comes_back_after_several_changes_for_a_time() {
        let (_gate, switch) = switch();
        let before = switch.in_force();
        switch.set("debug", Some(Duration::from_millis(100))).expect("a filter");
        let told = switch.set("trace", Some(Duration::from_millis(300))).expect("a filter");
        assert_eq!(told.then, Some(before.filter.clone()));
        pass(Duration::from_millis(200)).await;
        assert_eq!(switch.in_force().filter, told.filter, "the first one was overtaken");
        pass(Duration::from_millis(400)).await;
        assert_eq!(switch.in_force(), before);
    }

    #[tokio::test]
    async fn a_change_for_good_is_not_taken_back_by_an_earlier_one() {
        let (_gate, switch) = switch();
        switch.set("debug", Some(Duration::from_millis(100))).expect("a filter");
        let told = switch.set("warn", None).expect("a filter");
        assert_eq!(told.then, None);
        pass(Duration::from_millis(300)).await;
        assert_eq!(switch.in_force(), told);
    }

    #[tokio::test]
    async fn a_bad_filter_changes_nothing() {
        let (_gate, switch) = switch();
        let before = switch.in_force();
        assert_eq!(switch.set("inof", None), Err(BadFilter));
        assert_eq!(switch.in_force(), before);
    }
}
