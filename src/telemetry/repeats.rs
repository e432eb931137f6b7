//! Repeated log lines are limited.
//!
//! In: the lines of INFO and above that the filter lets through. Out: the first few of a kind within a
//! period; when it is over, one line says how many alike were left out. Lines are alike if they come
//! from one place in the code and their fields in [`TRAITS`] agree: closed sets all of them, and never
//! what may differ from record to record, so that a topic full of refused records is a few kinds.
//! What is said below INFO was asked for and is not limited, nor is what stands in [`UNLIMITED`].
//! Memory is bounded by [`MOST_KINDS`] and the number of places in the code that log.

use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{logs, troubleshooting};

/// The target of the lines that say how many were left out. It passes every filter: the lines it
/// speaks of did.
pub(super) const TARGET: &str = "rowcast::log";

/// Never limited: what was asked for by name, and what a process says but once.
const UNLIMITED: [&str; 3] = [troubleshooting::TARGET, logs::START, logs::END];

/// Counted from the first line of a kind. Long enough that an hour of trouble stays readable, short
/// enough that nobody waits long for what was left out.
const PERIOD: Duration = Duration::from_mins(1);

/// How often it is looked whether a period is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Fields that tell kinds apart: each has few values.
const TRAITS: [&str; 8] =
    ["stage", "cause", "component", "table", "topic", "resource_type", "facility", "code"];

/// Kinds that are told apart by their traits; those beyond are told apart by their place in the code
/// alone. Some 300 bytes each.
const MOST_KINDS: usize = 1000;

/// Longest message and longest trait that are kept, in bytes.
const MOST_BYTES: usize = 200;

/// The layer that leaves lines out; cheap to clone.
#[derive(Clone)]
pub(super) struct RepeatLimit(Arc<Mutex<Repeats>>);

impl RepeatLimit {
    /// Lets `allowed` lines of a kind through in each period.
    pub(super) fn new(allowed: u32) -> Self {
        Self(Arc::new(Mutex::new(Repeats { allowed, kinds: HashMap::new() })))
    }

    /// Tells what was left out, each time a period is over, as long as the process lives.
    pub(super) fn keep_telling(&self) {
        let limit = self.clone();
        // a thread of its own: a runtime that is stuck is when one reads logs
        let told = std::thread::Builder::new().name("log-repeats".to_owned()).spawn(move || {
            loop {
                std::thread::sleep(LOOK_EVERY);
                let over = limit.locked().over(Instant::now());
                over.iter().for_each(LeftOut::tell);
            }
        });
        if let Err(error) = told {
            tracing::warn!(%error, "repeated log lines are left out without a word");
        }
    }

    /// Tells at once what was left out until now: the process ends.
    pub(super) fn finish(&self) {
        let all = self.locked().all();
        all.iter().for_each(LeftOut::tell);
    }

    fn locked(&self) -> MutexGuard<'_, Repeats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RepeatLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if !is_limited(event.metadata()) {
            return true;
        }
        let line = Line::of(event);
        self.locked().admits(line, Instant::now())
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO && !UNLIMITED.contains(&metadata.target())
}

/// What lines have in common that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    place: Identifier,
    traits: [Option<String>; TRAITS.len()],
}

/// A line, as far as it is looked at.
#[derive(Debug, Clone)]
struct Line {
    kind: Kind,
    level: Level,
    target: String,
    message: String,
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let kind = Kind { place: metadata.callsite(), traits: Default::default() };
        let mut line = Self {
            kind,
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            message: String::new(),
        };
        event.record(&mut line);
        line
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let kept = match field.name() {
            "message" => &mut self.message,
            // a library that logs by the `log` crate
            "log.target" => {
                self.target.clear();
                &mut self.target
            }
            name => match TRAITS.iter().position(|known| *known == name) {
                Some(place) => self.kind.traits[place].insert(String::new()),
                None => return,
            },
        };
        let _ = write!(Short(kept), "{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// A text that takes no more than [`MOST_BYTES`].
struct Short<'a>(&'a mut String);

impl std::fmt::Write for Short<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = MOST_BYTES.saturating_sub(self.0.len());
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(std::fmt::Error) } else { Ok(()) }
    }
}

/// A kind in its period.
struct Period {
    since: Instant,
    told: u32,
    left_out: u64,
    first: Line,
}

struct Repeats {
    allowed: u32,
    kinds: HashMap<Kind, Period>,
}

impl Repeats {
    /// Whether a line is let through.
    fn admits(&mut self, mut line: Line, now: Instant) -> bool {
        if self.kinds.len() >= MOST_KINDS && !self.kinds.contains_key(&line.kind) {
            line.kind.traits = Default::default();
        }
        let period = self.kinds.entry(line.kind.clone()).or_insert_with(|| Period {
            since: now,
            told: 0,
            left_out: 0,
            first: line,
        });
        if period.told < self.allowed {
            period.told += 1;
            return true;
        }
        period.left_out += 1;
        false
    }

    /// Ends the periods that are over. A period goes on until it is ended here, so that no count is
    /// lost between the two.
    fn over(&mut self, now: Instant) -> Vec<LeftOut> {
        self.end(|period| now.saturating_duration_since(period.since) >= PERIOD)
    }

    /// Ends all periods.
    fn all(&mut self) -> Vec<LeftOut> {
        self.end(|_| true)
    }

    fn end(&mut self, is_over: impl Fn(&Period) -> bool) -> Vec<LeftOut> {
        let over = self.kinds.extract_if(|_, period| is_over(period));
        let over = over.filter(|(_, period)| period.left_out > 0);
        over.map(|(_, period)| LeftOut { count: period.left_out, line: period.first }).collect()
    }
}

/// Lines that were left out: how many, and what they were like.
#[derive(Debug)]
struct LeftOut {
    count: u64,
    line: Line,
}

impl LeftOut {
    /// Says so, at the level of the lines themselves.
    fn tell(&self) {
        const SAID: &str = "more lines like this were left out";
        let Line { kind, level, target: of, message: like } = &self.line;
        let [stage, cause, component, table, topic, resource_type, facility, code] =
            kind.traits.each_ref().map(Option::as_deref);
        let left_out = self.count;
        match *level {
            Level::ERROR => {
                tracing::error!(target: TARGET, left_out, of, like, stage, cause, component, table, topic, resource_type, facility, code, "{SAID}");
            }
            Level::WARN => {
                tracing::warn!(target: TARGET, left_out, of, like, stage, cause, component, table, topic, resource_type, facility, code, "{SAID}");
            }
            _ => {
                tracing::info!(target: TARGET, left_out, of, like, stage, cause, component, table, topic, resource_type, facility, code, "{SAID}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Line>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("not poisoned").push(Line::of(event));
        }
    }

    /// The lines that are said, and pass the limit if there is one.
    fn heard(limit: Option<&RepeatLimit>, say: impl FnOnce()) -> Vec<Line> {
        let heard = Heard::default();
        let all = tracing_subscriber::registry().with(limit.cloned()).with(heard.clone());
        tracing::subscriber::with_default(all, say);
        std::mem::take(&mut *heard.0.lock().expect("not poisoned"))
    }

    fn dead_letters(cause: &'static str, partition: i32, error: &str) -> Line {
        let say = || tracing::warn!(stage = "sink", cause, partition, error, "dead letters");
        heard(None, say).pop().expect("a line")
    }

    fn repeats(allowed: u32) -> Repeats {
        Repeats { allowed, kinds: HashMap::new() }
    }

    #[test]
    fn the_first_few_of_a_kind_are_told_and_the_number_of_the_others_once_the_period_is_over() {
        let (mut repeats, begin) = (repeats(3), Instant::now());
        let line = dead_letters("invalid_json", 0, "");
        for second in 0..2 {
            let now = begin + second * PERIOD;
            let told = (0..1000).filter(|_| repeats.admits(line.clone(), now)).count();
            assert_eq!(told, 3);
            assert!(repeats.over(now + Duration::from_secs(59)).is_empty());
            let over = repeats.over(now + PERIOD);
            assert_eq!(over.iter().map(|left_out| left_out.count).collect::<Vec<_>>(), [997]);
        }
        assert!(repeats.kinds.is_empty());
    }

    #[test]
    fn what_repeats_after_its_period_but_before_anybody_looked_is_counted_too() {
        let (mut repeats, begin) = (repeats(1), Instant::now());
        let line = dead_letters("invalid_json", 0, "");
        for second in [0, 30, 61, 62] {
            repeats.admits(line.clone(), begin + Duration::from_secs(second));
        }
        let over = repeats.over(begin + Duration::from_secs(63));
        assert_eq!(over.first().map(|left_out| left_out.count), Some(3));
    }

    #[test]
    fn another_cause_is_another_kind_but_neither_is_another_partition_or_error() {
        let (mut repeats, now) = (repeats(1), Instant::now());
        assert!(repeats.admits(dead_letters("invalid_json", 0, "a"), now));
        assert!(repeats.admits(dead_letters("too_large", 0, "a"), now));
        assert!(!repeats.admits(dead_letters("invalid_json", 1, "a"), now));
        assert!(!repeats.admits(dead_letters("invalid_json", 0, "b"), now));
    }

    #[test]
    fn any_number_of_kinds_takes_bounded_memory_and_every_line_is_told_or_counted() {
        const LINES: usize = 50 * MOST_KINDS;
        let (mut repeats, now) = (repeats(1), Instant::now());
        let line = dead_letters("invalid_json", 0, "");
        let mut told = 0;
        for number in 0..LINES {
            let mut line = line.clone();
            line.kind.traits[0] = Some(number.to_string());
            told += u64::from(repeats.admits(line, now));
        }
        assert!(repeats.kinds.len() <= MOST_KINDS + 1);
        let left_out: u64 = repeats.all().iter().map(|left_out| left_out.count).sum();
        assert_eq!(told + left_out, LINES as u64);
    }

    #[test]
    fn what_was_asked_for_and_what_is_said_once_is_never_limited() {
        let limit = RepeatLimit::new(1);
        let lines = heard(Some(&limit), || {
            for _ in 0..100 {
                tracing::info!(target: troubleshooting::TARGET, "by name");
                tracing::warn!(target: logs::START, "a warning");
                tracing::error!(target: logs::END, "the end");
                tracing::debug!("below INFO");
            }
        });
        assert_eq!(lines.len(), 400);
    }

    #[test]
    fn what_is_left_out_is_told_with_its_level_place_and_traits() {
        for (say, level) in [
            (
                Box::new(|| tracing::error!(cause = "refused", "gone")) as Box<dyn Fn()>,
                Level::ERROR,
            ),
            (Box::new(|| tracing::warn!(cause = "refused", "gone")), Level::WARN),
            (Box::new(|| tracing::info!(cause = "refused", "gone")), Level::INFO),
        ] {
            let limit = RepeatLimit::new(2);
            let lines = heard(Some(&limit), || {
                (0..5).for_each(|_| say());
                limit.finish();
                limit.finish();
            });
            let [first, second, last] = lines.as_slice() else { panic!("{lines:?}") };
            assert_eq!((&*first.message, &*second.message), ("gone", "gone"));
            assert_eq!((last.level, &*last.target), (level, TARGET));
            assert_eq!(last.kind.traits[1].as_deref(), Some("refused"));
        }
    }

    #[test]
    fn a_long_message_is_kept_in_part() {
        let long = "ä".repeat(MOST_BYTES);
        let lines = heard(None, || tracing::info!(table = long, "{long}"));
        let kept = lines.first().expect("a line");
        assert_eq!(kept.message.len(), MOST_BYTES);
        assert_eq!(kept.kind.traits[3].as_ref().map(String::len), Some(MOST_BYTES));
    }
}
