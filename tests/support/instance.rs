//! A server of one test's own, to be stopped, killed, frozen and started again.

use std::process::{Command, Stdio};

/// Kafka, PostgreSQL or MariaDB, started by its script in `tests/services`; removed when dropped.
pub(crate) struct Instance {
    script: String,
    name: String,
    address: String,
    environment: Vec<(&'static str, String)>,
}

impl Instance {
    /// Starts a new one.
    pub(crate) fn start(script: &str, kind: &str) -> Self {
        Self::start_with(script, kind, Vec::new())
    }

    /// The same; its script finds this in its environment.
    pub(crate) fn start_with(
        script: &str,
        kind: &str,
        environment: Vec<(&'static str, String)>,
    ) -> Self {
        let (script, name) = (script.to_owned(), super::unique(kind));
        let mut instance = Self { script, name, address: String::new(), environment };
        instance.address = instance.run("start");
        instance
    }

    /// Bootstrap servers, or the database's url. Stays the same over restarts.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What its script, or the server itself, keeps in this file.
    pub(crate) fn note(&self, file: &str) -> String {
        let state = std::env::var("ROWCAST_TEST_STATE").expect("the services' state");
        let path = std::path::Path::new(&state).join(&self.name).join(file);
        std::fs::read_to_string(path).expect("it is there").trim().to_owned()
    }

    /// Ends it in order.
    pub(crate) fn stop(&self) {
        self.run("stop");
    }

    /// Ends it with SIGKILL: what was not on the disk is lost.
    pub(crate) fn kill(&self) {
        self.run("kill");
    }

    /// Starts it again with its data.
    pub(crate) fn start_again(&self) {
        assert_eq!(self.run("start"), self.address);
    }

    /// Stops and starts it with its data.
    pub(crate) fn restart(&self) {
        assert_eq!(self.run("restart"), self.address);
    }

    /// Connections stay open and nothing is answered any more.
    pub(crate) fn freeze(&self) {
        self.run("freeze");
    }

    /// Ends [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.run("thaw");
    }

    fn run(&self, action: &str) -> String {
        let output = Command::new(&self.script)
            .args([action, &self.name])
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .output()
            .expect("the service script runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {action}: {said}", self.script);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Not `run`: a panic while panicking would end the whole test binary.
        let _ = Command::new(&self.script)
            .args(["remove", &self.name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
