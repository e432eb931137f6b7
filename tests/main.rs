//! One test binary; a module is a subject.

mod architecture;
mod decode;
mod dependencies;
mod docker;
mod fhirpath;
mod pipeline;
mod proof;
mod rules;
mod services;
mod support;
mod topology;
mod broker;
mod sink;
