//! What librdkafka says beside its results: its log lines go to `tracing`.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use super::properties::Properties;

/// The log target of everything librdkafka says.
pub(super) const LOG_TARGET: &str = "rowcast::kafka";

/// The context of clients that only need logging.
#[derive(Debug, Clone)]
pub(super) struct LogContext {
    properties: Properties,
}

impl LogContext {
    pub(super) const fn new(properties: Properties) -> Self {
        Self { properties }
    }
}

impl ClientContext for LogContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = self.properties.redact(line);
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(target: LOG_TARGET, facility, "{line}"),
            RDKafkaLogLevel::Warning => tracing::warn!(target: LOG_TARGET, facility, "{line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: LOG_TARGET, facility, "{line}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: LOG_TARGET, facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.properties.redact(reason);
        let code = error.rdkafka_error_code();
        tracing::warn!(target: LOG_TARGET, ?code, "{reason}");
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for LogContext {}
