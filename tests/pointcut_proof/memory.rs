//! How much memory a process has, looked at from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::Rowcast;

/// Looks at the memory of a process until it is asked.
pub(super) struct Memory {
    process: u32,
    stop: Arc<AtomicBool>,
    looking: std::thread::JoinHandle<Vec<u64>>,
}

impl Memory {
    pub(super) fn watch(run: &Rowcast) -> Self {
        let (process, stop) = (run.id(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let looking = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                seen.extend(status(process, "VmRSS"));
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        Self { process, stop, looking }
    }

    /// MiB: after a quarter of the time, and the most there ever was.
    pub(super) fn most(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.looking.join().expect("it looked");
        let early = seen.get(seen.len() / 4).copied().unwrap_or(0);
        let most = status(self.process, "VmHWM").or(seen.iter().max().copied());
        (early / 1024, most.expect("it was seen") / 1024)
    }
}

/// KiB.
fn status(process: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
