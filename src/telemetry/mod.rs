//! What an operator sees: metrics, health and logs.
//!
//! Names and counts only. No record key, resource id, payload value or error text of a database
//! becomes a label, a field or a page; the troubleshooting log shows values after an explicit opt-in.

pub mod filter;
pub mod health;
pub mod http;
pub mod logs;
pub mod metrics;
mod page;
mod readings;
mod repeats;
pub mod state;
pub mod switch;
pub mod token;
pub mod troubleshooting;
