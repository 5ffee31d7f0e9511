//! `mizar-submit-as` beside a lab, for tests of jobs of other users.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::process::wait_until;
use crate::{Lab, LabError, Users, binary};

/// Until the socket answers.
const START: Duration = Duration::from_secs(20);

/// A running helper; killed on drop.
#[derive(Debug)]
pub struct SubmitAsHelper {
    child: Child,
    /// Where it listens.
    pub socket: PathBuf,
}

impl Drop for SubmitAsHelper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl SubmitAsHelper {
    /// Starts it for jobs of `users` below `work_dir`, for a gateway of root's.
    ///
    /// # Errors
    /// Why it does not start or listen.
    pub fn start(lab: &Lab, users: &Users, work_dir: &Path) -> Result<Self, LabError> {
        let program = binary("mizar-submit-as");
        let socket = lab.dir().join("run/submit-as.sock");
        let config = lab.dir().join("etc/submit-as.toml");
        let text = format!(
            "socket = '{}'\ngateway_user = 'root'\nusers = ['{}', '{}']\nmin_uid = 500\n\
             work_dir = '{}'\nconf = '{}/etc/slurm.conf'\n",
            socket.display(),
            users.first,
            users.second,
            work_dir.display(),
            lab.dir().display()
        );
        fs::write(&config, text).map_err(LabError::file("write", &config))?;
        let child = Command::new(&program).arg("--config").arg(&config).spawn();
        let child = child.map_err(LabError::file("run", &program))?;
        let helper = Self { child, socket };
        wait_until("mizar-submit-as", START, || {
            Ok(UnixStream::connect(&helper.socket).is_ok())
        })?;
        Ok(helper)
    }
}
