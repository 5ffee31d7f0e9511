//! A daemon of the test's own, tasks for it, and ways to ask it as oneself or as nobody.
#![allow(dead_code, reason = "each suite uses its part")]

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mizar_api::{
    Client, ClientError, Envelope, ErrorCode, LiveJob, PROTOCOL_VERSION, Request, Response,
    StepRegistration, TaskRegistration,
};
use mizar_core::ids::{JobId, Rank, StepId};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getegid, geteuid};

/// The node that the daemons of tests speak for.
pub(crate) const NODE: &str = "vm";

/// Nothing here takes longer, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

/// A process that plays a task; it dies with the value.
pub(crate) struct Task(Child);

impl Task {
    pub(crate) fn sleeping() -> Self {
        Self::of(Command::new("sleep").arg("600"))
    }

    /// Uses a CPU, at the lowest priority.
    pub(crate) fn busy() -> Self {
        Self::of(Command::new("nice").args(["-n10", "sh", "-c", "while :; do :; done"]))
    }

    fn of(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A step of these tasks, as the plugin would register it.
pub(crate) fn registration(job: JobId, step: StepId, tasks: &[&Task]) -> StepRegistration {
    let task = |(index, task): (usize, &&Task)| TaskRegistration {
        rank: Rank(index as u32),
        local_rank: index as u32,
        pid: task.pid(),
        visible_gpus: None,
    };
    StepRegistration {
        job,
        step,
        array: None,
        restart_count: 0,
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        node: NODE.to_owned(),
        node_index: 0,
        job_nodes: NODE.to_owned(),
        step_nodes: NODE.to_owned(),
        task_count: tasks.len() as u32,
        job_cpus: Some(2),
        job_memory_mib: None,
        command: vec!["sleep".to_owned(), "600".to_owned()],
        cwd: "/tmp".into(),
        variables: vec![("SLURM_JOB_NAME".to_owned(), "test".to_owned())],
        sample_ms: None,
        comm: false,
        stepd_pid: 1,
        tasks: tasks.iter().enumerate().map(task).collect(),
    }
}

pub(crate) fn refused(answer: &Result<Response, ClientError>, expected: ErrorCode) -> bool {
    matches!(answer, Err(ClientError::Refused { code, .. }) if *code == expected)
}

/// A `mizard` in a folder of its own; it dies with the value.
pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    record_dir: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts one with these keys besides its folders and waits until it answers.
    pub(crate) fn start(keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other users must reach the socket and their records.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let mut lines = String::new();
        for (key, value) in [
            ("node", NODE.to_owned()),
            (
                "socket",
                folder.path().join("mizard.sock").display().to_string(),
            ),
            (
                "state_dir",
                folder.path().join("state").display().to_string(),
            ),
            (
                "record_dir",
                folder.path().join("records").display().to_string(),
            ),
            ("metrics_listen", String::new()),
        ] {
            if !keys.contains(&format!("{key} =")) {
                lines += &format!("{key} = {value:?}\n");
            }
        }
        let record_dir = match keys.split("record_dir = \"").nth(1) {
            Some(rest) => PathBuf::from(rest.split('"').next().unwrap()),
            None => folder.path().join("records"),
        };
        std::fs::write(folder.path().join("mizard.toml"), lines + keys).unwrap();
        let child = spawn(folder.path());
        let mut daemon = Self {
            folder,
            record_dir,
            child,
        };
        daemon.wait();
        daemon
    }

    fn wait(&mut self) {
        until("the daemon answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("mizard ended ({status}):\n{}", self.log());
            }
            self.ask(Request::Ping).ok()
        });
    }

    /// The command that started it.
    pub(crate) fn command(&self) -> Command {
        command(self.folder.path())
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.folder.path());
        self.wait();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        until("it ends", || self.child.try_wait().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("mizard.sock")
    }

    pub(crate) fn record(&self, job: JobId) -> PathBuf {
        self.record_dir.join(job.to_string())
    }

    /// Waits until the job is told in full, and gives its PROV document.
    pub(crate) fn wait_for_prov(&self, job: JobId) -> String {
        let path = self.record(job).join("prov.json");
        until("the record is finished", || {
            std::fs::read_to_string(&path).ok()
        })
    }

    /// Waits until the job's record is merged.
    pub(crate) fn wait_for_record(&self, job: JobId) {
        let merged = self.record(job).join("job.h5");
        until("the record is finished", || {
            std::fs::exists(&merged).unwrap().then_some(())
        });
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn ask(&self, request: Request) -> Result<Response, ClientError> {
        Client::new(self.socket(), Duration::from_secs(5)).ask(request)
    }

    pub(crate) fn register(&self, job: JobId, step: StepId, tasks: &[&Task]) {
        self.ask(Request::RegisterStep(Box::new(registration(
            job, step, tasks,
        ))))
        .unwrap();
    }

    pub(crate) fn job(&self, job: JobId) -> Option<LiveJob> {
        match self.ask(Request::Jobs { job: Some(job) }) {
            Ok(Response::Jobs { jobs }) => jobs.into_iter().next(),
            _ => None,
        }
    }

    /// The answer to a process of another user.
    pub(crate) fn ask_as_nobody(&self, request: &Request) -> String {
        let program = "import socket,sys\n\
            s=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
            s.sendall(sys.stdin.buffer.read())\nsys.stdout.write(s.makefile().read())";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", program])
            .arg(self.socket())
            .uid(65534)
            .gid(65534)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let envelope = Envelope {
            version: PROTOCOL_VERSION,
            request: request.clone(),
        };
        let mut line = serde_json::to_vec(&envelope).unwrap();
        line.push(b'\n');
        child.stdin.take().unwrap().write_all(&line).unwrap();
        let mut answer = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut answer)
            .unwrap();
        assert!(child.wait().unwrap().success());
        answer
    }

    /// CPU time of the daemon, children excluded.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks / 100.0
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of mizard:\n{}", self.log());
        }
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mizard"));
    command
        .arg("--config")
        .arg(folder.join("mizard.toml"))
        .stdin(Stdio::null());
    for name in [
        "NODE",
        "SOCKET",
        "RECORD_DIR",
        "STATE_DIR",
        "METRICS_LISTEN",
        "SAMPLE_MS",
        "NVML_LIBRARY",
        "ROCM_SMI_LIBRARY",
        "CONFIG",
    ] {
        command.env_remove(format!("MIZARD_{name}"));
    }
    command
}

fn spawn(folder: &Path) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("log"));
    command(folder).stderr(log.unwrap()).spawn().unwrap()
}

/// A tmpfs of a few bytes; unmounted with the value.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount(size_bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size_bytes}");
        let tmpfs = Some("tmpfs");
        match mount(
            tmpfs,
            folder.path(),
            tmpfs,
            MsFlags::empty(),
            Some(options.as_str()),
        ) {
            Ok(()) => Some(Self(folder)),
            Err(code) => {
                println!("SKIP: a small tmpfs needs root ({code})");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}
