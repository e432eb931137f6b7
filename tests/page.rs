//! The state page as its reader has it before them: in a real browser, wide and narrow, light and
//! dark, in each state that an operator meets. Its pictures are in `target/screenshots`.

use serde_json::{Value, json};

use crate::support::browser::{Browser, Scheme};
use crate::support::pipeline::{Pipeline, RULES, Ready, SOON, patient};
use crate::support::{self, Postgres, http, wait_for};

/// What a browser would run if it were taken for markup.
const MARKUP: &str = "<img src=x onerror=alert(1)>";

const TOKEN: &str = "open-sesame-16-or-more";

/// The least contrast of text that everybody can read: WCAG 2.2, level AA.
const CONTRAST: f64 = 4.5;

/// The texts of the page with less contrast than `least` to what is behind them.
const FAINT: &str = r"(least => {
  const channels = colour => colour.match(/[\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const colour = getComputedStyle(element).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
    return element.parentElement ? behind(element.parentElement) : 'rgb(255, 255, 255)';
  };
  const shown = [...document.body.querySelectorAll('*')].filter(element =>
    [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
  return shown.map(element => {
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent];
  }).filter(([contrast]) => contrast < least);
})";

/// Waits until the instance has this condition, and its sentence holds this.
fn wait_for_state(pipeline: &Pipeline, condition: &str, sentence: &str) -> Value {
    wait_for(&format!("{condition}: {sentence}"), SOON, || {
        let state = http::request(pipeline.port(), "GET", "/api/v1/state", Some(TOKEN), "")?;
        let state: Value = serde_json::from_str(&state.body).ok()?;
        let told = state["sentence"].as_str()?.contains(sentence);
        (state["condition"] == condition && told).then_some(state)
    })
}

/// A running instance's page, opened as a person would: with the token as the password.
struct Opened {
    browser: Browser,
    address: String,
}

impl Opened {
    fn of(pipeline: &Pipeline) -> Option<Self> {
        let mut browser = Browser::start()?;
        let address = format!("127.0.0.1:{}/", pipeline.port());
        browser.looks(1280, Scheme::Light);
        browser.open(&format!("http://anybody:{TOKEN}@{address}"));
        Some(Self { browser, address })
    }

    /// The page, opened anew, says this; it is held, judged and photographed.
    fn shows(&mut self, name: &str, sentence: &str, next: Option<&str>) {
        let browser = &mut self.browser;
        wait_for(&format!("a page that says {sentence}"), SOON, || {
            browser.open(&format!("http://{}", self.address));
            browser.hold();
            browser.text(".state").contains(sentence).then_some(())
        });
        assert_eq!(browser.text(".state code"), next.unwrap_or_default());
        for (width, scheme, look) in [
            (1280, Scheme::Light, "wide"),
            (1280, Scheme::Dark, "dark"),
            (400, Scheme::Light, "narrow"),
            (400, Scheme::Dark, "narrow-dark"),
        ] {
            browser.looks(width, scheme);
            let over = browser.overflow();
            assert!(over < 1.0, "{name}: {over} wider than the window of {width}");
            let faint = browser.value(&format!("{FAINT}({CONTRAST})"));
            assert_eq!(faint, json!([]), "{name}: too faint where {look}");
            browser.photograph(&format!("{name}-{look}"));
        }
        browser.looks(1280, Scheme::Light);
        self.keeps_to_itself();
    }

    /// Nothing but its own address was asked for, nothing ran, nothing was complained of.
    fn keeps_to_itself(&mut self) {
        for request in self.browser.requests() {
            let asked = request.rsplit(['/', '@']).nth(1).map(|host| format!("{host}/"));
            assert_eq!(asked.as_ref(), Some(&self.address), "asked for {request}");
        }
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
        for absent in ["script", "img", "iframe", "object", "form", "link", "[onerror]"] {
            assert_eq!(self.browser.count(absent), 0, "{absent}");
        }
    }

    /// The cells of the table under a heading, row by row.
    fn table(&mut self, heading: &str) -> Vec<Vec<String>> {
        let heading = Value::from(heading);
        let cells = self.browser.value(&format!(
            "[...document.querySelector(`[aria-labelledby=${{{heading}}}]`).tBodies[0].rows]
               .map(row => [...row.cells].map(cell => cell.innerText))"
        ));
        serde_json::from_value(cells).expect("texts")
    }
}

/// Records that are refused for five causes; each is full of markup.
fn refused() -> Vec<String> {
    let cities = json!({ "address": [{ "city": MARKUP }, { "city": MARKUP }] });
    let document = |document: Value| json!({ "key": MARKUP, "value": document }).to_string();
    vec![
        patient("canary-1", 1, &cities),
        patient("canary-2", 1, &cities),
        patient("canary-3", 1, &cities),
        patient("canary-4", 1, &json!({ "birthDate": MARKUP })),
        patient("canary-5", 1, &json!({ "birthDate": MARKUP })),
        // no server gives such an id
        patient(MARKUP, 1, &json!({ "gender": MARKUP })),
        document(json!({ "resourceType": MARKUP, "id": MARKUP })),
        document(json!({ MARKUP: MARKUP })),
    ]
}

#[test]
fn the_page_shows_each_state_in_a_browser_and_keeps_to_itself() {
    let Some(kafka) = support::requires_kafka() else { return };
    let Some(server) = support::requires_own_postgres() else { return };
    let database = Postgres::at(server.address()).database("page");
    let more = "batch: { rows: 20 }\ndead_letter: { max_ratio: 1 }";
    let topic = kafka.topic("page", 3);
    let pipeline = Pipeline::servers(kafka.servers(), topic, database, RULES, more);
    pipeline.create_tables();
    let _run = pipeline.start(&["run", "--set", &format!("http.token={TOKEN}")]);
    pipeline.wait_until_ready(Ready::Yes);
    let patients = |numbers: std::ops::Range<usize>| -> Vec<String> {
        numbers.map(|n| patient(&format!("p{n}"), 1, &json!({}))).collect()
    };
    let next =
        |command: &str| format!("rowcast {command} --topology {}", pipeline.path("topology.yaml"));

    pipeline.produce(&patients(0..300));
    pipeline.wait_for_patients(300);
    wait_for("a lag of 0 in each partition", SOON, || {
        let state = wait_for_state(&pipeline, "up_to_date", "Up to date");
        (state["lag"] == 0 && state["partitions"].as_array()?.len() == 3).then_some(())
    });
    let Some(mut page) = Opened::of(&pipeline) else { return };
    page.shows("healthy", "Up to date, and nothing was refused since this instance started.", None);
    assert!(page.browser.document().contains("300 received"));
    assert_eq!(page.table("lag").len(), 3, "a row for each partition");

    // far longer than it takes to look at it, however slow the machine; the end of it is told
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$;
        CREATE TRIGGER slow AFTER INSERT ON patient FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    pipeline.execute(slow);
    pipeline.produce(&patients(300..4300));
    wait_for_state(&pipeline, "catching_up", " to go if no more came");
    page.shows("backlog", "records behind at", None);
    let behind = page.table("lag");
    assert!(behind.iter().any(|row| row[3].parse::<u64>().is_ok_and(|lag| lag > 0)), "{behind:?}");
    pipeline.execute("DROP TRIGGER slow ON patient");
    pipeline.wait_for_patients(4300);

    server.stop();
    pipeline.produce(&patients(4300..4301));
    wait_for_state(&pipeline, "waiting", "Waiting for the database");
    page.shows("database-down", "Waiting for the database", Some(&next("check")));
    let checks = page.table("checks");
    let wrong: Vec<_> = checks.iter().filter(|check| check[1] != "good").collect();
    assert_eq!(wrong.len(), 1, "{checks:?}");
    assert_eq!(wrong[0][0], "database");
    server.start_again();
    pipeline.wait_for_patients(4301);

    pipeline.produce(&refused());
    wait_for_state(&pipeline, "refused", "8 records were refused");
    page.shows(
        "dead-letters",
        "most of them as multiple_values",
        Some(&next("dead-letters summary")),
    );
    let letters = page.table("dead-letters");
    let counted: Vec<_> = letters
        .iter()
        .map(|row| (row[0].as_str(), row[1].lines().next().unwrap(), row[2].as_str()))
        .collect();
    assert_eq!(
        counted,
        [
            ("transform", "multiple_values", "3"),
            ("transform", "type_mismatch", "2"),
            ("decode", "missing_id", "1"),
            ("decode", "unknown_format", "1"),
            ("decode", "unknown_resource_type", "1"),
        ]
    );
    let document = page.browser.document();
    for absent in ["onerror", "canary"] {
        assert!(!document.contains(absent), "nothing of a record is on the page: {document}");
    }
}

#[test]
fn a_name_that_looks_like_markup_stays_text_in_a_browser() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let named = |ending: &str| pipeline.path(&format!("{MARKUP}.{ending}"));
    std::fs::write(named("json"), RULES).expect("rules of that name");
    let topology = std::fs::read_to_string(pipeline.path("topology.yaml")).expect("it is there");
    std::fs::write(named("yaml"), topology.replace("rules.json", &format!("'{MARKUP}.json'")))
        .expect("a topology of that name");
    let token = format!("http.token={TOKEN}");
    let _run = support::Rowcast::start(&["run", "--topology", &named("yaml"), "--set", &token]);
    pipeline.wait_until_ready(Ready::Yes);
    let Some(mut page) = Opened::of(&pipeline) else { return };
    assert!(page.browser.text(".state").contains("Up to date, "));
    pipeline.produce(&[patient(MARKUP, 1, &json!({}))]);
    wait_for("the page that comes again by itself", SOON, || {
        page.browser.text(".state").contains("1 record was refused").then_some(())
    });
    let next = format!("rowcast dead-letters summary --topology {}", named("yaml"));
    page.shows("markup", "1 record was refused since the start, as missing_id.", Some(&next));
    assert!(
        page.browser.text("ol").contains(&format!("{MARKUP}.json")),
        "the rules' name as it is"
    );
    assert_eq!(page.browser.document().matches("onerror").count(), 2, "two names, and no id");
}

#[test]
fn the_page_tells_those_who_cannot_see_it_what_its_parts_are() {
    let pipeline = Pipeline::embedded(RULES, "");
    pipeline.create_tables();
    let _run = pipeline.start(&["run", "--set", &format!("http.token={TOKEN}")]);
    pipeline.wait_until_ready(Ready::Yes);
    pipeline.produce(&[patient("p", 1, &json!({ "birthDate": "no date" }))]);
    wait_for_state(&pipeline, "refused", "1 record was refused");
    let Some(Opened { mut browser, .. }) = Opened::of(&pipeline) else { return };
    assert_eq!(browser.value("document.documentElement.lang"), "en");
    assert_eq!(browser.value("document.title.split(' · ')[0]"), "Refusals");
    for (one, of) in
        [(1, "main"), (1, "h1"), (0, "th:not([scope])"), (0, "table:not([aria-labelledby])")]
    {
        assert_eq!(browser.count(of), one, "{of}");
    }
    let unnamed = "[...document.querySelectorAll('[aria-labelledby]')]
        .filter(part => !document.getElementById(part.getAttribute('aria-labelledby'))?.innerText).length";
    assert_eq!(browser.value(unnamed), 0, "every part's name is there to be read");
    assert!(browser.text(".state").starts_with("Up to date but"), "words besides the colour");
}
