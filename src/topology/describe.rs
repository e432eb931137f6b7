//! The topology for eyes and tools: text in the manner of Kafka Streams' `TopologyDescription`,
//! Mermaid for documents, JSON for programs.
//!
//! In: a valid topology. Out: its stages and where records go from each. No secrets, no figures;
//! whoever has live figures joins them by the stages' names.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

use super::{PointcutSettings, RetrySettings, SourceTopic, Topology};
use crate::dead_letter::RetryPolicy;
use crate::retry::Strategy;
use crate::sink::Keying;

/// What a topology does, stage by stage, in the order a record travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// Name, and consumer group.
    pub name: String,
    /// Which configuration this is: see [`Topology::config_hash`].
    pub config_hash: String,
    /// The stages.
    pub stages: Vec<DescribedStage>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DescribedStage {
    /// Name, unique in the topology.
    pub name: &'static str,
    /// What it does with records.
    pub kind: StageKind,
    /// Its settings, in the order to be shown.
    #[serde(serialize_with = "as_mapping")]
    pub settings: Vec<(&'static str, String)>,
    /// Names of the stages that records go on to.
    pub successors: Vec<&'static str>,
}

/// What a stage does with records: Kafka Streams' three kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// Brings them in.
    Source,
    /// Makes something of them.
    Processor,
    /// Takes them out.
    Sink,
}

impl StageKind {
    const fn title(self) -> &'static str {
        match self {
            Self::Source => "Source",
            Self::Processor => "Processor",
            Self::Sink => "Sink",
        }
    }
}

/// Why writing into a string is expected to succeed.
const STRING: &str = "a string takes whatever is written";

const DEAD_LETTER: &str = "dead-letter";

const RETRY: &str = "retry";

impl Topology {
    /// Whether the source reads this topic.
    #[must_use]
    pub fn reads(&self, topic: &str) -> bool {
        self.topics.iter().any(|read| read.selector.selects(topic))
    }

    /// Describes the topology.
    #[must_use]
    pub fn describe(&self) -> Description {
        let rules: Vec<&str> = self.rules.iter().map(|(name, _)| name.as_str()).collect();
        let batch = format!(
            "{} records, {}, {}",
            self.batch.rows,
            bytesize::ByteSize::b(self.batch.bytes as u64).display().iec(),
            humantime::format_duration(self.batch.linger),
        );
        let retry = self.retry.as_ref().map(retry_stage);
        let mut stages: Vec<_> = self.pointcut.iter().map(pointcut_stage).collect();
        stages.extend([
            stage(
                "source",
                StageKind::Source,
                vec![
                    ("topics", format!("[{}]", self.each_topic(|topic| topic.selector.as_str()))),
                    ("broker", self.broker.shown()),
                    ("keyed", (self.keying == Keying::Keyed).to_string()),
                ],
                vec!["decode"],
            ),
            stage(
                "decode",
                StageKind::Processor,
                vec![
                    ("format", self.alike_or_each(|topic| topic.format.as_str())),
                    ("version", self.alike_or_each(|topic| topic.version_from.as_str())),
                ],
                vec!["transform", DEAD_LETTER],
            ),
            stage(
                "transform",
                StageKind::Processor,
                vec![("rules", format!("[{}]", rules.join(", ")))],
                vec!["plan", DEAD_LETTER],
            ),
            stage("plan", StageKind::Processor, vec![("batch", batch)], vec!["sink", DEAD_LETTER]),
            stage(
                "sink",
                StageKind::Sink,
                vec![
                    ("database", self.sink.shown()),
                    ("connections", self.sink.transactions().to_string()),
                ],
                retry.iter().map(|_| RETRY).chain([DEAD_LETTER]).collect(),
            ),
        ]);
        stages.extend(retry);
        stages.push(stage(
            DEAD_LETTER,
            StageKind::Sink,
            vec![
                ("topic", self.dead_letter.topic.clone()),
                ("max_ratio", self.dead_letter.max_ratio.to_string()),
            ],
            Vec::new(),
        ));
        Description { name: self.name.clone(), config_hash: self.config_hash.clone(), stages }
    }

    /// What is said of each topic, in their order.
    fn each_topic<'t>(&'t self, said: impl Fn(&'t SourceTopic) -> &'t str) -> String {
        self.topics.iter().map(said).collect::<Vec<_>>().join(", ")
    }

    /// The same once if it is the same of all topics.
    fn alike_or_each<'t>(&'t self, said: impl Fn(&'t SourceTopic) -> &'t str) -> String {
        match self.topics.split_first() {
            Some((first, rest)) if rest.iter().all(|other| said(other) == said(first)) => {
                said(first).to_owned()
            }
            _ => format!("[{}]", self.each_topic(said)),
        }
    }
}

impl Description {
    /// A Mermaid flowchart.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for stage in &self.stages {
            let (open, close) = match stage.kind {
                StageKind::Source => ("([", "])"),
                StageKind::Processor => ("[", "]"),
                StageKind::Sink => ("[(", ")]"),
            };
            let mut label = format!("<b>{}</b>", stage.name);
            for (key, value) in &stage.settings {
                write!(label, "<br/>{key}: {}", escaped(value)).expect(STRING);
            }
            writeln!(out, "    {}{open}\"{label}\"{close}", stage.name).expect(STRING);
        }
        for stage in &self.stages {
            for successor in &stage.successors {
                let arrow = match *successor {
                    DEAD_LETTER => "-. refused .->",
                    RETRY => "-. not yet .->",
                    _ => "-->",
                };
                writeln!(out, "    {} {arrow} {successor}", stage.name).expect(STRING);
            }
        }
        out
    }

    fn predecessors(&self, name: &str) -> Vec<&'static str> {
        let leads_here = |stage: &&DescribedStage| stage.successors.contains(&name);
        self.stages.iter().filter(leads_here).map(|stage| stage.name).collect()
    }
}

/// The text of Kafka Streams' `TopologyDescription`, with each stage's settings in parentheses.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Topology: {} (config: {})", self.name, self.config_hash)?;
        writeln!(f, "  Sub-topology: 0")?;
        for stage in &self.stages {
            let settings: Vec<String> =
                stage.settings.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            writeln!(f, "    {}: {} ({})", stage.kind.title(), stage.name, settings.join(", "))?;
            if !stage.successors.is_empty() {
                writeln!(f, "      --> {}", stage.successors.join(", "))?;
            }
            let predecessors = self.predecessors(stage.name);
            if !predecessors.is_empty() {
                writeln!(f, "      <-- {}", predecessors.join(", "))?;
            }
        }
        Ok(())
    }
}

fn pointcut_stage(settings: &PointcutSettings) -> DescribedStage {
    let types: Vec<&str> = settings.types.iter().map(String::as_str).collect();
    let types = match types.as_slice() {
        [] => "those of the rules".to_owned(),
        types => format!("[{}]", types.join(", ")),
    };
    stage(
        "pointcut",
        StageKind::Source,
        vec![
            ("server", settings.server.base.to_string()),
            ("types", types),
            ("hooks", settings.listen.to_string()),
            ("topic", settings.topic.clone()),
        ],
        vec!["source"],
    )
}

fn retry_stage(settings: &RetrySettings) -> DescribedStage {
    let RetryPolicy { maximum_attempts, schedule, causes } = &settings.policy;
    let causes: Vec<&str> = causes.iter().map(|cause| cause.as_str()).collect();
    let shown = |delay| humantime::format_duration(delay).to_string();
    stage(
        RETRY,
        StageKind::Processor,
        vec![
            ("topic", settings.topic.clone()),
            ("maximum_attempts", maximum_attempts.to_string()),
            ("delay", shown(schedule.delay)),
            ("maximum_delay", shown(schedule.maximum_delay)),
            ("strategy", strategy_name(schedule.strategy).to_owned()),
            ("causes", format!("[{}]", causes.join(", "))),
        ],
        vec!["decode", DEAD_LETTER],
    )
}

fn stage(
    name: &'static str,
    kind: StageKind,
    settings: Vec<(&'static str, String)>,
    successors: Vec<&'static str>,
) -> DescribedStage {
    DescribedStage { name, kind, settings, successors }
}

fn as_mapping<S: Serializer>(
    settings: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(settings.iter().map(|(key, value)| (key, value)))
}

const fn strategy_name(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Constant => "constant",
        Strategy::Exponential => "exponential",
    }
}

/// A value inside a quoted Mermaid label, with Mermaid's own character codes.
fn escaped(value: &str) -> String {
    value
        .replace('#', "#35;")
        .replace('&', "#amp;")
        .replace('"', "#quot;")
        .replace('<', "#lt;")
        .replace('>', "#gt;")
}
