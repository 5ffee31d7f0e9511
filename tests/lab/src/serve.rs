//! The process behind `mizar-lab up`: it owns the lab until it is told to end.
//!
//! Its state is `lab.json` in the lab's directory, written once the lab is usable; it counts
//! only while the process in it lives.

use crate::Up;
use anyhow::{Context as _, bail};
use mizar_core::chain;
use mizar_lab::{Lab, MizarOptions, Signal, binary, plugin_path};
use nix::sys::signal::{SigSet, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// MariaDB's first start on a busy machine included.
const LONGEST_START: Duration = Duration::from_secs(180);
/// Until a lab that was asked to stop is killed.
const LONGEST_STOP: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);

/// What `lab.json` says about a running lab.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Serving {
    pub(crate) pid: i32,
    pub(crate) nodes: u32,
    pub(crate) mizar: bool,
    pub(crate) env: Vec<(String, String)>,
}

impl Serving {
    /// Reads the state of the lab in `dir`, or nothing if none is running there.
    fn read(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("lab.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let serving: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; remove it", path.display()))?;
        Ok(serving.lives().then_some(serving))
    }

    pub(crate) fn running(dir: &Path) -> anyhow::Result<Self> {
        let found = Self::read(dir)?;
        found.with_context(|| format!("no lab runs in {}; start one: mizar-lab up", dir.display()))
    }

    /// A process of that number is not enough: numbers are used again.
    fn lives(&self) -> bool {
        let command_line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        command_line
            .split(|byte| *byte == 0)
            .any(|word| word == b"serve")
    }
}

/// The file that `mizar-lab env` names.
pub(crate) fn env_file(dir: &Path) -> PathBuf {
    dir.join("env.sh")
}

/// Starts the lab in the background, or says that it runs already.
pub(crate) fn up(up: &Up) -> anyhow::Result<()> {
    let dir = &up.place.dir;
    if let Some(serving) = Serving::read(dir)? {
        println!("already up: {} nodes in {}", serving.nodes, dir.display());
        next_steps(dir);
        return Ok(());
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    println!("starting {} nodes in {} ...", up.nodes, dir.display());
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").args(std::env::args_os().skip(2));
    // Errors reach the reader of this pipe; the lab closes it when it is ready.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start the lab's process")?;
    let mut errors = child
        .stderr
        .take()
        .context("the lab's process has no stderr")?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut errors, &mut text)?;
    let start = Instant::now();
    while start.elapsed() < LONGEST_START {
        if let Some(serving) = Serving::read(dir)? {
            print!("{text}");
            let with = if serving.mizar { "with" } else { "without" };
            println!("up: {} nodes, {with} mizard and plugin", serving.nodes);
            next_steps(dir);
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let reason = text.trim_end().trim_start_matches("mizar-lab: ");
            bail!("the lab did not start ({status}): {reason}");
        }
        std::thread::sleep(POLL);
    }
    bail!("the lab did not start within {} s", LONGEST_START.as_secs())
}

fn next_steps(dir: &Path) {
    let file = quote(&env_file(dir).display().to_string());
    println!("use it:   . {file}   then: sinfo, srun -N2 hostname, sbatch ...");
    println!("stop it:  mizar-lab down   in that shell");
}

/// Owns the lab until SIGTERM or SIGINT.
pub(crate) fn serve(up: &Up) -> anyhow::Result<()> {
    // Blocked before any thread starts, so that only the wait below sees them.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let _ = nix::unistd::setsid();
    let built = binary("mizard").exists() && plugin_path().exists();
    if !built && !up.without_mizar {
        eprintln!("note: mizard and the plugin are not built; this is a plain Slurm");
    }
    let mizar = built && !up.without_mizar;
    let lab = builder(up, mizar)?
        .start()
        .map_err(|error| anyhow::anyhow!("{}", chain(&error)))?;
    let dir = lab.dir().to_owned();
    fs::write(env_file(&dir), env_script(&lab)).context("cannot write env.sh")?;
    let pid = i32::try_from(std::process::id())?;
    let serving = Serving {
        pid,
        nodes: up.nodes,
        mizar,
        env: lab.env(),
    };
    fs::write(dir.join("lab.new"), serde_json::to_string_pretty(&serving)?)?;
    fs::rename(dir.join("lab.new"), dir.join("lab.json")).context("cannot write lab.json")?;
    nix::unistd::dup2_stderr(fs::File::options().write(true).open("/dev/null")?)?;
    while matches!(signals.wait()?, Signal::SIGHUP) {}
    lab.stop();
    fs::remove_file(dir.join("lab.json")).context("cannot remove lab.json")
}

fn builder(up: &Up, mizar: bool) -> anyhow::Result<mizar_lab::LabBuilder> {
    let mut lab = Lab::builder()
        .dir(&up.place.dir)
        .nodes(up.nodes)
        .cpus(up.cpus)
        .memory_mib(up.memory_mib)
        .gpus(up.gpus)
        .slurmdbd(up.dbd);
    if mizar {
        let mut options = MizarOptions::default();
        for setting in &up.mizard {
            let pair = setting.split_once('=');
            let (key, value) = pair.with_context(|| format!("--mizard {setting}: no KEY=VALUE"))?;
            options = options.key(key.trim(), value.trim());
        }
        lab = lab.mizar_with(options);
    }
    Ok(lab)
}

/// Stops the lab in `dir`; none running is no error.
pub(crate) fn down(dir: &Path) -> anyhow::Result<()> {
    let Some(serving) = Serving::read(dir)? else {
        println!("no lab runs in {}", dir.display());
        return Ok(());
    };
    let pid = Pid::from_raw(serving.pid);
    kill(pid, Signal::SIGTERM).context("cannot stop the lab")?;
    let start = Instant::now();
    while serving.lives() {
        if start.elapsed() > LONGEST_STOP {
            // Its daemons die with it.
            kill(pid, Signal::SIGKILL).context("cannot kill the lab")?;
        }
        std::thread::sleep(POLL);
    }
    println!("down; logs and records stay in {}", dir.display());
    Ok(())
}

/// Lines for a shell to source.
fn env_script(lab: &Lab) -> String {
    let dir = lab.dir().display().to_string();
    let mut pairs = lab.env();
    pairs.push(("MIZAR_LAB_DIR".into(), dir.clone()));
    pairs.push((
        "MIZAR_RECORD_DIR".into(),
        lab.record_dir().display().to_string(),
    ));
    let mut text = format!("# Source this to use the lab in {dir}.\n");
    for (key, value) in pairs {
        text.push_str(&format!("export {key}={}\n", quote(&value)));
    }
    let programs = binary("").display().to_string();
    let programs = quote(programs.trim_end_matches('/'));
    text.push_str(&format!(
        "case \":$PATH:\" in *:{programs}:*) ;; *) PATH={programs}:$PATH ;; esac\n"
    ));
    text.push_str("export PATH\n");
    text
}

/// Quotes a value for a POSIX shell.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "'\\''"))
}
