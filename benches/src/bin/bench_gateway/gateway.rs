//! The gateway under measurement, a process with one service, and the folder that it lives in.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::PATIENCE;

/// A gateway that ends with this value.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Starts one in a folder; `slurm` is the table of that name, and others may follow.
    pub(crate) fn start(dir: &Path, slurm: &str) -> anyhow::Result<Self> {
        Self::with_service(dir, slurm, "")
    }

    /// The same, with more lines for its service.
    pub(crate) fn with_service(dir: &Path, slurm: &str, service: &str) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let script = dir.join("job.sh");
        fs::write(&script, "#!/bin/sh\ntrue\n")?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let services = format!(
            "[[service]]\nname = \"bench\"\nscript = \"{}\"\n{service}",
            script.display()
        );
        fs::write(dir.join("services.toml"), services)?;
        let config = format!(
            "listen = \"{address}\"\nstate_dir = \"state\"\nwork_dir = \"work\"\n\
             services = [\"services.toml\"]\n[limits]\nqueue_events = 100000000\n[slurm]\n{slurm}"
        );
        fs::write(dir.join("gateway.toml"), config)?;
        let program = mizar_lab::binary("mizar-gateway");
        let child = Command::new(&program)
            .args(["serve", "--config"])
            .arg(dir.join("gateway.toml"))
            .env("MIZAR_LOG", "error")
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot run {}; build it first", program.display()))?;
        let mut gateway = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(gateway.child.try_wait()?.is_none(), "the gateway ended");
            ensure!(started.elapsed() < PATIENCE, "the gateway is not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(gateway)
    }
}

/// A folder on a real disk: a temporary file system syncs for nothing.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let cache = mizar_lab::venv::cache().context("neither XDG_CACHE_HOME nor HOME is set")?;
    let folder = cache.join("bench");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
