//! rowcast: FHIR changes from a Kafka topic become guarded rows in a relational database.
//!
//! Most use it as a command, `rowcast run`. A program may also embed it, with the same guarantees
//! and with [`Transformer`](transform::Transformer)s of its own beside the rules or instead of
//! them:
//!
//! ```no_run
//! use rowcast::Application;
//! use rowcast::application::{ApplicationError, CancellationToken};
//! use rowcast::error::Refusal;
//! use rowcast::model::{Catalog, Change, ColumnType, ResourceRows, RootTable, Value};
//! use rowcast::transform::{Rows, Transformer};
//!
//! /// A row for each patient: how long the id is.
//! struct Lengths(Catalog);
//!
//! impl Transformer for Lengths {
//!     fn catalog(&self) -> &Catalog {
//!         &self.0
//!     }
//!
//!     fn transform(&self, change: &Change) -> Result<Vec<ResourceRows>, Box<Refusal>> {
//!         let Some(mut rows) = Rows::of(&self.0, 0, change) else { return Ok(Vec::new()) };
//!         let length = i64::try_from(change.resource.id.len()).unwrap_or(i64::MAX);
//!         rows.root([Value::Int(length)]);
//!         Ok(vec![rows.finish()])
//!     }
//! }
//!
//! # async fn embed() -> Result<(), ApplicationError> {
//! let table = RootTable::new("Patient", "lengths").column("letters", ColumnType::Int);
//! let rowcast = Application::load("topology.yaml")?.transformer(Lengths(table.into()));
//! let stop = CancellationToken::new(); // cancel it to settle what is in hand and end
//! rowcast.run(None, stop).await
//! # }
//! ```
//!
//! `examples/custom_transformer.rs` is a whole program with its topology: it creates its tables,
//! appends a record, runs and ends. rowcast tells what it does through `tracing`; without a
//! subscriber it is silent.
//!
//! The modules are read in the order a record travels; see ARCHITECTURE.md.

// they panic when nobody reads any more; `cli/print.rs` does not
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod application;
pub mod broker;
pub mod cli;
pub mod dead_letter;
pub mod error;
pub mod fhir_server;
mod http_client;
mod http_server;
pub mod load;
pub mod model;
pub mod plan;
pub mod pointcut;
pub mod problem;
pub mod registry;
pub mod retry;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod topology;
pub mod transform;

pub use application::Application;
