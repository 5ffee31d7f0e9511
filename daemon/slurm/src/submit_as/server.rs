//! The helper itself: its socket, and one thread for each connection.

use std::io::{Seek, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Group, Uid, User};
use tracing::{error, info, warn};

use super::config::{Config, ConfigError, file};
use super::ffi::{Identity, become_user};
use super::{Folder, Order, Reply, Task, place, read_frame, write_frame};
use crate::process::{Finished, run_with};

/// Most connections at once; a gateway has one for each of its submitters.
const MAX_CONNECTIONS: usize = 64;

/// Longest wait for an order to arrive, and for a reply to be taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Most words of an sbatch, and most variables of a job.
const MAX_WORDS: usize = 4096;

/// Variables that would change sbatch itself, or how it is loaded.
const FORBIDDEN: [&str; 3] = ["LD_", "SBATCH_", "SLURM_"];

/// Serves until the process is ended; `program` is this very program, for its children.
///
/// # Errors
/// [`ConfigError`] if it cannot start.
pub fn serve(config: Config, program: PathBuf) -> Result<(), ConfigError> {
    let invalid = |problem: String| ConfigError::Invalid {
        path: config.socket.clone(),
        problem,
    };
    if !Uid::effective().is_root() {
        return Err(invalid("only root can submit as others".to_owned()));
    }
    let gateway = User::from_name(&config.gateway_user)
        .ok()
        .flatten()
        .ok_or_else(|| invalid(format!("there is no user `{}`", config.gateway_user)))?;
    match std::fs::remove_file(&config.socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file("remove", &config.socket)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&config.socket).map_err(file("listen at", &config.socket))?;
    let protected = chown(&config.socket, None, Some(gateway.gid.as_raw()))
        .and_then(|()| std::fs::set_permissions(&config.socket, PermissionsExt::from_mode(0o660)));
    protected.map_err(file("protect", &config.socket))?;
    let group = Group::from_gid(gateway.gid).ok().flatten();
    info!(socket = %config.socket.display(), gateway = %gateway.name, group = group.map(|g| g.name), "ready");
    let helper = Arc::new(Helper {
        config,
        program,
        gateway: gateway.uid,
        group: gateway.gid,
    });
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                error!(%error, "cannot accept a connection");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if busy.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
            busy.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (helper, busy_there) = (Arc::clone(&helper), Arc::clone(&busy));
        let thread = std::thread::Builder::new().name("order".to_owned());
        let spawned = thread.spawn(move || {
            helper.attend(stream);
            busy_there.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

struct Helper {
    config: Config,
    program: PathBuf,
    gateway: Uid,
    group: Gid,
}

impl Helper {
    /// Takes one order and answers it.
    fn attend(&self, mut stream: UnixStream) {
        let peer = match getsockopt(&stream, sockopt::PeerCredentials) {
            Ok(peer) => Uid::from_raw(peer.uid()),
            Err(error) => return warn!(%error, "cannot tell who asks"),
        };
        if peer != self.gateway {
            return warn!(
                uid = peer.as_raw(),
                "hung up on somebody who is not the gateway"
            );
        }
        let limits = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        if limits.is_err() {
            return;
        }
        let reply = match read_frame::<Order>(&mut stream) {
            Ok(order) => self.carry_out(&order),
            Err(error) => Reply::Refused(format!("the order cannot be read: {error}")),
        };
        if let Err(error) = write_frame(&mut stream, &reply) {
            warn!(%error, "a reply was not taken");
        }
    }

    fn carry_out(&self, order: &Order) -> Reply {
        let allowed = || {
            self.config.user(&order.user).map_err(|why| {
                warn!(%why, "refused");
                Reply::Refused(why)
            })
        };
        let done = match &order.task {
            Task::Hello => Ok(Reply::Hello {
                work_dir: self.config.work_dir.display().to_string(),
            }),
            Task::Prepare(folder) => {
                allowed().map(|(user, identity)| self.prepare(&user, &identity, folder))
            }
            Task::Submit {
                arguments,
                environment,
            } => allowed()
                .map(|(user, identity)| self.submit(&user, &identity, arguments, environment)),
            Task::Cancel { job } => allowed().map(|(user, identity)| {
                let arguments = ["--quiet".to_owned(), job.to_string()];
                info!(user = %user.name, job, "scancel");
                self.run(&user, &identity, &self.config.scancel, &arguments, &[])
            }),
        };
        done.unwrap_or_else(|refused| refused)
    }

    fn submit(
        &self,
        user: &User,
        identity: &Identity,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Reply {
        if arguments.len() > MAX_WORDS || environment.len() > MAX_WORDS {
            return Reply::Refused("too many arguments or variables".to_owned());
        }
        let is_forbidden = |name: &str| FORBIDDEN.iter().any(|start| name.starts_with(start));
        if let Some((name, _)) = environment.iter().find(|(name, _)| is_forbidden(name)) {
            return Reply::Refused(format!("the variable `{name}` is not for a job"));
        }
        let reply = self.run(user, identity, &self.config.sbatch, arguments, environment);
        info!(user = %user.name, uid = user.uid.as_raw(), ?reply, "sbatch");
        reply
    }

    /// The environment of a program of Slurm's: nothing of this process's own.
    fn environment(&self, user: &User) -> Vec<(String, String)> {
        let mut all = vec![
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("HOME", user.dir.display().to_string()),
            ("LOGNAME", user.name.clone()),
            ("SHELL", user.shell.display().to_string()),
            ("USER", user.name.clone()),
        ];
        if let Some(conf) = &self.config.conf {
            all.push(("SLURM_CONF", conf.display().to_string()));
        }
        let own = all.into_iter();
        own.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn run(
        &self,
        user: &User,
        identity: &Identity,
        program: &Path,
        arguments: &[String],
        more: &[(String, String)],
    ) -> Reply {
        let mut environment = self.environment(user);
        environment.extend(more.iter().cloned());
        let limit = Duration::from_millis(self.config.limit_ms);
        let shape = |command: &mut Command| become_user(command, identity);
        reply(
            program,
            run_with(program, arguments, &environment, limit, shape),
        )
    }

    /// Makes a job's folder by a child of the user's.
    fn prepare(&self, user: &User, identity: &Identity, folder: &Folder) -> Reply {
        let made = place::of_user(&self.config.work_dir, &user.name, user.uid, self.group);
        let user_dir = match made {
            Ok(path) => path,
            Err(error) => return Reply::Failed(format!("no folder for `{}`: {error}", user.name)),
        };
        let input = serde_json::to_vec(folder)
            .map_err(std::io::Error::from)
            .and_then(|text| in_memory(&text));
        let input = match input {
            Ok(input) => input,
            Err(error) => return Reply::Failed(format!("no memory for a folder: {error}")),
        };
        let arguments = ["prepare".to_owned(), user_dir.display().to_string()];
        let limit = Duration::from_millis(self.config.limit_ms);
        let shape = |command: &mut Command| {
            command.stdin(input);
            become_user(command, identity);
        };
        let environment = self.environment(user);
        match run_with(&self.program, &arguments, &environment, limit, shape) {
            Ok(done) if done.status.is_some_and(|status| status.success()) => Reply::Prepared,
            Ok(done) => Reply::Failed(crate::answer::shorten(&done.stderr)),
            Err(error) => Reply::Failed(format!("cannot run {}: {error}", self.program.display())),
        }
    }
}

/// Bytes as a file that a child can read.
fn in_memory(bytes: &[u8]) -> std::io::Result<Stdio> {
    let mut file = std::fs::File::from(memfd_create(c"order", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(Stdio::from(file))
}

fn reply(program: &Path, result: std::io::Result<Finished>) -> Reply {
    match result {
        Ok(done) => Reply::Ran {
            code: done.status.map(|status| status.code().unwrap_or(-1)),
            stdout: done.stdout,
            stderr: done.stderr,
            is_complete: done.complete,
        },
        Err(error) => Reply::Failed(format!("cannot run {}: {error}", program.display())),
    }
}
