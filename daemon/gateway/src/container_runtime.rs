//! How a container is run on a node: Apptainer, Singularity, Podman, Enroot, or as a plain
//! process where the site has none of them.
//!
//! Used for pods and for OSCAR's services. Out comes an argument vector and an environment: no
//! word of a user is ever an option of the runtime, and no value of a variable is in the vector,
//! where every user of the node could read it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What runs containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Apptainer.
    Apptainer,
    /// Singularity.
    Singularity,
    /// Podman.
    Podman,
    /// Enroot: images are files or containers of the node.
    Enroot,
    /// Nothing: commands are run as they are, and images are only shown.
    #[default]
    None,
}

/// How the site runs containers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Containers {
    /// What runs them.
    pub runtime: Runtime,
    /// The program; none means its usual name, from PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// Options of every container, after the runtime's subcommand.
    pub options: Vec<String>,
    /// Put before images without a scheme and without a leading `/`: `docker://`.
    pub image_prefix: String,
    /// Folders of the nodes that containers may be given, with all below them.
    pub host_paths: Vec<PathBuf>,
    /// The supervisor as the nodes see it: `mizar-gateway`. None means this very program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supervisor: Option<PathBuf>,
}

/// A folder or file that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// On the node.
    pub from: String,
    /// In the container.
    pub to: String,
    /// Whether it may not be written.
    pub read_only: bool,
}

/// One container to be run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The image, as the user names it.
    pub image: String,
    /// Put before it instead of the site's prefix.
    pub image_root: Option<String>,
    /// What is run instead of the image's own command.
    pub command: Vec<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Working directory.
    pub directory: Option<String>,
    /// What it sees.
    pub binds: Vec<Bind>,
    /// Further options that the site lets users give.
    pub options: Vec<String>,
    /// Names of variables that only the supervisor knows.
    pub later: Vec<String>,
}

/// A command line with its environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandLine {
    /// The argument vector.
    pub argv: Vec<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// Working directory of a plain process.
    pub directory: Option<String>,
}

/// Variables that would change the runtime itself where it hands its own to the container.
const HOST_NAMES: [&str; 9] = [
    "PATH", "HOME", "USER", "SHELL", "IFS", "ENV", "TMPDIR", "TMP", "TEMP",
];
/// And beginnings of such.
const HOST_PREFIXES: [&str; 8] = [
    "LD_",
    "BASH_",
    "XDG_",
    "ENROOT_",
    "CONTAINERS_",
    "PODMAN_",
    "DOCKER_",
    "SLURM_",
];

impl Containers {
    /// Put before names of variables, once for each, so that they reach the container.
    #[must_use]
    pub fn variable_prefix(&self) -> &'static str {
        match self.runtime {
            Runtime::Apptainer => "APPTAINERENV_",
            Runtime::Singularity => "SINGULARITYENV_",
            Runtime::Podman | Runtime::Enroot | Runtime::None => "",
        }
    }

    /// Builds the command line of a container; the problem is told without its place.
    ///
    /// # Errors
    /// What cannot be done, and what can.
    pub fn command_line(&self, wanted: &Wanted) -> Result<CommandLine, String> {
        for (name, _) in &wanted.env {
            self.check_variable(name)?;
        }
        for bind in &wanted.binds {
            check_bind(bind)?;
        }
        let prefix = self.variable_prefix();
        let env = wanted
            .env
            .iter()
            .map(|(name, value)| (format!("{prefix}{name}"), value.clone()))
            .collect();
        if self.runtime == Runtime::None {
            if wanted.command.is_empty() {
                return Err("needs a command: this site runs no images".to_owned());
            }
            let argv = [wanted.command.clone(), wanted.args.clone()].concat();
            return Ok(CommandLine {
                argv,
                env,
                directory: wanted.directory.clone(),
            });
        }
        let image = self.image(wanted)?;
        let mut argv = self.before_image(wanted)?;
        argv.push(image);
        // Podman has the command among its options.
        if self.runtime != Runtime::Podman {
            argv.extend(wanted.command.iter().cloned());
        }
        argv.extend(wanted.args.iter().cloned());
        Ok(CommandLine {
            argv,
            env,
            directory: None,
        })
    }

    fn check_variable(&self, name: &str) -> Result<(), String> {
        let shown = name.escape_debug();
        let mut bytes = name.bytes();
        let starts = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !starts || !bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!(
                "cannot set `{shown}`: a variable is named with A-Z, a-z, 0-9 and _"
            ));
        }
        let shares = matches!(self.runtime, Runtime::Podman | Runtime::Enroot);
        let touchy =
            HOST_NAMES.contains(&name) || HOST_PREFIXES.iter().any(|start| name.starts_with(start));
        if shares && touchy {
            return Err(format!(
                "cannot set `{shown}`: with this site's runtime it would change the runtime itself"
            ));
        }
        Ok(())
    }

    fn before_image(&self, wanted: &Wanted) -> Result<Vec<String>, String> {
        let (usual, verb) = match self.runtime {
            Runtime::Apptainer => ("apptainer", verb(wanted)),
            Runtime::Singularity => ("singularity", verb(wanted)),
            Runtime::Podman => ("podman", "run"),
            Runtime::Enroot | Runtime::None => ("enroot", "start"),
        };
        let program = self
            .program
            .as_ref()
            .map_or(usual.to_owned(), |path| path.display().to_string());
        let mut argv = vec![program, verb.to_owned()];
        argv.extend(self.options.iter().chain(&wanted.options).cloned());
        let flag = match self.runtime {
            Runtime::Podman => "--volume",
            Runtime::Enroot => "--mount",
            _ => "--bind",
        };
        for bind in &wanted.binds {
            let end = if bind.read_only { ":ro" } else { "" };
            argv.extend([flag.to_owned(), format!("{}:{}{end}", bind.from, bind.to)]);
        }
        match (self.runtime, &wanted.directory) {
            (_, None) => {}
            (Runtime::Enroot, Some(_)) => {
                return Err("has a working directory, which Enroot cannot set".to_owned());
            }
            (Runtime::Podman, Some(path)) => argv.extend(["--workdir".to_owned(), path.clone()]),
            (_, Some(path)) => argv.extend(["--pwd".to_owned(), path.clone()]),
        }
        if matches!(self.runtime, Runtime::Podman | Runtime::Enroot) {
            // Without a value: the runtime takes it from its own environment.
            let names = wanted.env.iter().map(|(name, _)| name).chain(&wanted.later);
            for name in names {
                argv.extend(["--env".to_owned(), name.clone()]);
            }
        }
        if self.runtime == Runtime::Podman && !wanted.command.is_empty() {
            argv.extend([
                "--entrypoint".to_owned(),
                serde_json::json!(wanted.command).to_string(),
            ]);
        }
        Ok(argv)
    }

    /// The image as the runtime wants it.
    fn image(&self, wanted: &Wanted) -> Result<String, String> {
        let image = wanted.image.trim();
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if image.is_empty() || image.starts_with('-') || image.contains(odd) {
            return Err(format!(
                "has the image `{}`, which is no name of one",
                image.escape_debug()
            ));
        }
        if image.split('/').any(|part| part == "..") {
            return Err(format!("has the image `{image}`, which holds `..`"));
        }
        let named = if image.contains("://") || image.starts_with('/') {
            image.to_owned()
        } else {
            let root = wanted.image_root.as_deref().unwrap_or(&self.image_prefix);
            format!("{root}{image}")
        };
        match self.runtime {
            Runtime::Podman => Ok(named.strip_prefix("docker://").unwrap_or(&named).to_owned()),
            Runtime::Enroot if named.contains("://") => Err(format!(
                "has the image `{named}`: Enroot starts files and containers of the node; import it first"
            )),
            _ => Ok(named),
        }
    }
}

fn verb(wanted: &Wanted) -> &'static str {
    if wanted.command.is_empty() {
        "run"
    } else {
        "exec"
    }
}

fn check_bind(bind: &Bind) -> Result<(), String> {
    for path in [&bind.from, &bind.to] {
        let shown = path.escape_debug();
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(format!(
                "mounts `{shown}`, which is no absolute path without `..`"
            ));
        }
        // They part source, target and options, and mounts from each other.
        if path.contains([':', ',']) || path.chars().any(char::is_control) {
            return Err(format!(
                "mounts `{shown}`, which holds `:`, `,` or a control character"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            image: "busybox:1".to_owned(),
            command: vec!["sh".to_owned(), "-c".to_owned()],
            args: vec!["--bind /:/host; $(id)".to_owned()],
            env: vec![("A".to_owned(), "secret".to_owned())],
            directory: Some("/w".to_owned()),
            binds: vec![Bind {
                from: "/j/v".to_owned(),
                to: "/v".to_owned(),
                read_only: true,
            }],
            ..Wanted::default()
        }
    }

    fn line(runtime: Runtime, wanted: &Wanted) -> Result<CommandLine, String> {
        let site = Containers {
            runtime,
            image_prefix: "docker://".to_owned(),
            options: vec!["--site".to_owned()],
            ..Containers::default()
        };
        site.command_line(wanted)
    }

    #[test]
    fn command_lines_of_every_runtime() {
        let of = |runtime| line(runtime, &wanted()).unwrap().argv.join(" ");
        let words = "sh -c --bind /:/host; $(id)";
        assert_eq!(
            of(Runtime::Apptainer),
            format!("apptainer exec --site --bind /j/v:/v:ro --pwd /w docker://busybox:1 {words}")
        );
        assert_eq!(
            of(Runtime::Podman),
            r#"podman run --site --volume /j/v:/v:ro --workdir /w --env A --entrypoint ["sh","-c"] busybox:1 --bind /:/host; $(id)"#
        );
        assert_eq!(of(Runtime::None), words);
        assert!(line(Runtime::Enroot, &wanted()).is_err());
        let file = Wanted {
            image: "/images/a.sqsh".to_owned(),
            directory: None,
            ..wanted()
        };
        assert_eq!(
            line(Runtime::Enroot, &file).unwrap().argv.join(" "),
            format!("enroot start --site --mount /j/v:/v:ro --env A /images/a.sqsh {words}")
        );
        let plain = Wanted {
            command: vec![],
            ..wanted()
        };
        assert!(
            line(Runtime::Apptainer, &plain)
                .unwrap()
                .argv
                .contains(&"run".to_owned())
        );
        assert!(line(Runtime::None, &plain).is_err());
    }

    #[test]
    fn values_are_in_no_argument() {
        for runtime in [
            Runtime::Apptainer,
            Runtime::Singularity,
            Runtime::Podman,
            Runtime::None,
        ] {
            let line = line(runtime, &wanted()).unwrap();
            assert!(!line.argv.join(" ").contains("secret"));
            assert_eq!(line.env.len(), 1);
        }
    }

    #[test]
    fn what_would_be_something_else_is_refused() {
        for image in ["--bind=/:/x", "", "a b", "a\nb", "../x", "/a/../b"] {
            let odd = Wanted {
                image: image.to_owned(),
                ..wanted()
            };
            assert!(line(Runtime::Apptainer, &odd).is_err(), "{image:?}");
        }
        for to in ["/v:rw", "/v,/etc:/x", "v", "/a/../../etc", "/a\nb"] {
            let bind = Bind {
                from: "/j".to_owned(),
                to: to.to_owned(),
                read_only: false,
            };
            let odd = Wanted {
                binds: vec![bind],
                ..wanted()
            };
            assert!(line(Runtime::Apptainer, &odd).is_err(), "{to:?}");
        }
        for name in ["", "1A", "A-B", "A=B", "A\nB", "A$(id)", "BASH_FUNC_x%%"] {
            let odd = Wanted {
                env: vec![(name.to_owned(), String::new())],
                ..wanted()
            };
            assert!(line(Runtime::None, &odd).is_err(), "{name:?}");
        }
        let preload = Wanted {
            env: vec![("LD_PRELOAD".to_owned(), "/x".to_owned())],
            ..wanted()
        };
        assert!(line(Runtime::Podman, &preload).is_err());
        assert_eq!(
            line(Runtime::Apptainer, &preload).unwrap().env[0].0,
            "APPTAINERENV_LD_PRELOAD"
        );
    }
}
