//! POINTCUT: a FHIR server's hooks and history become records of the ingest topic.

mod captures;
mod catch_up;
mod commands;
mod endpoint;
mod ground;
mod hints;
mod server;
mod settings;
mod subscriptions;
mod valve;
