//! One job as the body of a request, in the shapes of the API at hand.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::api::{Api, Shape};
use super::option;
use super::script::Script;
use crate::SubmitRequest;
use crate::array;
use crate::cli::output_pattern;

/// Prefix of the variables that carry arguments to a script; the script does not see them.
const ARGUMENT_PREFIX: &str = "MIZAR_ARGUMENT_";

/// What sbatch would take from its own process for every job.
#[derive(Debug)]
pub(super) struct Surroundings {
    environment: Vec<(String, String)>,
    host: String,
    umask: Option<String>,
}

impl Surroundings {
    /// Those of this process, with an environment as for sbatch.
    pub(super) fn of_this_process(environment: &[(String, String)]) -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Self {
            environment: environment.to_vec(),
            host: host.to_string_lossy().into_owned(),
            umask: own_umask(),
        }
    }

    /// The environment of a job, without its own variables.
    fn environment(&self, request: &SubmitRequest) -> Result<BTreeMap<String, String>, String> {
        let mut all: BTreeMap<_, _> = self.environment.iter().cloned().collect();
        if let Some(user) = &request.user {
            all.extend(identity(user)?);
        }
        let mut add = |name: &str, value: String| all.insert(name.to_owned(), value);
        add("SLURM_SUBMIT_DIR", request.directory.display().to_string());
        add("SLURM_SUBMIT_HOST", self.host.clone());
        if let Some(umask) = &self.umask {
            add("SLURM_UMASK", umask.clone());
        }
        all.extend(request.environment.iter().cloned());
        Ok(all)
    }
}

/// The variables that say who one is.
fn identity(user: &str) -> Result<[(String, String); 4], String> {
    let found = nix::unistd::User::from_name(user)
        .ok()
        .flatten()
        .ok_or_else(|| format!("a job of `{user}`, whom this machine does not know"))?;
    Ok([
        ("HOME", found.dir.display().to_string()),
        ("LOGNAME", found.name.clone()),
        ("SHELL", found.shell.display().to_string()),
        ("USER", found.name),
    ]
    .map(|(name, value)| (name.to_owned(), value)))
}

/// This process's umask. Reading it by umask(2) would change it.
fn own_umask() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    Some(line.trim().to_owned())
}

/// The body of a submission.
///
/// # Errors
/// What of the job cannot be said.
pub(super) fn body(
    api: &Api,
    request: &SubmitRequest,
    surroundings: &Surroundings,
) -> Result<Value, String> {
    let mut script = Script::read(&request.script)?;
    let mut environment = surroundings.environment(request)?;
    let mut options = std::mem::take(&mut script.options);
    options.extend(request.options.iter().cloned());
    if !request.tasks.is_empty() {
        options.insert("array".to_owned(), array::spec(&request.tasks));
    }
    let mut job = Map::new();
    option::set(&mut job, api, &options)?;
    let mut text = script.text.clone();
    if !request.arguments.is_empty() {
        if api.takes_arguments() {
            let mut all = vec![request.script.display().to_string()];
            all.extend(request.arguments.iter().cloned());
            job.insert("argv".to_owned(), json!(all));
        } else {
            text = script.with_arguments(request.arguments.len(), ARGUMENT_PREFIX)?;
            let numbered = (1..).zip(&request.arguments);
            environment.extend(numbered.map(|(n, a)| (format!("{ARGUMENT_PREFIX}{n}"), a.clone())));
        }
    }
    let marker = request.marker.to_string();
    let texts = [
        (&["name"][..], marker.clone()),
        (&["comment"][..], marker),
        (
            &["current_working_directory"][..],
            request.directory.display().to_string(),
        ),
        (
            &["standard_output", "standard_out"][..],
            output_pattern(request),
        ),
    ];
    for (names, value) in texts {
        let (field, _) = api.field(names).ok_or_else(|| format!("{names:?}"))?;
        job.insert(field.to_owned(), json!(value));
    }
    let shape = api.field(&["environment"]).map(|(_, shape)| shape);
    job.insert(
        "environment".to_owned(),
        variables(shape, environment).ok_or("an environment")?,
    );
    if api.script_in_job {
        job.insert("script".to_owned(), json!(text));
        return Ok(json!({ "job": job }));
    }
    Ok(json!({"script": text, "job": job}))
}

fn variables(shape: Option<Shape>, all: BTreeMap<String, String>) -> Option<Value> {
    match shape? {
        Shape::Map => Some(json!(all)),
        Shape::TextList => {
            let lines = all.iter().map(|(name, value)| format!("{name}={value}"));
            Some(lines.collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::tests::{of_22_05, of_24_11};
    use super::*;
    use crate::Marker;

    #[test]
    fn a_job_takes_the_shape_of_the_version() {
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n#SBATCH --time=5\necho\n").unwrap();
        let request = SubmitRequest {
            marker: Marker::new("svc", &"0".repeat(32), 0).unwrap(),
            script: script.path().to_owned(),
            arguments: vec!["$(id)".to_owned()],
            options: vec![("time".to_owned(), "9".to_owned())],
            directory: "/data".into(),
            environment: vec![("PATH".to_owned(), "/mine".to_owned())],
            user: None,
            tasks: Vec::new(),
        };
        let given = [("PATH".to_owned(), "/usr/bin".to_owned())];
        let surroundings = Surroundings::of_this_process(&given);
        let of = |description| {
            let api = Api::read(&description).unwrap();
            body(&api, &request, &surroundings).unwrap()
        };
        let old = of(of_22_05());
        assert_eq!(
            old["job"]["time_limit"], 9,
            "an option wins over the script"
        );
        assert_eq!(old["job"]["environment"]["PATH"], "/mine");
        assert_eq!(old["job"]["environment"]["MIZAR_ARGUMENT_1"], "$(id)");
        assert_eq!(old["job"]["argv"], Value::Null);
        let text = old["script"].as_str().unwrap();
        assert!(text.starts_with("#!/bin/sh\nset -- \"$MIZAR_ARGUMENT_1\""));
        assert!(!text.contains("id"));

        let new = of(of_24_11());
        assert_eq!(new["script"], Value::Null);
        assert_eq!(new["job"]["script"], "#!/bin/sh\n#SBATCH --time=5\necho\n");
        assert_eq!(new["job"]["argv"][1], "$(id)");
        let lines = new["job"]["environment"].as_array().unwrap();
        assert!(lines.contains(&json!("PATH=/mine")));
        for body in [&old, &new] {
            assert_eq!(body["job"]["comment"], request.marker.to_string());
            assert_eq!(body["job"]["name"], request.marker.to_string());
            assert_eq!(body["job"]["standard_output"], "/data/slurm-%j.out");
        }
    }
}
