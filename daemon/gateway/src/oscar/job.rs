//! The plan of one job of a service: its script in its container, its data before and after.

use std::collections::BTreeMap;
use std::path::Path;

use mizar_slurm::JobFile;

use super::definition::Definition;
use super::settings::default_region;
use super::store::{self, Kept};
use crate::container_runtime::{Bind, Containers, Runtime, Wanted};
use crate::interlink::flags::{Options, merge, words};
use crate::interlink::quantity::quantity;
use crate::jobfiles::Planned;
use crate::ledger::Claim;
use crate::shared::Shared;
use crate::supervise::event::{INPUT, OUTPUT, Output, PAYLOAD_FILE, SCRIPT, Stage, Store};
use crate::supervise::plan::{Container, Plan};
use crate::supervise::s3::S3;

/// Folder of the script, apart from everything that the script can name.
pub(crate) const SCRIPT_FOLDER: &str = "script";

/// The script itself, in the job's folder.
pub(crate) const SCRIPT_FILE: &str = "script/script.sh";

/// The variable with a call's name.
pub(crate) const JOB_VARIABLE: &str = "JOB_UUID";

/// Options of sbatch that a service may ask for, as pods do.
const FLAGS: &str = "slurm-job.vk.io/flags";

/// Time of grace of a script that is told to end.
const GRACE_MS: u64 = 30_000;

/// Variables that only the supervisor knows.
const LATER: [&str; 9] = [
    JOB_VARIABLE,
    "TMP_INPUT_DIR",
    "TMP_OUTPUT_DIR",
    "STORAGE_OUTPUT_DIR",
    "INPUT_FILE_PATH",
    "STORAGE_OBJECT_KEY",
    "EVENT_TIME",
    "EVENT",
    "RESOURCE_ID",
];

/// Plans the job of a claim; a reason that no retry can mend makes a dead letter.
///
/// # Errors
/// The reason.
pub fn plan(shared: &Shared, claim: &Claim, folder: &Path) -> Result<Planned, String> {
    let name = claim.marker.service().to_owned();
    let found = shared.reader.read(|ledger| store::find(ledger, &name));
    let kept = found
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("the service `{name}` was removed"))?;
    let settings = shared
        .config
        .oscar
        .as_ref()
        .ok_or("this site serves no OSCAR API any more")?;
    let payload = claim
        .payload
        .clone()
        .ok_or("what came with the call was forgotten")?;
    let document: serde_json::Value = serde_json::from_str(&claim.document).unwrap_or_default();
    let job = document["id"].as_str().unwrap_or_default().to_owned();
    let mut planned = Planned {
        options: options(&kept.definition, &settings.gpu)?,
        ..Planned::default()
    };
    planned.files = vec![
        JobFile::new(PAYLOAD_FILE, payload),
        JobFile::program(SCRIPT_FILE, kept.definition.script.as_str()),
    ];
    let script = Script {
        job: Some(&job),
        folder,
    };
    planned.plan = plan_of(shared, &kept, &script)?;
    Ok(planned)
}

/// Where a script runs, and for which call.
pub(crate) struct Script<'a> {
    /// The call's name; None if each of many calls brings its own.
    pub(crate) job: Option<&'a str>,
    /// The folder with the script, the input and the output.
    pub(crate) folder: &'a Path,
}

/// What the supervisor does for a call of a service.
///
/// # Errors
/// What cannot be done.
pub(crate) fn plan_of(shared: &Shared, kept: &Kept, script: &Script<'_>) -> Result<Plan, String> {
    let settings = shared.config.oscar.as_ref();
    let settings = settings.ok_or("this site serves no OSCAR API any more")?;
    let containers = &shared.config.containers;
    let mut stores = settings.load_stores()?;
    stores.extend(own_stores(&kept.definition));
    Ok(Plan {
        apps: vec![container(kept, script, containers)?],
        grace_ms: GRACE_MS,
        event: Some(Stage {
            inputs: inputs(&kept.definition),
            outputs: outputs(&kept.definition),
            stores,
            skips_input: kept.definition.file_stage_in,
            prefixes: vec![containers.variable_prefix().to_owned()],
        }),
        ..Plan::default()
    })
}

/// Options of sbatch: the service's own, then its limits.
///
/// # Errors
/// What is not allowed.
pub fn options(definition: &Definition, gpu: &str) -> Result<Vec<(String, String)>, String> {
    let mut options = Options::new();
    if let Some(text) = definition.annotations.get(FLAGS) {
        let given = words(FLAGS, text).map_err(|error| error.to_string())?;
        merge(&mut options, FLAGS, &given).map_err(|error| error.to_string())?;
    }
    let cpus = quantity(&definition.cpu)?.ceil().max(1.0);
    options.insert("cpus-per-task".to_owned(), format!("{cpus:.0}"));
    let mib = (quantity(&serde_json::json!(definition.memory))? / 1_048_576.0)
        .ceil()
        .max(1.0);
    options.insert("mem".to_owned(), format!("{mib:.0}M"));
    for other in ["mem-per-cpu", "mem-per-gpu"] {
        options.remove(other);
    }
    if definition.enable_gpu {
        options.insert("gres".to_owned(), gpu.to_owned());
    }
    Ok(options.into_iter().collect())
}

fn container(kept: &Kept, script: &Script<'_>, site: &Containers) -> Result<Container, String> {
    let definition = &kept.definition;
    let place = |name: &str| script.folder.join(name).display().to_string();
    let environment = &definition.environment;
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in environment.variables.iter().chain(&environment.secrets) {
        env.push((name.clone(), value.clone()));
    }
    env.extend(
        script
            .job
            .map(|job| (JOB_VARIABLE.to_owned(), job.to_owned())),
    );
    for (name, value) in [
        ("OSCAR_SERVICE_NAME", definition.name.as_str()),
        ("OSCAR_SERVICE_TOKEN", &kept.token),
        ("OSCAR_SERVICE_BASE_PATH", ""),
        ("LOG_LEVEL", &definition.log_level),
    ] {
        env.push((name.to_owned(), value.to_owned()));
    }
    let bind = |name: &str, read_only| Bind {
        from: place(name),
        to: place(name),
        read_only,
    };
    let wanted = Wanted {
        image: definition.image.clone(),
        command: vec!["/bin/sh".to_owned(), place(SCRIPT_FILE)],
        env,
        binds: vec![
            bind(SCRIPT_FOLDER, true),
            bind(INPUT, true),
            bind(OUTPUT, false),
        ],
        later: LATER
            .into_iter()
            .filter(|name| *name != JOB_VARIABLE || script.job.is_none())
            .map(str::to_owned)
            .collect(),
        ..Wanted::default()
    };
    let line = site.command_line(&wanted)?;
    Ok(Container {
        name: SCRIPT.to_owned(),
        image: definition.image.clone(),
        argv: line.argv,
        env: line.env,
        // A plain process begins where it can write, and not among our files.
        directory: (site.runtime == Runtime::None).then(|| place(OUTPUT)),
        ..Container::default()
    })
}

fn inputs(definition: &Definition) -> BTreeMap<String, String> {
    let kinds = definition.input.iter().filter_map(|place| {
        let kind = place.storage_provider.split('.').next()?;
        Some((kind.to_owned(), place.storage_provider.clone()))
    });
    kinds.collect()
}

fn outputs(definition: &Definition) -> Vec<Output> {
    let all = definition.output.iter();
    all.map(|place| Output {
        store: place.storage_provider.clone(),
        path: place.path.clone(),
        prefix: place.prefix.clone(),
        suffix: place.suffix.clone(),
    })
    .collect()
}

/// Stores that the service itself brings.
fn own_stores(definition: &Definition) -> BTreeMap<String, Store> {
    let mut found = BTreeMap::new();
    for kind in ["minio", "s3"] {
        for (id, provider) in definition.storage_providers.get(kind).into_iter().flatten() {
            if provider.access_key.is_empty() || provider.secret_key.is_empty() {
                continue;
            }
            let region = if provider.region.is_empty() {
                default_region()
            } else {
                provider.region.clone()
            };
            let endpoint = match provider.endpoint.as_str() {
                "" => format!("https://s3.{region}.amazonaws.com"),
                given => given.to_owned(),
            };
            let s3 = S3 {
                endpoint,
                region,
                access_key: provider.access_key.clone(),
                secret_key: provider.secret_key.clone(),
            };
            found.insert(format!("{kind}.{id}"), Store::S3(s3));
        }
    }
    found
}
