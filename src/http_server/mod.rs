//! What the addresses that others call have in common.
//!
//! It knows neither what is served nor who may have it: whoever listens decides.

pub(crate) mod caller;
mod connections;

pub(crate) use connections::serve;
