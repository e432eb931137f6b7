//! One test binary; a module is a subject.

#![allow(clippy::unwrap_used)] // a test that meets an error should stop there

mod architecture;
mod avro;
mod broker;
mod canary;
mod cases;
mod circuits;
mod dashboards;
mod decode;
mod dependencies;
mod docker;
mod docs;
mod embedding;
mod explain;
mod fhirpath;
mod formats;
mod fuzz;
mod hl7_examples;
mod letters;
mod load;
mod log;
mod navigation;
mod ownership;
mod panics;
mod pipeline;
mod pointcut;
mod proof;
mod rebuild;
mod refusals;
mod replay;
mod retry;
mod rules;
mod runtime;
mod schema;
mod services;
mod sink;
mod sql_on_fhir;
mod support;
mod throughput;
mod topology;
mod unwritable;
mod views;
