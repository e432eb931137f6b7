//! One test binary; a module is a subject.

mod dependencies;
mod docker;
mod topology;
mod decode;
mod architecture;
mod proof;
mod services;
mod support;
mod fhirpath;
mod rules;
