//! Debian's Chromium without a window, told what to do over a pipe in the DevTools protocol.
//!
//! What a page does is heard from the browser: its requests, and what its console complains of.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Root needs `--no-sandbox`; nothing but the page that a test opens is loaded.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-pipe",
];

/// Which of the two colour schemes the user prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A browser with one page; ended when dropped.
pub(crate) struct Browser {
    child: Child,
    told: ChildStdin,
    heard: Receiver<Value>,
    events: Vec<Value>,
    session: String,
    last: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None`, and a visible `skipped`, where there is none.
    pub(crate) fn start() -> Option<Self> {
        if !super::has_program("chromium") {
            return None;
        }
        let profile = tempfile::tempdir().expect("a folder");
        // the protocol's pipe is what the browser finds at 3 and 4
        let mut child = Command::new("sh")
            .args(["-c", r#"exec chromium "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "chromium"])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let told = child.stdin.take().expect("it is piped");
        let mut said = BufReader::new(child.stdout.take().expect("it is piped"));
        let (passes_on, heard) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while said.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let message = serde_json::from_slice(&std::mem::take(&mut message));
                if passes_on.send(message.expect("the protocol is JSON")).is_err() {
                    return;
                }
            }
        });
        let (events, session) = (Vec::new(), String::new());
        let mut browser = Self { child, told, heard, events, session, last: 0, _profile: profile };
        let target = browser.does("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.does("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.does(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Loads a page and what it asks for; the one that was there does not come again meanwhile.
    pub(crate) fn open(&mut self, url: &str) {
        self.hold();
        self.events.clear();
        let navigated = self.does("Page.navigate", &json!({ "url": url }));
        assert_eq!(navigated["errorText"], Value::Null, "{navigated}");
        self.wait_until_loaded(1);
    }

    /// Waits until pages were loaded so many times since [`Self::open`].
    pub(crate) fn wait_until_loaded(&mut self, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.of("Page.loadEventFired").count() < times {
            self.hear(deadline, "the page is loaded");
        }
    }

    /// Keeps the page that is there: it does not come again by itself until one is opened anew.
    pub(crate) fn hold(&mut self) {
        self.does("Page.stopLoading", &json!({}));
    }

    /// The window's width in CSS pixels, and the colours that its user prefers.
    pub(crate) fn looks(&mut self, width: u32, scheme: Scheme) {
        let window =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false });
        self.does("Emulation.setDeviceMetricsOverride", &window);
        let scheme = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.does("Emulation.setEmulatedMedia", &features);
    }

    /// The value of an expression on the page, which may reload meanwhile: a page that is not all
    /// there is not asked.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let whole = format!("document.readyState === 'complete' ? [{expression}] : []");
        let asked = json!({ "expression": whole, "returnByValue": true });
        super::wait_for(expression, PATIENCE, || {
            let mut answer = self.tries("Runtime.evaluate", &asked).ok()?;
            assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}: {answer}");
            answer["result"]["value"].get_mut(0).map(Value::take)
        })
    }

    /// The page as the browser understood it.
    pub(crate) fn document(&mut self) -> String {
        let document = self.value("document.documentElement.outerHTML");
        document.as_str().expect("a document").to_owned()
    }

    /// What is to be read in the first element that a selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = Value::from(selector);
        let text = self.value(&format!("document.querySelector({selector})?.innerText ?? ''"));
        text.as_str().expect("a text").to_owned()
    }

    /// How many elements a selector finds.
    pub(crate) fn count(&mut self, selector: &str) -> u64 {
        let selector = Value::from(selector);
        let count = self.value(&format!("document.querySelectorAll({selector}).length"));
        count.as_u64().expect("a number")
    }

    /// How much wider the page is than the window, in CSS pixels.
    pub(crate) fn overflow(&mut self) -> f64 {
        let metrics = self.does("Page.getLayoutMetrics", &json!({}));
        let width = |of: &str, name: &str| metrics[of][name].as_f64().expect("a width");
        width("cssContentSize", "width") - width("cssLayoutViewport", "clientWidth")
    }

    /// Saves the whole page as an image: `target/screenshots/NAME.png`.
    pub(crate) fn photograph(&mut self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).expect("a folder");
        let size = self.does("Page.getLayoutMetrics", &json!({}))["cssContentSize"].clone();
        let clip =
            json!({ "x": 0, "y": 0, "scale": 1, "width": size["width"], "height": size["height"] });
        let whole = json!({ "captureBeyondViewport": true, "clip": clip });
        let image = self.does("Page.captureScreenshot", &whole);
        let image = STANDARD.decode(image["data"].as_str().expect("an image")).expect("base64");
        std::fs::write(folder.join(format!("{name}.png")), image).expect("it is written");
    }

    /// The addresses that were asked for since [`Self::open`].
    pub(crate) fn requests(&mut self) -> Vec<String> {
        let urls =
            self.of("Network.requestWillBeSent").map(|event| &event["params"]["request"]["url"]);
        urls.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// What the console complained of since [`Self::open`].
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let kinds = ["Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"];
        let complaints =
            self.events.iter().filter(|event| kinds.iter().any(|kind| event["method"] == *kind));
        complaints.map(|event| event["params"].to_string()).collect()
    }

    fn of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["method"] == method)
    }

    /// Does a command that must succeed; its result.
    fn does(&mut self, method: &str, parameters: &Value) -> Value {
        self.tries(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Does a command; its result, or why not.
    fn tries(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.last += 1;
        let id = self.last;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            command["sessionId"] = self.session.clone().into();
        }
        let mut command = command.to_string().into_bytes();
        command.push(0);
        self.told.write_all(&command).expect("the browser listens");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(mut answer) = self.hear(deadline, method) else { continue };
            if answer["id"] == id {
                return if answer["error"].is_null() {
                    Ok(answer["result"].take())
                } else {
                    Err(answer["error"].take())
                };
            }
        }
    }

    /// The next thing it says: an event is kept, an answer is given.
    fn hear(&mut self, deadline: Instant, what: &str) -> Option<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        let said = self.heard.recv_timeout(left).unwrap_or_else(|error| panic!("{what}: {error}"));
        if said["method"].is_null() {
            return Some(said);
        }
        self.events.push(said);
        None
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
