//! What a lab should have, and the steps that start it.

use crate::config::{SlurmConfig, node_names};
use crate::guard::Guard;
use crate::lab::{Daemons, Lab};
use crate::plan::{Home, Plan};
use crate::ports::{MOST_NODES, Ports};
use crate::{LabError, MizarOptions, binaries, ffi, packages};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// `sun_path` has 108 bytes; what lies below the directory takes fewer than the difference.
const LONGEST_DIR_BYTES: usize = 70;
/// The key that signs tokens.
const JWT_KEY_BYTES: usize = 32;
/// The file that marks a directory as a lab's, and is locked while the lab runs.
pub(crate) const MARK: &str = "lab.lock";
/// What an earlier lab left in its directory, removed by the next one.
const STALE: [&str; 12] = [
    "etc", "run", "log", "state", "spool", "tmp", "munge", "mysql", "dev", "out", "records",
    "mizar",
];

/// Settings of a lab; every one has a default that suits a small test.
#[derive(Debug, Clone)]
pub struct LabBuilder {
    pub(crate) nodes: u32,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u32,
    pub(crate) gpus: u32,
    pub(crate) plugstack: Option<String>,
    pub(crate) slurm_conf_extra: String,
    /// Lines of acct_gather.conf; no such file without.
    pub(crate) acct_gather: Option<String>,
    pub(crate) accounting: bool,
    pub(crate) rest: bool,
    pub(crate) mizar: Option<MizarOptions>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) search_path: Vec<PathBuf>,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self {
            nodes: 1,
            cpus: 4,
            memory_mib: 2000,
            gpus: 0,
            plugstack: None,
            slurm_conf_extra: String::new(),
            acct_gather: None,
            accounting: false,
            rest: false,
            mizar: None,
            dir: None,
            search_path: packages::default_search_path(),
        }
    }
}

impl LabBuilder {
    /// Sets the number of nodes, `n1` and up.
    #[must_use]
    pub fn nodes(mut self, count: u32) -> Self {
        self.nodes = count;
        self
    }

    /// Sets the CPUs that each node claims; the machine may have fewer.
    #[must_use]
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Sets the memory that each node claims, in MiB.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Sets the GPUs that each node claims: device nodes without a driver. Needs root.
    #[must_use]
    pub fn gpus(mut self, count: u32) -> Self {
        self.gpus = count;
        self
    }

    /// Sets the text of plugstack.conf.
    #[must_use]
    pub fn plugstack(mut self, text: impl Into<String>) -> Self {
        self.plugstack = Some(text.into());
        self
    }

    /// Adds lines to slurm.conf; they win over the lab's own.
    #[must_use]
    pub fn slurm_conf_extra(mut self, lines: impl Into<String>) -> Self {
        self.slurm_conf_extra = lines.into();
        self
    }

    /// Sets the text of acct_gather.conf.
    #[must_use]
    pub fn acct_gather_conf(mut self, text: impl Into<String>) -> Self {
        self.acct_gather = Some(text.into());
        self
    }

    /// Adds slurmdbd with a private MariaDB, so that `sacct` works.
    #[must_use]
    pub fn slurmdbd(mut self, wanted: bool) -> Self {
        self.accounting = wanted;
        self
    }

    /// Adds slurmrestd, on a unix socket and, with tokens, on a TCP port.
    #[must_use]
    pub fn slurmrestd(mut self, wanted: bool) -> Self {
        self.rest = wanted;
        self
    }

    /// Adds the built plugin and a `mizard` on every node.
    #[must_use]
    pub fn mizar(mut self, wanted: bool) -> Self {
        self.mizar = wanted.then(|| self.mizar.unwrap_or_default());
        self
    }

    /// Adds the built plugin and a `mizard` on every node, with these settings.
    #[must_use]
    pub fn mizar_with(mut self, options: MizarOptions) -> Self {
        self.mizar = Some(options);
        self
    }

    /// Puts the lab in a directory that stays afterwards, instead of a temporary one. It must
    /// be empty, absent or that of an earlier lab, whose files are removed.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Replaces the folders in which programs are looked for.
    #[must_use]
    pub fn search_path(mut self, folders: Vec<PathBuf>) -> Self {
        self.search_path = folders;
        self
    }

    /// Starts the lab and waits until all nodes are idle.
    ///
    /// # Errors
    /// Any [`LabError`]; what was started by then is stopped again.
    pub fn start(self) -> Result<Lab, LabError> {
        self.check()?;
        packages::require(self.accounting, self.rest, &self.search_path)?;
        if self.mizar.is_some() {
            binaries::require_built()?;
        }
        let namespaces = ffi::namespaces_allowed();
        if self.gpus > 0 && !nix::unistd::geteuid().is_root() {
            return Err(LabError::NeedsRoot {
                what: "a lab with GPUs",
            });
        }
        let home = self.prepare_home()?;
        let ports = Ports::claim(self.nodes)?;
        let user = user_name();
        let plan = Plan {
            builder: self,
            home,
            ports,
            user,
            namespaces,
        };
        write_files(&plan)?;
        // From here on the guard cleans up, whatever happens to this process.
        let guard = Guard::start(plan.dir(), &plan.slurm_conf(), plan.home.temporary)?;
        let daemons = Daemons::start(&plan)?;
        let mut lab = Lab::assemble(plan, daemons, guard);
        lab.await_nodes()?;
        lab.start_rest()?;
        lab.start_mizards()?;
        Ok(lab)
    }

    /// Starts the lab for a test. Where the machine lacks a package or privilege, prints
    /// `SKIP:` with its name and returns nothing.
    ///
    /// # Panics
    /// If the lab does not start for another reason.
    #[must_use]
    pub fn start_or_skip(self) -> Option<Lab> {
        match self.start() {
            Ok(lab) => Some(lab),
            Err(error) if error.is_missing_requirement() => {
                println!("SKIP: {error}");
                None
            }
            Err(error) => panic!("the lab does not start: {}", mizar_core::chain(&error)),
        }
    }

    fn check(&self) -> Result<(), LabError> {
        let within = |what, least, most, found| match (least..=most).contains(&found) {
            true => Ok(()),
            false => Err(LabError::OutOfRange {
                what,
                least,
                most,
                found,
            }),
        };
        within("the number of nodes", 1, MOST_NODES, self.nodes)?;
        within("the number of CPUs per node", 1, 1024, self.cpus)?;
        within(
            "the memory per node in MiB",
            self.cpus,
            1 << 24,
            self.memory_mib,
        )?;
        within("the number of GPUs per node", 0, 64, self.gpus)
    }

    /// Makes the directory, takes its lock and removes what an earlier lab left in it.
    fn prepare_home(&self) -> Result<Home, LabError> {
        let (dir, temporary) = match &self.dir {
            Some(dir) => {
                fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
                (
                    dir.canonicalize().map_err(LabError::file("resolve", dir))?,
                    false,
                )
            }
            None => {
                let base = std::env::temp_dir();
                let made = tempfile::Builder::new()
                    .prefix("mizar-lab-")
                    .tempdir_in(&base);
                let dir = made
                    .map_err(LabError::file("create a directory in", base))?
                    .keep();
                (dir, std::env::var_os("MIZAR_LAB_KEEP").is_none())
            }
        };
        let mut home = Home {
            dir: dir.clone(),
            temporary,
            lock: None,
        };
        if dir.as_os_str().len() > LONGEST_DIR_BYTES {
            return Err(LabError::DirTooLong {
                dir,
                limit_bytes: LONGEST_DIR_BYTES,
            });
        }
        let speakable = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(byte);
        if !dir.as_os_str().as_encoded_bytes().iter().all(speakable) {
            return Err(LabError::DirUnspeakable { dir });
        }
        home.lock = Some(take_lock(&dir)?);
        for stale in STALE {
            remove(&dir.join(stale))?;
        }
        Ok(home)
    }
}

fn take_lock(dir: &Path) -> Result<Flock<fs::File>, LabError> {
    let mark = dir.join(MARK);
    if !mark.exists() {
        let mut entries = fs::read_dir(dir).map_err(LabError::file("read", dir))?;
        if entries.next().is_some() {
            return Err(LabError::NotALab {
                dir: dir.to_owned(),
            });
        }
    }
    let opened = fs::OpenOptions::new().create(true).append(true).open(&mark);
    let file = opened.map_err(LabError::file("open", &mark))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| LabError::InUse {
        dir: dir.to_owned(),
    })
}

fn remove(path: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}

fn user_name() -> String {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn write_files(plan: &Plan) -> Result<(), LabError> {
    let dir = plan.dir();
    // Users other than the owner reach the munge socket and their own output.
    let folders: [(&str, u32); 9] = [
        ("", 0o755),
        ("etc", 0o755),
        ("run", 0o711),
        ("log", 0o755),
        ("state", 0o700),
        ("spool", 0o755),
        ("tmp", 0o755),
        ("munge", 0o711),
        ("out", 0o1777),
    ];
    for (folder, mode) in folders {
        make_dir(&dir.join(folder), mode)?;
    }
    for node in node_names(plan.builder.nodes) {
        make_dir(&dir.join("spool").join(&node), 0o755)?;
        make_dir(&dir.join("tmp").join(&node), 0o1777)?;
        make_dir(&dir.join("run").join(&node), 0o755)?;
    }
    write_private(&dir.join("munge/munge.key"), &random_key()?)?;
    make_gpu_nodes(plan)?;
    let config = plan.slurm_config();
    let plugstack = match (&plan.builder.plugstack, &plan.builder.mizar) {
        (Some(text), _) => text.clone(),
        (None, Some(_)) => binaries::plugstack(dir),
        (None, None) => String::new(),
    };
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(LabError::file("write", &path))
    };
    write("etc/slurm.conf", &config.slurm_conf())?;
    write("etc/gres.conf", &config.gres_conf())?;
    write("etc/mpi.conf", SlurmConfig::mpi_conf())?;
    write("etc/cgroup.conf", SlurmConfig::cgroup_conf())?;
    write("etc/plugstack.conf", &plugstack)?;
    if let Some(text) = &plan.builder.acct_gather {
        write("etc/acct_gather.conf", text)?;
    }
    write(
        "run/hosts",
        &config.hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default()),
    )?;
    if plan.builder.rest {
        write_private(&dir.join("state/jwt.key"), &random_key()?[..JWT_KEY_BYTES])?;
    }
    if plan.builder.accounting {
        write_private(
            &dir.join("etc/slurmdbd.conf"),
            config.slurmdbd_conf(plan.ports.database()).as_bytes(),
        )?;
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<(), LabError> {
    fs::create_dir_all(path).map_err(LabError::file("create", path))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(LabError::file("open up", path))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    fs::write(path, bytes).map_err(LabError::file("write", path))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(LabError::file("protect", path))
}

/// munge wants 32 to 1024 random bytes.
fn random_key() -> Result<[u8; 1024], LabError> {
    use std::io::Read as _;
    let (source, mut key) = ("/dev/urandom", [0; 1024]);
    let read = fs::File::open(source).and_then(|mut file| file.read_exact(&mut key));
    read.map_err(LabError::file("read", source))?;
    Ok(key)
}

/// Character devices of NVIDIA's number, with no driver behind them.
fn make_gpu_nodes(plan: &Plan) -> Result<(), LabError> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    const NVIDIA_MAJOR: u64 = 195;
    let folder = plan.dir().join("dev");
    make_dir(&folder, 0o755)?;
    for gpu in 0..plan.builder.gpus {
        let path = folder.join(format!("nvidia{gpu}"));
        let mode = Mode::from_bits_truncate(0o666);
        let device = makedev(NVIDIA_MAJOR, u64::from(gpu));
        mknod(&path, SFlag::S_IFCHR, mode, device).map_err(|_| LabError::NeedsRoot {
            what: "a lab with GPUs",
        })?;
    }
    Ok(())
}
