//! Random histories of a FHIR server: creates, updates, deletions, undeletions, transactions, and
//! what changes nothing.

use serde_json::{Value, json};

use crate::fhir_server::FhirServer;

/// Writes to a server at random; the same seed writes the same.
pub(super) struct Writer<'s> {
    server: &'s FhirServer,
    chance: fastrand::Rng,
    written: u32,
}

/// How much is tried.
pub(super) struct Scale {
    histories: u64,
    /// The first of them.
    seed: u64,
    /// How long a server is away, in seconds.
    pub(super) away: u64,
    /// How often a process is killed.
    pub(super) kills: usize,
}

/// Few enough that histories meet.
const IDS: usize = 12;

impl Scale {
    pub(super) fn of_environment() -> Self {
        let number = |name: &str, usual: u64| {
            std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
        };
        Self {
            histories: number("ROWCAST_POINTCUT_HISTORIES", 1),
            seed: number("ROWCAST_POINTCUT_SEED", 1),
            away: number("ROWCAST_POINTCUT_AWAY", 3),
            kills: usize::try_from(number("ROWCAST_POINTCUT_KILLS", 3)).expect("a few"),
        }
    }

    /// Whether it may take its time.
    pub(super) fn is_long(&self) -> bool {
        self.away >= 60
    }

    pub(super) fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed + self.histories
    }
}

impl<'s> Writer<'s> {
    pub(super) fn new(server: &'s FhirServer, seed: u64) -> Self {
        println!("history of seed {seed}");
        Self { server, chance: fastrand::Rng::with_seed(seed), written: 0 }
    }

    pub(super) fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    /// The same, over some time.
    pub(super) fn steps_over(&mut self, count: u32, time: std::time::Duration) {
        for _ in 0..count {
            self.step();
            std::thread::sleep(time / count);
        }
    }

    fn step(&mut self) {
        self.written += 1;
        let id = format!("p{}", self.chance.usize(0..IDS));
        let path = format!("Patient/{id}");
        match self.chance.u32(0..100) {
            0..40 => drop(self.server.put(&path, &self.patient(&id))),
            40..60 => {
                let of = format!("o{}", self.chance.usize(0..IDS));
                self.server.put(&format!("Observation/{of}"), &self.observation(&of, &id));
            }
            60..80 => self.delete(&path),
            80..85 => {
                // the same twice: the second is nothing new
                let patient = self.patient(&id);
                self.server.put(&path, &patient);
                self.server.put(&path, &patient);
            }
            _ => self.transaction(),
        }
    }

    fn delete(&self, path: &str) {
        if self.is_known(path) {
            self.server.delete(path);
        }
    }

    /// Some resources at once, a deletion among them.
    fn transaction(&mut self) {
        let mut ids: Vec<usize> = (0..IDS).collect();
        self.chance.shuffle(&mut ids);
        let mut entries = Vec::new();
        for n in &ids[..3] {
            let (id, of) = (format!("p{n}"), format!("o{n}"));
            entries.push(entry(&format!("Patient/{id}"), &self.patient(&id)));
            entries.push(entry(&format!("Observation/{of}"), &self.observation(&of, &id)));
        }
        let gone = format!("Patient/p{}", ids[3]);
        if self.is_known(&gone) {
            entries.push(deletion(&gone));
        }
        self.server.transaction(&entries);
    }

    fn is_known(&self, path: &str) -> bool {
        let (of_type, id) = path.split_once('/').expect("Type/id");
        self.server.current().contains_key(&(of_type.to_owned(), id.to_owned()))
    }

    fn patient(&self, id: &str) -> Value {
        let gender = if self.written.is_multiple_of(3) { "male" } else { "female" };
        patient(id, &format!("F{}", self.written), gender)
    }

    fn observation(&self, id: &str, of: &str) -> Value {
        json!({
            "resourceType": "Observation", "id": id, "status": "final",
            "code": { "text": format!("C{}", self.written) },
            "subject": { "reference": format!("Patient/{of}") },
        })
    }
}

/// A patient with as many names as its family name is long.
pub(super) fn patient(id: &str, family: &str, gender: &str) -> Value {
    let names: Vec<_> =
        (0..family.len()).map(|n| json!({ "family": format!("{family}-{n}") })).collect();
    json!({ "resourceType": "Patient", "id": id, "name": names, "gender": gender })
}

/// A transaction that puts patients and deletes another.
pub(super) fn transaction_of(put: &[&str], deleted: &str) -> Vec<Value> {
    let mut entries: Vec<_> =
        put.iter().map(|id| entry(&format!("Patient/{id}"), &patient(id, "T", "other"))).collect();
    entries.push(deletion(&format!("Patient/{deleted}")));
    entries
}

fn entry(path: &str, resource: &Value) -> Value {
    json!({ "resource": resource, "request": { "method": "PUT", "url": path } })
}

fn deletion(path: &str) -> Value {
    json!({ "request": { "method": "DELETE", "url": path } })
}
