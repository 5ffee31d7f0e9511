//! The provenance of one Slurm job.
//!
//! | thing | becomes |
//! |---|---|
//! | the job, its steps, their ranks | activities; each started by the one that holds it |
//! | script and files | entities, one for each content of a path; the script is the job's plan |
//! | the owner | an agent (`prov:Person`), associated with every activity |
//! | Slurm, `mizard` | software agents that acted on behalf of the owner |
//! | the record | an entity attributed to `mizard` |
//!
//! A step that uses what another step made was informed by it. What a file was *derived*
//! from is not stated: seeing that a program read one file and wrote another proves nothing.

mod input;

use std::collections::BTreeMap;
use std::path::Path;

use mizar_core::ids::{JobId, Rank, StepId};

use crate::document::{Activity, Attributes, Document, RelationKind, Value};
use crate::name::{QualifiedName, escape};
use crate::time::Timestamp;

pub use input::{FileProvenance, JobProvenance, RankProvenance, ScriptProvenance, StepProvenance};

/// The namespace of the types and attributes that Mizar adds.
pub const VOCABULARY: &str = "urn:mizar:vocabulary:1:";
/// Hexadecimal digits of a SHA-256 that go into a file's name.
const DIGEST_DIGITS: usize = 16;

/// Makes the document of a job.
#[must_use]
pub fn document(record: &JobProvenance) -> Document {
    let mut writer = Writer::new(record);
    writer.agents();
    writer.job();
    for step in &record.steps {
        writer.step(step);
    }
    writer.files();
    writer.document
}

/// The name of a job's activity: `job:<id>`, with `.r<count>` once it was requeued.
#[must_use]
pub fn job_name(id: JobId, restart_count: u32) -> QualifiedName {
    QualifiedName::new("job", &job_local(id.0, restart_count))
}

fn job_local(id: u32, restart_count: u32) -> String {
    match restart_count {
        0 => id.to_string(),
        count => format!("{id}.r{count}"),
    }
}

struct Writer<'r> {
    record: &'r JobProvenance,
    document: Document,
    job: QualifiedName,
    user: QualifiedName,
}

impl<'r> Writer<'r> {
    fn new(record: &'r JobProvenance) -> Self {
        let cluster = match record.cluster.as_str() {
            "" => "unknown".to_owned(),
            name => escape(name),
        };
        let prefixes = [
            ("mizar", VOCABULARY.to_owned()),
            ("job", format!("urn:mizar:job:{cluster}:")),
            ("file", format!("urn:mizar:file:{cluster}:/")),
            ("user", format!("urn:mizar:user:{cluster}:")),
            ("software", "urn:mizar:software:".to_owned()),
        ];
        let prefixes = prefixes.map(|(prefix, uri)| (prefix.to_owned(), uri));
        let user = match record.user.as_str() {
            "" => format!("uid{}", record.uid),
            name => name.to_owned(),
        };
        Self {
            record,
            document: Document {
                prefixes: prefixes.into(),
                ..Document::default()
            },
            job: job_name(JobId(record.id), record.restart_count),
            user: QualifiedName::new("user", &user),
        }
    }

    fn agents(&mut self) {
        let mut person = Described::of("prov", "Person");
        person
            .text("prov:label", &self.record.user)
            .value("mizar:uid", self.record.uid);
        self.document
            .agents
            .insert(self.user.clone(), person.attributes);
        let watched_by = software("mizard", &self.record.mizard_version);
        let run_by = software("slurm", &self.record.slurm_version);
        for (name, label, version) in [
            (&watched_by, "mizard", &self.record.mizard_version),
            (&run_by, "Slurm", &self.record.slurm_version),
        ] {
            let mut agent = Described::of("prov", "SoftwareAgent");
            agent
                .text("prov:label", label)
                .text("mizar:version", version);
            self.document.agents.insert(name.clone(), agent.attributes);
            let elements = [Some(name), Some(&self.user), Some(&self.job)];
            self.document
                .relate(RelationKind::ActedOnBehalfOf, elements, None);
        }
        self.document.relate(
            RelationKind::WasAssociatedWith,
            [Some(&self.job), Some(&run_by)],
            None,
        );
        let kept = QualifiedName::new("job", &format!("{}.record", self.job.local()));
        let mut attributes = Described::of("mizar", "JobRecord");
        attributes.text("prov:label", &format!("record of job {}", self.record.id));
        self.document
            .entities
            .insert(kept.clone(), attributes.attributes);
        self.document.relate(
            RelationKind::WasAttributedTo,
            [Some(&kept), Some(&watched_by)],
            None,
        );
    }

    fn job(&mut self) {
        let record = self.record;
        let mut described = Described::of("mizar", "Job");
        described
            .text("prov:label", &record.name)
            .value("mizar:job_id", record.id)
            .text("mizar:cluster", &record.cluster)
            .text("mizar:partition", &record.partition)
            .text("mizar:account", &record.account)
            .text("mizar:nodes", &record.nodes);
        if record.restart_count > 0 {
            described.value("mizar:restart_count", record.restart_count);
        }
        self.activity(&self.job.clone(), record.start_ns, record.end_ns, described);
        let script = record.script.as_ref().map(|script| self.script(script));
        let elements = [Some(&self.job), Some(&self.user), script.as_ref()];
        self.document
            .relate(RelationKind::WasAssociatedWith, elements, None);
        if let Some(script) = script {
            let start = Some(Timestamp(record.start_ns));
            let elements = [Some(&self.job), Some(&script)];
            self.document.relate(RelationKind::Used, elements, start);
        }
    }

    fn script(&mut self, script: &ScriptProvenance) -> QualifiedName {
        let name = self.content_name(&script.path, script.sha256.as_deref());
        let mut described = Described::of("mizar", "BatchScript");
        described.kind("prov", "Plan").content(
            &script.path,
            script.size_bytes,
            script.sha256.as_deref(),
            script.note.as_deref(),
        );
        self.document
            .entities
            .insert(name.clone(), described.attributes);
        let elements = [Some(&name), Some(&self.user)];
        self.document
            .relate(RelationKind::WasAttributedTo, elements, None);
        name
    }

    fn step(&mut self, step: &StepProvenance) {
        let name = self.step_name(step.step);
        let mut described = Described::of("mizar", "Step");
        described
            .text("prov:label", &format!("step {}", step.step))
            .text("mizar:step_id", &step.step.to_string())
            .text("mizar:command", &command_line(&step.command))
            .text("mizar:cwd", &step.cwd.to_string_lossy())
            .value(
                "mizar:ranks",
                i64::try_from(step.ranks.len()).unwrap_or(i64::MAX),
            );
        self.activity(&name, step.start_ns, step.end_ns, described);
        self.started(&name, &self.job.clone(), step.start_ns);
        for rank in &step.ranks {
            self.rank(&name, step.step, rank);
        }
    }

    fn rank(&mut self, step_name: &QualifiedName, step: StepId, rank: &RankProvenance) {
        let name = self.rank_name(step, rank.rank);
        let mut described = Described::of("mizar", "Rank");
        described
            .text("prov:label", &format!("step {step} rank {}", rank.rank))
            .value("mizar:rank", rank.rank.0)
            .text("mizar:node", &rank.node)
            .value("mizar:pid", i64::from(rank.pid));
        if let Some(status) = rank.status {
            described.text("mizar:exit", &exit_text(status));
        }
        self.activity(&name, rank.start_ns, rank.end_ns, described);
        self.started(&name, step_name, rank.start_ns);
    }

    fn activity(
        &mut self,
        name: &QualifiedName,
        start_ns: i64,
        end_ns: Option<i64>,
        described: Described,
    ) {
        let activity = Activity {
            start: Some(Timestamp(start_ns)),
            end: end_ns.map(Timestamp),
            attributes: described.attributes,
        };
        self.document.activities.insert(name.clone(), activity);
    }

    fn started(&mut self, name: &QualifiedName, by: &QualifiedName, start_ns: i64) {
        let time = Some(Timestamp(start_ns));
        self.document.relate(
            RelationKind::WasStartedBy,
            [Some(name), None, Some(by)],
            time,
        );
        let elements = [Some(name), Some(&self.user)];
        self.document
            .relate(RelationKind::WasAssociatedWith, elements, None);
    }

    /// States files once for each path, content and toucher, then who was informed by whom.
    fn files(&mut self) {
        let mut makers: BTreeMap<QualifiedName, StepId> = BTreeMap::new();
        let mut stated = std::collections::BTreeSet::new();
        for file in &self.record.files {
            let name = self.content_name(&file.path, file.sha256.as_deref());
            let toucher = match file.rank {
                Some(rank) => self.rank_name(file.step, rank),
                None => self.step_name(file.step),
            };
            if !stated.insert((name.clone(), toucher.clone(), file.generated)) {
                continue;
            }
            self.file(&name, file);
            if file.generated {
                makers.insert(name.clone(), file.step);
                let elements = [Some(&name), Some(&toucher)];
                self.document
                    .relate(RelationKind::WasGeneratedBy, elements, None);
                let elements = [Some(&name), Some(&self.user)];
                self.document
                    .relate(RelationKind::WasAttributedTo, elements, None);
            } else {
                let elements = [Some(&toucher), Some(&name)];
                self.document.relate(RelationKind::Used, elements, None);
            }
        }
        let mut informed = std::collections::BTreeSet::new();
        for file in self.record.files.iter().filter(|file| !file.generated) {
            let name = self.content_name(&file.path, file.sha256.as_deref());
            if let Some(&maker) = makers.get(&name)
                && maker != file.step
                && informed.insert((file.step, maker))
            {
                let (informed, informant) = (self.step_name(file.step), self.step_name(maker));
                let elements = [Some(&informed), Some(&informant)];
                self.document
                    .relate(RelationKind::WasInformedBy, elements, None);
            }
        }
    }

    fn file(&mut self, name: &QualifiedName, file: &FileProvenance) {
        if self.document.entities.contains_key(name) {
            return;
        }
        let mut described = Described::of("mizar", "File");
        described.content(
            &file.path,
            file.size_bytes,
            file.sha256.as_deref(),
            file.note.as_deref(),
        );
        self.document
            .entities
            .insert(name.clone(), described.attributes);
    }

    fn step_name(&self, step: StepId) -> QualifiedName {
        QualifiedName::new("job", &format!("{}.{step}", self.job.local()))
    }

    fn rank_name(&self, step: StepId, rank: Rank) -> QualifiedName {
        QualifiedName::new("job", &format!("{}.{step}.rank{rank}", self.job.local()))
    }

    /// A file's name: its path and its content, so that the same content under the same path
    /// has one name in all jobs; without a digest it is only known within its job.
    fn content_name(&self, path: &Path, sha256: Option<&str>) -> QualifiedName {
        let path = path.to_string_lossy();
        let path = path.trim_start_matches('/');
        let content = match sha256 {
            Some(digest) => digest.get(..DIGEST_DIGITS).unwrap_or(digest).to_owned(),
            None => format!("job{}", self.job.local()),
        };
        QualifiedName::new("file", &format!("{path}@{content}"))
    }
}

fn software(name: &str, version: &str) -> QualifiedName {
    match version {
        "" => QualifiedName::new("software", name),
        version => QualifiedName::new("software", &format!("{name}@{version}")),
    }
}

/// A status of `wait(2)` in words: `exit 0`, `signal 9`.
#[must_use]
pub fn exit_text(status: i32) -> String {
    match status & 0x7f {
        0 => format!("exit {}", (status >> 8) & 0xff),
        signal => format!("signal {signal}"),
    }
}

/// Program and arguments on one line, for people: words with spaces are quoted.
#[must_use]
pub fn command_line(command: &[String]) -> String {
    let quoted = command.iter().map(|word| {
        let plain = |c: char| c.is_alphanumeric() || "-_./=,:+@%^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Attributes under construction; empty text is left out.
struct Described {
    attributes: Attributes,
}

impl Described {
    fn of(prefix: &str, kind: &str) -> Self {
        let mut described = Self {
            attributes: Attributes::new(),
        };
        described.kind(prefix, kind);
        described
    }

    fn kind(&mut self, prefix: &str, kind: &str) -> &mut Self {
        self.value("prov:type", QualifiedName::new(prefix, kind))
    }

    fn text(&mut self, name: &str, text: &str) -> &mut Self {
        if text.is_empty() {
            self
        } else {
            self.value(name, text)
        }
    }

    fn value(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        let name = name
            .parse()
            .expect("attribute names here are constants of the form p:l");
        self.attributes.entry(name).or_default().push(value.into());
        self
    }

    fn content(
        &mut self,
        path: &Path,
        size_bytes: Option<u64>,
        sha256: Option<&str>,
        note: Option<&str>,
    ) -> &mut Self {
        let label = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy();
        self.text("prov:label", &label)
            .text("prov:location", &path.to_string_lossy());
        if let Some(size) = size_bytes {
            self.value("mizar:size_bytes", i64::try_from(size).unwrap_or(i64::MAX));
        }
        self.text("mizar:sha256", sha256.unwrap_or_default());
        self.text("mizar:note", note.unwrap_or_default())
    }
}
