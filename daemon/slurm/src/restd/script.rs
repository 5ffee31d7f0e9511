//! A batch script on its way to slurmrestd, which, unlike sbatch, reads nothing in it: its
//! `#SBATCH` lines become options here, and where the API cannot carry arguments a shell
//! script takes them from its environment.

use std::collections::BTreeMap;
use std::path::Path;

use crate::script;

/// Shells that understand the line of [`Script::with_arguments`].
const SHELLS: [&str; 4] = ["sh", "bash", "dash", "ksh"];

/// Lines for us or other schedulers that sbatch reads.
const DIRECTIVES: [&str; 4] = ["#SBATCH", "#PBS", "#BSUB", "#SLURM"];

/// Options that we give ourselves, so that a script's own have no effect, as with sbatch.
const OURS: [&str; 4] = ["chdir", "comment", "job-name", "output"];

/// A script that can be sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) text: String,
    /// What its `#SBATCH` lines ask for.
    pub(super) options: BTreeMap<String, String>,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// Why sbatch has to have it: it reads scripts with more care, and knows what to refuse.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let script = script::read(path)
            .map_err(|error| format!("its script cannot be read: {error}"))?
            .ok_or("its script is larger than 1 MiB")?;
        let text = String::from_utf8(script).map_err(|_| "its script is not UTF-8")?;
        Self::parse(text)
    }

    fn parse(text: String) -> Result<Self, String> {
        let head = script::head(text.as_bytes()).filter(|_| !text.contains(['\0', '\r']));
        let head = head.ok_or("its script has no `#!`, or strange characters")?;
        let mut options = BTreeMap::new();
        for line in String::from_utf8_lossy(head).lines() {
            let words = line.trim_start();
            if DIRECTIVES.iter().any(|word| words.starts_with(word)) {
                directive(line, &mut options)?;
            }
        }
        Ok(Self { text, options })
    }

    /// The script with a line that sets its arguments from variables, whose names begin with
    /// `prefix`. No argument is in that line.
    ///
    /// # Errors
    /// If the script is not a shell's.
    pub(super) fn with_arguments(&self, count: usize, prefix: &str) -> Result<String, String> {
        let (first, rest) = self.text.split_once('\n').unwrap_or((&self.text, ""));
        if !is_shell(first) {
            return Err(format!("arguments for a script of `{first}`"));
        }
        let names: Vec<String> = (1..=count).map(|n| format!("{prefix}{n}")).collect();
        let quoted: Vec<String> = names.iter().map(|name| format!("\"${name}\"")).collect();
        Ok(format!(
            "{first}\nset -- {}; unset {}\n{rest}",
            quoted.join(" "),
            names.join(" ")
        ))
    }
}

/// Reads one line of `#SBATCH`.
fn directive(line: &str, options: &mut BTreeMap<String, String>) -> Result<(), String> {
    let odd = || format!("its line `{line}`");
    let rest = line.strip_prefix("#SBATCH").ok_or_else(odd)?;
    // Quotes, escapes and comments are sbatch's own grammar.
    if !rest.starts_with([' ', '\t']) || rest.contains(['"', '\'', '\\', '#']) {
        return Err(odd());
    }
    for word in rest.split_whitespace() {
        let option = word.strip_prefix("--").ok_or_else(odd)?;
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if !OURS.contains(&name) {
            options.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// Whether a first line names a POSIX shell, with simple flags at most.
fn is_shell(first: &str) -> bool {
    let Some(line) = first.strip_prefix("#!") else {
        return false;
    };
    let mut words = line.split_whitespace();
    let is_named = |word: &str| SHELLS.contains(&word);
    let program = words.next().unwrap_or_default();
    let known = match program {
        "/usr/bin/env" => words.next().is_some_and(is_named),
        _ => program.starts_with('/') && program.rsplit('/').next().is_some_and(is_named),
    };
    // `-s` and `-c` say where a script comes from.
    let is_plain = |flag: &str| {
        flag.strip_prefix('-').is_some_and(|letters| {
            letters
                .bytes()
                .all(|b| b.is_ascii_lowercase() && !b"sc".contains(&b))
        })
    };
    known && words.all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_become_options() {
        let text = "#!/bin/bash -l\n\n# a comment\n#SBATCH --time=5 --ntasks=2\n#SBATCH --no-requeue\n\
                    #SBATCH --job-name=mine\necho\n#SBATCH --mem=1\n";
        let script = Script::parse(text.to_owned()).unwrap();
        let found: Vec<_> = script
            .options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, [("no-requeue", ""), ("ntasks", "2"), ("time", "5")]);
        assert_eq!(script.text, text);
    }

    #[test]
    fn what_only_sbatch_reads_is_left_to_it() {
        for text in [
            "echo\n",
            "#!/bin/sh\r\necho\r\n",
            "#!/bin/sh\n#SBATCH -n 2\n",
            "#!/bin/sh\n#SBATCH --time 5\n",
            "#!/bin/sh\n#SBATCH --comment=\"a b\"\n",
            "#!/bin/sh\n#SBATCH --time=5 # five\n",
            "#!/bin/sh\n#PBS -l nodes=1\n",
            "#!/bin/sh\n #SBATCH --time=5\n",
            "#!/bin/sh\n#SBATCHX --time=5\n",
        ] {
            assert!(Script::parse(text.to_owned()).is_err(), "{text}");
        }
        let binary = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(binary.path(), b"#!/bin/sh\n\xff\n").unwrap();
        assert!(Script::read(binary.path()).is_err());
        std::fs::write(binary.path(), "#!/bin/sh\n".repeat(200_000)).unwrap();
        assert!(Script::read(binary.path()).is_err());
    }

    #[test]
    fn a_shell_takes_its_arguments_from_variables() {
        let script = Script::parse("#!/bin/sh\nfor a; do echo \"<$a>\"; done; env\n".to_owned());
        let text = script.unwrap().with_arguments(11, "ARG_").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let mut command = std::process::Command::new("/bin/sh");
        command.arg(file.path()).env_clear();
        for n in 1..=11 {
            command.env(format!("ARG_{n}"), format!("{n} $(id)\n\"'`"));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let expected: String = (1..=11).map(|n| format!("<{n} $(id)\n\"'`>\n")).collect();
        assert!(said.starts_with(&expected), "{said}");
        assert!(!said.contains("ARG_"), "{said}");
    }

    #[test]
    fn shells_are_known_by_their_first_line() {
        for line in [
            "#!/bin/sh",
            "#! /usr/bin/bash -l",
            "#!/usr/bin/env bash",
            "#!/bin/sh -eu",
        ] {
            assert!(is_shell(line), "{line}");
        }
        for line in [
            "#!/usr/bin/python3",
            "#!/usr/bin/env python3",
            "#!/usr/bin/env -S bash",
            "#!/bin/sh -c",
            "#!sh",
            "#!/bin/sh x",
            "#!",
        ] {
            assert!(!is_shell(line), "{line}");
        }
    }
}
