//! Records become changes.
//!
//! In: a record as the broker gave it. Out: the changes it says, or a refusal with its cause. One
//! file per message format. Pure; it never reads a server, never guesses a version.
