//! What the suite of the whole loop is made of: the gateway as a process, the job's script,
//! the sample file, and the readers in Python.

use mizar_lab::{Lab, binary, venv};
use mizar_suite::repository;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TOKEN: &str = "a-token-of-the-suite-that-is-long-enough-0123456789";
const START: Duration = Duration::from_secs(20);

/// A CMIP6 file of the package `esmvaltool-sample-data`, or nothing if it is not there.
pub(crate) fn cmip6_sample() -> Option<PathBuf> {
    venv::cmip6("ta_day_IPSL-CM6A-LR_historical_r1i1p1f1_gr_19500101-20141231")
}

/// The job: one step of MPI. Open MPI 4.1 under PMIx may crash while starting, hence the
/// second try, which must not count as a second step: it is submitted only after a crash.
pub(crate) fn job_script() -> String {
    let mizar = binary("mizar").display().to_string().replace('\'', "'\\''");
    format!(
        "#!/bin/bash\n\
         set -euo pipefail\n\
         mkdir -p \"$2\"\n\
         result=$2/$(basename \"$1\" .nc).climatology.nc\n\
         run() {{ srun --mizar --mpi=pmix '{mizar}' cube -ymonmean \"$1\" \"$2\"; }}\n\
         run \"$1\" \"$result\" || run \"$1\" \"$result\"\n"
    )
}

/// What `readers/job_record.py` says about a job's record.
pub(crate) fn record_of(folder: &Path) -> Value {
    let reader = repository().join("tests/suite/tests/readers/job_record.py");
    let output = Command::new(venv::python().unwrap())
        .arg(reader)
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file's digest as coreutils has it.
pub(crate) fn sha256_of(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

/// A job as the ledger tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Job {
    pub(crate) state: String,
    pub(crate) slurm_job: Option<u32>,
}

impl Job {
    pub(crate) fn is_over(&self) -> bool {
        matches!(
            self.state.as_str(),
            "completed" | "failed" | "cancelled" | "vanished" | "dead"
        )
    }
}

/// An answer of the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A running `mizar-gateway` with one service; dropped, it is stopped.
pub(crate) struct Gateway {
    child: Child,
    config: PathBuf,
    url: String,
    log: PathBuf,
    work_dir: PathBuf,
}

impl Gateway {
    /// Starts a gateway whose service takes objects of `bucket` and puts results in `results`.
    pub(crate) fn start(lab: &Lab, bucket: &Path, results: &Path) -> Self {
        let folder = lab.dir().join("gateway");
        let work_dir = folder.join("work");
        std::fs::create_dir_all(&work_dir).unwrap();
        let script = folder.join("climatology.sbatch");
        std::fs::write(&script, job_script()).unwrap();
        write_private(&folder.join("tokens"), TOKEN);
        let services = folder.join("services.toml");
        std::fs::write(&services, services_toml(&script, bucket, results)).unwrap();
        let config = folder.join("gateway.toml");
        let address = format!("127.0.0.1:{}", lab.spare_port(0));
        std::fs::write(&config, gateway_toml(lab, &address)).unwrap();
        let log = folder.join("gateway.log");
        let mut command = lab.command(binary("mizar-gateway"));
        command.arg("serve").arg("--config").arg(&config);
        let output = std::fs::File::create(&log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        let child = command.spawn().unwrap();
        let mut gateway = Self {
            child,
            config,
            url: format!("http://{address}"),
            log,
            work_dir,
        };
        gateway.await_health();
        gateway
    }

    fn await_health(&mut self) {
        let start = Instant::now();
        while ureq::get(format!("{}/health", self.url)).call().is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended: {}", self.log());
            assert!(
                start.elapsed() < START,
                "the gateway is not ready: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Posts a CloudEvent in structured mode.
    pub(crate) fn post(&self, event: &Value) -> Answer {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut response = agent
            .post(format!("{}/events", self.url))
            .header("Authorization", format!("Bearer {TOKEN}"))
            .content_type("application/cloudevents+json")
            .send(event.to_string())
            .unwrap();
        let body = response.body_mut().read_to_string().unwrap();
        Answer {
            status: response.status().as_u16(),
            body,
        }
    }

    /// The jobs of the ledger, as `mizar-gateway jobs` tells them.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        #[derive(Deserialize)]
        struct Jobs {
            jobs: Vec<Job>,
        }
        let mut command = Command::new(binary("mizar-gateway"));
        command
            .args(["jobs", "--json", "--config"])
            .arg(&self.config);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice::<Jobs>(&output.stdout).unwrap().jobs
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What the jobs wrote, for a failing test's message.
    pub(crate) fn output_of_jobs(&self) -> String {
        let mut text = String::new();
        let mut folders = vec![self.work_dir.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let content = std::fs::read_to_string(&path).unwrap_or_default();
                    text.push_str(&format!("{}:\n{content}\n", path.display()));
                }
            }
        }
        text
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn gateway_toml(lab: &Lab, address: &str) -> String {
    let conf = lab.slurm_conf();
    format!(
        "listen = \"{address}\"\n\
         state_dir = \"state\"\n\
         work_dir = \"work\"\n\
         services = [\"services.toml\"]\n\
         token_file = \"tokens\"\n\
         [slurm]\n\
         conf = {conf:?}\n\
         poll_ms = 300\n"
    )
}

fn services_toml(script: &Path, bucket: &Path, results: &Path) -> String {
    format!(
        "[[service]]\n\
         name = \"climatology\"\n\
         script = {script:?}\n\
         filter = {{ type = \"org.example.object.created\", suffix = \".nc\" }}\n\
         args = [\n\
           {{ name = \"input\", type = \"path\", from = \"subject\", under = {bucket:?} }},\n\
           {{ name = \"results\", value = {results:?} }},\n\
         ]\n\
         sbatch = {{ nodes = 2, ntasks-per-node = 2, time = \"5\", mizar = true }}\n"
    )
}
