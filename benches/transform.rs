//! What it costs to make rows of a document, on one core, beside what it costs to parse it.
//!
//! Only ratios within one run tell anything about the code: the parser alone, on the same bytes,
//! says how fast the machine is at that moment. `parse and transform` is what a record costs before
//! it meets the database; broker and database are not measured here. With `--turns` the stages take
//! turns and the least time of each is printed, which other work on the machine disturbs least.

mod documents;

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Bencher, Criterion, Throughput};
use rowcast::model::{
    Change, Document, DocumentLimits, Offset, Operation, Origin, Record, ResourceKey,
    TopicPartition, Version,
};
use rowcast::source::{DecodeSettings, Decoder};
use rowcast::transform::{RuleSet, Transformer};
use serde_json::Value;

use documents::{explanation_of_benefit, observation, patient};

const PATIENT_RULES: &str = include_str!("rules/patient.json");
const OBSERVATION_RULES: &str = include_str!("../topology/rules/observation.json");
const PATIENT_VIEW: &str = include_str!("rules/patient-view.json");
const CLAIM_RULES: &str = include_str!("rules/explanation-of-benefit.json");

/// As in the command.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One document and the rules it is to be transformed by.
struct Case {
    name: String,
    bytes: Bytes,
    rules: RuleSet,
}

fn main() {
    let stages = [
        Case::new("Patient", &patient(), PATIENT_RULES),
        Case::new("Patient, a view", &patient(), PATIENT_VIEW),
        Case::new("Observation", &observation(), OBSERVATION_RULES),
        Case::new("ExplanationOfBenefit of 450 kB", &explanation_of_benefit(450_000), CLAIM_RULES),
    ];
    let sizes = [3, 30, 300].map(|kilobytes| {
        let name = format!("ExplanationOfBenefit of {kilobytes} kB");
        Case::new(&name, &explanation_of_benefit(kilobytes * 1_000), CLAIM_RULES)
    });
    let mut arguments = std::env::args().skip(1);
    if arguments.any(|argument| argument == "--turns") {
        let wanted = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
        let cases = stages.iter().chain(&sizes);
        cases.filter(|case| case.name.starts_with(&wanted)).for_each(Case::turns);
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    for case in &stages {
        case.stages(&mut criterion);
    }
    // The cost is linear if bytes per second stay the same.
    for case in &sizes {
        case.size(&mut criterion);
    }
    criterion.final_summary();
}

impl Case {
    fn new(name: &str, document: &Value, rules: &str) -> Self {
        let bytes = Bytes::from(document.to_string());
        let rules = RuleSet::load(&[("rules.json".to_owned(), rules.to_owned())])
            .expect("the rules are good");
        let case = Self { name: name.to_owned(), bytes, rules };
        let rows = case.rules.transform(&case.change()).expect("the document fits its rules");
        let sets = rows.into_iter().flat_map(|rows| rows.row_sets.expect("the document matches"));
        let rows: usize = sets.map(|set| set.rows.len()).sum();
        println!("{name}: {} bytes become {rows} rows", case.bytes.len());
        case
    }

    /// Each stage by itself, and the parsers alone.
    fn stages(&self, criterion: &mut Criterion) {
        let record = self.record();
        let decoder = Decoder::new(DecodeSettings::default());
        let change = self.change();
        let mut group = criterion.benchmark_group(&self.name);
        group.throughput(Throughput::Elements(1));
        group.bench_function("serde_json alone", |bencher| {
            bencher.iter(|| serde_json::from_slice::<Value>(black_box(&self.bytes)).expect("JSON"));
        });
        group.bench_function("sonic-rs alone", |bencher| {
            bencher.iter(|| {
                sonic_rs::from_slice::<sonic_rs::Value>(black_box(&self.bytes)).expect("JSON")
            });
        });
        group.bench_function("parse", |bencher| bencher.iter(|| self.parse()));
        group.bench_function("decode", |bencher| {
            bencher.iter(|| decoder.decode(black_box(&record)).expect("a change"));
        });
        group.bench_function("transform", |bencher| {
            bencher.iter(|| self.rules.transform(black_box(&change)).expect("rows"));
        });
        group.bench_function("parse and transform", |bencher| self.parse_and_transform(bencher));
        group.finish();
    }

    /// The least time of each stage in many short rounds, taken in turns.
    fn turns(&self) {
        const ROUNDS: usize = 60;
        let (change, mut parsed) = (self.change(), self.change());
        let stages: &mut [(&str, &mut dyn FnMut())] = &mut [
            ("sonic-rs alone", &mut || {
                let value = sonic_rs::from_slice::<sonic_rs::Value>(black_box(&self.bytes));
                drop(black_box(value.expect("JSON")));
            }),
            ("parse", &mut || drop(black_box(self.parse()))),
            ("transform", &mut || {
                drop(black_box(self.rules.transform(black_box(&change)).expect("rows")));
            }),
            ("parse and transform", &mut || {
                parsed.operation = upsert(self.parse());
                drop(black_box(self.rules.transform(&parsed).expect("rows")));
            }),
        ];
        let mut least = [Duration::MAX; 4];
        for _ in 0..ROUNDS {
            for ((_, stage), least) in stages.iter_mut().zip(&mut least) {
                *least = (*least).min(mean(stage));
            }
        }
        println!("{}", self.name);
        for ((stage, _), least) in stages.iter().zip(least) {
            println!("  {stage:<20} {:>9.2} us", least.as_secs_f64() * 1e6);
        }
    }

    /// Bytes per second of both together.
    fn size(&self, criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("linear");
        group.throughput(Throughput::Bytes(self.bytes.len() as u64));
        group.bench_function(&self.name, |bencher| self.parse_and_transform(bencher));
        group.finish();
    }

    fn parse_and_transform(&self, bencher: &mut Bencher<'_>) {
        let mut change = self.change();
        bencher.iter(|| {
            change.operation = upsert(self.parse());
            self.rules.transform(&change).expect("rows")
        });
    }

    fn parse(&self) -> Document {
        Document::parse(black_box(&self.bytes), DocumentLimits::default()).expect("JSON")
    }

    fn change(&self) -> Change {
        let document = self.parse();
        let text = |member| document.text(member).expect("a resource").into();
        Change {
            timestamp: None,
            resource: ResourceKey { resource_type: text("resourceType"), id: text("id") },
            operation: upsert(document),
            origin: Origin {
                source: TopicPartition::new("changes", 0),
                offset: Offset(0),
                index: 0,
            },
        }
    }

    fn record(&self) -> Record {
        Record {
            source: TopicPartition::new("changes", 0),
            offset: Offset(0),
            timestamp: None,
            key: None,
            value: Some(self.bytes.clone()),
            headers: Vec::new(),
        }
    }
}

fn upsert(document: Document) -> Operation {
    Operation::Upsert { version: Version::new(1).expect("positive"), document }
}

/// What a stage takes, over a round of some milliseconds: short enough to go undisturbed at times.
fn mean(stage: &mut dyn FnMut()) -> Duration {
    const ROUND: Duration = Duration::from_millis(1);
    let mut times = 1;
    loop {
        let begun = Instant::now();
        (0..times).for_each(|_| stage());
        let taken = begun.elapsed();
        if taken >= ROUND {
            return taken / times;
        }
        times *= 2;
    }
}
