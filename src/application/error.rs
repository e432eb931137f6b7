//! Why an application does not start or run.

use thiserror::Error;

use crate::broker::BrokerError;
use crate::plan::SchemaProblem;
use crate::pointcut::PointcutError;
use crate::problem::Problem;
use crate::runtime::RunError;
use crate::sink::SinkError;

/// Why an application does not start or run. Messages hold no payload and no secret.
#[derive(Debug, Error)]
pub enum ApplicationError {
    /// Topology, rules or transformers are wrong: all that was found, never empty.
    #[error("{}", lines(.0))]
    Configuration(Vec<Problem>),
    /// The broker refused.
    #[error("the broker refused")]
    Broker(#[from] BrokerError),
    /// A topic that is to be written to is missing, and the broker does not let us create it.
    #[error("the topic `{topic}` is missing and cannot be created; create it with {settings}")]
    Topic {
        /// Its name.
        topic: String,
        /// The topic properties it needs.
        settings: String,
        /// Why.
        #[source]
        source: BrokerError,
    },
    /// The database refused.
    #[error("the database refused")]
    Sink(#[from] SinkError),
    /// The live tables do not fit the catalog: all that was found, warnings included.
    #[error("{}", lines(.0))]
    Schema(Vec<SchemaProblem>),
    /// Tables belong to other topologies: all of them, each with what to do.
    #[error("{}", lines(.0))]
    Claimed(Vec<String>),
    /// The address for metrics and health is not to be had.
    #[error(
        "http.listen {listen}{}",
        if source.kind() == std::io::ErrorKind::AddrInUse {
            " is taken, perhaps by another rowcast: choose another `http.listen`"
        } else {
            ""
        }
    )]
    Http {
        /// `http.listen`.
        listen: std::net::SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// POINTCUT does not start, or ended by itself.
    #[error("POINTCUT ended")]
    Pointcut(#[from] PointcutError),
    /// Documents are transformed on tokio's worker threads, and there are none.
    #[error("a run needs tokio's multi-threaded runtime")]
    SingleThreaded,
    /// The run ended by itself.
    #[error("the run ended")]
    Run(#[from] RunError),
}

fn lines(problems: &[impl ToString]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
