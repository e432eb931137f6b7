//! rowcast: FHIR changes from a Kafka topic become guarded rows in a relational database.
//!
//! The modules are read in the order a record travels; see ARCHITECTURE.md.

pub mod application;
pub mod broker;
pub mod cli;
pub mod dead_letter;
pub mod error;
pub mod model;
pub mod plan;
pub mod problem;
pub mod retry;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod telemetry;
pub mod topology;
pub mod transform;

pub use application::Application;
