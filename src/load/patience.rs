//! How long a server that is away is waited for.

use std::time::{Duration, Instant};

use crate::error::ErrorClass;
use crate::fhir_server::FhirServerError;
use crate::retry::Backoff;

/// How long one request is repeated: a server restarts within minutes. Whoever starts the load again
/// goes on where it was.
const LONGEST: Duration = Duration::from_mins(5);

/// The patience with one request.
pub(super) struct Patience {
    backoff: Backoff,
    until: Instant,
}

impl Patience {
    pub(super) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));
        Self { backoff, until: Instant::now() + LONGEST }
    }

    /// Waits before the request is made again.
    ///
    /// # Errors
    /// The error itself, if it does not heal or was waited for long enough.
    pub(super) async fn wait(&mut self, error: FhirServerError) -> Result<(), FhirServerError> {
        let now = Instant::now();
        if error.class() != ErrorClass::Retriable || now >= self.until {
            return Err(error);
        }
        let wished = error.retry_after().unwrap_or_default();
        let delay = self.backoff.next_delay().max(wished);
        // a server that asks for longer than that is asked once more then
        tokio::time::sleep(delay).await;
        Ok(())
    }
}
