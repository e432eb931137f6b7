//! What an operator sees: metrics, health and logs.
//!
//! Names and counts only. No record key, resource id, payload value or error text of a database
//! becomes a label, a field or a page.

pub mod health;
pub mod http;
mod labels;
pub mod logs;
pub mod metrics;
mod registering;

pub use registering::Family;
