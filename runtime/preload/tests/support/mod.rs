//! A real `mizard` of the test's own, a job in it, and programs that run as that job's ranks.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mizar_api::{Client, LiveJob, Request, Response, StepRegistration, TaskRegistration};
use mizar_core::ids::{JobId, Rank, StepId};
use mizar_record::model::JobRecord;

pub(crate) const JOB: JobId = JobId(42);
pub(crate) const STEP: StepId = StepId(0);
const NODE: &str = "vm";
const PATIENCE: Duration = Duration::from_secs(20);

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

pub(crate) fn library() -> PathBuf {
    mizar_lab::binary("libmizar_comm.so")
}

/// A family of MPI, with its compilers and its launcher.
pub(crate) struct Mpi {
    pub(crate) name: &'static str,
    pub(crate) cc: Vec<String>,
    pub(crate) run: Vec<String>,
    /// Where its library is, if the linker does not know.
    pub(crate) library_path: Option<PathBuf>,
}

/// Open MPI as it is installed, or `None`, said so.
pub(crate) fn open_mpi() -> Option<Mpi> {
    let found = Command::new("mpirun").arg("--version").output().ok()?;
    if !String::from_utf8_lossy(&found.stdout).contains("Open MPI") {
        println!("SKIP: Open MPI (packages openmpi-bin, libopenmpi-dev)");
        return None;
    }
    let run = "mpirun --allow-run-as-root --oversubscribe --mca btl_base_warn_component_unused 0";
    Some(Mpi {
        name: "openmpi",
        cc: vec!["mpicc".to_owned()],
        run: run.split(' ').map(str::to_owned).collect(),
        library_path: None,
    })
}

impl Mpi {
    /// Compiles a program of `tests/programs` into a folder.
    pub(crate) fn compile(&self, source: &str, folder: &Path) -> PathBuf {
        let program = folder.join(format!("{}-{}", source.replace('.', "-"), self.name));
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/programs")
            .join(source);
        let mut command = Command::new(&self.cc[0]);
        command
            .args(&self.cc[1..])
            .arg("-O1")
            .arg("-o")
            .arg(&program);
        let output = command.arg(&source).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        program
    }
}

/// A daemon with one job in it.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    daemon: Child,
    task: Child,
}

impl Site {
    /// Starts one with these keys besides its folders.
    pub(crate) fn start(keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "node = {NODE:?}\nsocket = {:?}\nstate_dir = {:?}\nrecord_dir = {:?}\n\
             metrics_listen = \"\"\n{keys}",
            path("sock"),
            path("state"),
            path("records"),
        );
        std::fs::write(path("mizard.toml"), config).unwrap();
        let log = std::fs::File::create(path("log")).unwrap();
        let daemon = mizar_lab::binary("mizard");
        assert!(
            daemon.exists(),
            "build mizar-agent first: {}",
            daemon.display()
        );
        let daemon = Command::new(daemon)
            .arg("--config")
            .arg(path("mizard.toml"))
            .stderr(log)
            .spawn()
            .unwrap();
        let task = Command::new("sleep").arg("600").spawn().unwrap();
        let site = Self {
            folder,
            daemon,
            task,
        };
        until("mizard answers", || site.ask(Request::Ping));
        let registration = site.registration();
        site.ask(Request::RegisterStep(Box::new(registration)))
            .unwrap();
        site
    }

    fn registration(&self) -> StepRegistration {
        // Two ranks in name: their processes come by themselves.
        let tasks = (0..2).map(|rank| TaskRegistration {
            rank: Rank(rank),
            local_rank: rank,
            pid: self.task.id() as i32,
            visible_gpus: None,
        });
        StepRegistration {
            job: JOB,
            step: STEP,
            array: None,
            restart_count: 0,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            node: NODE.to_owned(),
            node_index: 0,
            job_nodes: NODE.to_owned(),
            step_nodes: NODE.to_owned(),
            task_count: 2,
            job_cpus: Some(2),
            job_memory_mib: None,
            command: vec!["program".to_owned()],
            cwd: "/tmp".into(),
            variables: Vec::new(),
            sample_ms: None,
            comm: true,
            stepd_pid: 1,
            tasks: tasks.collect(),
        }
    }

    pub(crate) fn ask(&self, request: Request) -> Option<Response> {
        Client::new(self.folder.path().join("sock"), Duration::from_secs(5))
            .ask(request)
            .ok()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program of this job, with the library before it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("LD_PRELOAD", library())
            .env("MIZAR_SOCKET", self.folder.path().join("sock"))
            .env("MIZAR_JOB_ID", JOB.to_string())
            .env("MIZAR_STEP_ID", STEP.to_string())
            .stdin(Stdio::null());
        command
    }

    /// Two ranks of a program of this job.
    pub(crate) fn ranks(&self, mpi: &Mpi, program: &[&std::ffi::OsStr]) -> Command {
        let mut command = self.command(&mpi.run[0]);
        command.args(&mpi.run[1..]).args(["-n", "2"]).args(program);
        if let Some(path) = &mpi.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }

    pub(crate) fn live(&self) -> Option<LiveJob> {
        match self.ask(Request::Jobs { job: Some(JOB) })? {
            Response::Jobs { jobs } => jobs.into_iter().next(),
            _ => None,
        }
    }

    /// Ends the job and reads its record.
    pub(crate) fn finish(&self) -> JobRecord {
        self.ask(Request::JobEnd { job: JOB }).unwrap();
        let folder = self.folder.path().join("records").join(JOB.to_string());
        until("the record is merged", || {
            folder.join("job.h5").exists().then_some(())
        });
        mizar_record::reader::read_job(&folder).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in [&mut self.daemon, &mut self.task] {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of mizard:\n{}", self.log());
        }
    }
}

/// Runs to the end, which must be a good one.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// The last figures of a call, on whatever node: calls, bytes, nanoseconds.
pub(crate) fn calls(record: &JobRecord, rank: u32, name: &str) -> Option<(u64, u64, u64)> {
    record.nodes.iter().find_map(|node| {
        let id = node.names.iter().find(|known| known.name == name)?.id;
        let mut rows = node.call_samples.iter();
        rows.rfind(|row| (row.rank, row.call) == (rank, id))
            .map(|row| (row.calls, row.bytes, row.spent_ns))
    })
}
