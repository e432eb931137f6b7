//! One test binary; a module is a subject.

#![allow(clippy::unwrap_used)] // a test that meets an error should stop there

mod architecture;
mod broker;
mod dashboards;
mod decode;
mod dependencies;
mod docker;
mod docs;
mod fhirpath;
mod hl7_examples;
mod navigation;
mod pipeline;
mod proof;
mod rules;
mod runtime;
mod services;
mod sink;
mod support;
mod topology;
