//! `rowcast` as a child process, to be waited for, asked to end, and killed.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running `rowcast`; killed when dropped.
pub(crate) struct Rowcast {
    child: Child,
    messages: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl Rowcast {
    /// The command, ready for more arguments and environment.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowcast"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; panics with its messages unless it exits 0.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
        let output = Self::command(arguments).output().expect("rowcast runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "rowcast ended with {}: {said}", output.status);
        output
    }

    /// Starts a command that goes on; its messages are kept.
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// The same with more environment.
    pub(crate) fn start_with<S: AsRef<std::ffi::OsStr>>(
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = Self::command(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("rowcast starts");
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        let listener = std::thread::spawn(move || {
            let mut some = [0; 8192];
            while let Ok(count @ 1..) = stderr.read(&mut some) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(&some[..count]);
            }
        });
        Self { child, messages, listener: Some(listener) }
    }

    /// Everything it said on stderr so far.
    pub(crate) fn messages(&self) -> String {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&messages).into_owned()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end: SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Stops it where it is: SIGSTOP. Its connections stay open and it says nothing more.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Ends [`Self::pause`]: SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().expect("kill runs");
        assert!(status.success(), "rowcast had ended already");
    }

    /// Ends it at once: SIGKILL.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.hear_out();
    }

    /// Whether it ended already, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// Waits for its end; panics with its messages after `within`.
    pub(crate) fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = std::time::Instant::now() + within;
        loop {
            if let Some(status) = self.ended() {
                self.hear_out();
                return status;
            }
            let said = || self.messages();
            assert!(std::time::Instant::now() < deadline, "still runs; it said: {}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn hear_out(&mut self) {
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for Rowcast {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("rowcast said:\n{}", self.messages());
        }
    }
}

/// Runs another program of the test suite (`python3`, a script); panics unless it exits 0.
pub(crate) fn run_program(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not run: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{program} {arguments:?}: {printed}{said}");
    printed.into_owned() + &said
}
