//! Patience of a command that somebody waits for.

use crate::error::ErrorClass;
use crate::retry::Backoff;
use crate::sink::SinkError;

/// Attempts while the database is away: about half a minute. What was done stays done, and the
/// command goes on there when it is started again.
const ATTEMPTS: u32 = 8;

/// Tries until it is done, within reason. Whoever was overtaken is told so at once.
///
/// # Errors
/// The last [`SinkError`].
pub(super) async fn patiently<T>(
    work: impl AsyncFn() -> Result<T, SinkError>,
) -> Result<T, SinkError> {
    let mut backoff = Backoff::default();
    loop {
        match work().await {
            Err(error)
                if error.class() == ErrorClass::Retriable
                    && !matches!(error, SinkError::Fenced)
                    && backoff.attempts() < ATTEMPTS =>
            {
                tokio::time::sleep(backoff.next_delay()).await;
            }
            done => return done,
        }
    }
}
