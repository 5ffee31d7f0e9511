//! The helper's own configuration: whom it listens to, and as whom it acts. It is root's, and no
//! order can widen it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{User, getgrouplist};
use serde::Deserialize;

use super::ffi::Identity;
use super::is_user_name;

/// The file of the helper, `/etc/mizar/submit-as.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub socket: PathBuf,
    /// The only user who may give orders.
    pub gateway_user: String,
    /// The users whose jobs may be submitted; without it, all from `min_uid` on.
    #[serde(default)]
    pub users: Vec<String>,
    /// No user with a lower number, whatever `users` says.
    #[serde(default = "default_min_uid")]
    pub min_uid: u32,
    /// The gateway's `work_dir`.
    pub work_dir: PathBuf,
    /// sbatch.
    #[serde(default = "default_sbatch")]
    pub sbatch: PathBuf,
    /// scancel.
    #[serde(default = "default_scancel")]
    pub scancel: PathBuf,
    /// slurm.conf; none means Slurm's own choice.
    #[serde(default)]
    pub conf: Option<PathBuf>,
    /// Limit of one sbatch or scancel.
    #[serde(default = "default_limit_ms")]
    pub limit_ms: u64,
}

fn default_min_uid() -> u32 {
    1000
}

fn default_sbatch() -> PathBuf {
    "/usr/bin/sbatch".into()
}

fn default_scancel() -> PathBuf {
    "/usr/bin/scancel".into()
}

fn default_limit_ms() -> u64 {
    40_000
}

/// Why the helper does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or socket.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A rule is broken.
    #[error("{}: {problem}", .path.display())]
    Invalid {
        /// The file that breaks it.
        path: PathBuf,
        /// The rule.
        problem: String,
    },
}

pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
    let path = path.to_owned();
    move |source| ConfigError::File { what, path, source }
}

impl Config {
    /// Reads the file, which must be root's alone to write.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let found = std::fs::metadata(path).map_err(file("read", path))?;
        let invalid = |problem: String| ConfigError::Invalid {
            path: path.to_owned(),
            problem,
        };
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Err(invalid(
                "must belong to root, and nobody else may write it".to_owned(),
            ));
        }
        let text = std::fs::read_to_string(path).map_err(file("read", path))?;
        let config: Self = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        config.check().map_err(invalid)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        for (key, path) in [
            ("socket", &self.socket),
            ("work_dir", &self.work_dir),
            ("sbatch", &self.sbatch),
            ("scancel", &self.scancel),
        ] {
            if !path.is_absolute() {
                return Err(format!("`{key}` must be an absolute path"));
            }
        }
        if self.min_uid == 0 || self.limit_ms == 0 {
            return Err("`min_uid` and `limit_ms` must be at least 1".to_owned());
        }
        match self.users.iter().find(|name| !is_user_name(name)) {
            Some(name) => Err(format!("`{name}` in `users` is no user's name")),
            None => Ok(()),
        }
    }

    /// The user that an order names, if it is allowed.
    pub(super) fn user(&self, name: &str) -> Result<(User, Identity), String> {
        let refused = |why: &str| {
            Err(format!(
                "no jobs as `{}`: {why}",
                crate::answer::shorten(name)
            ))
        };
        if !is_user_name(name) {
            return refused("that is no user's name");
        }
        if !self.users.is_empty() && !self.users.iter().any(|user| user == name) {
            return refused("not in `users` of the helper's configuration");
        }
        let user = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => return refused("this machine does not know the user"),
            Err(error) => return Err(format!("cannot look `{name}` up: {error}")),
        };
        // The name may have aliases in a directory service; the numbers decide.
        if user.uid.as_raw() < self.min_uid || user.uid.is_root() || user.gid.as_raw() == 0 {
            return refused("its number is below `min_uid`, or its group is root's");
        }
        let c_name = std::ffi::CString::new(name).map_err(|error| error.to_string())?;
        let groups = getgrouplist(&c_name, user.gid)
            .map_err(|error| format!("cannot list the groups of `{name}`: {error}"))?;
        let identity = Identity {
            uid: user.uid,
            gid: user.gid,
            groups,
        };
        Ok((user, identity))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use nix::unistd::Uid;

    use super::*;

    fn config(text: &str) -> Config {
        let head = "socket = '/run/s'\ngateway_user = 'daemon'\nwork_dir = '/w'\n";
        toml::from_str(&format!("{head}{text}")).unwrap()
    }

    #[test]
    fn only_allowed_users_pass() {
        let all = config("");
        for name in ["root", "daemon", "no-such-user", "-x", "a b", ""] {
            assert!(all.user(name).is_err(), "{name}");
        }
        // Not even a low bar and a list let root pass.
        let low = config("min_uid = 1\nusers = ['root', 'bin']");
        assert!(low.user("root").is_err());
        assert!(low.user("daemon").unwrap_err().contains("not in `users`"));
        assert_eq!(low.user("bin").unwrap().0.name, "bin");
    }

    #[test]
    fn the_shipped_example_is_accepted() {
        let text = include_str!("../../../gateway/deploy/submit-as.toml");
        let example: Config = toml::from_str(text).unwrap();
        assert!(example.check().is_ok());
        let every = text.replace("\n# conf", "\nconf");
        assert!(toml::from_str::<Config>(&every).unwrap().conf.is_some());
    }

    #[test]
    fn a_configuration_keeps_to_the_rules() {
        assert!(config("").check().is_ok());
        for text in [
            "min_uid = 0",
            "limit_ms = 0",
            "users = ['a b']",
            "sbatch = 'sbatch'",
        ] {
            assert!(config(text).check().is_err(), "{text}");
        }
    }

    #[test]
    fn a_configuration_that_others_may_write_is_refused() {
        if !Uid::effective().is_root() {
            println!("SKIP: only root can make a file of root's");
            return;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "socket = '/run/s'\ngateway_user = 'daemon'\nwork_dir = '/w'\n",
        )
        .unwrap();
        let mode = |mode| {
            std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
            Config::load(file.path())
        };
        assert!(mode(0o644).is_ok());
        assert!(mode(0o664).is_err());
        chown(file.path(), Some(1), None).unwrap();
        assert!(mode(0o644).is_err());
    }
}
