//! Plugins of a site that act in sbatch and not in slurmctld: jobs through slurmrestd pass them
//! by, so whoever is not told to take slurmrestd looks for them first.

use std::path::Path;

/// Our own plugin does nothing for a job that does not ask for it, and one that does goes
/// through sbatch.
const OURS: &str = "spank_mizar";

/// What of a site's settings (`scontrol show config`) acts in sbatch, in words; none if nothing.
pub(super) fn plugin(settings: &str) -> Option<String> {
    let filters = value(settings, "CliFilterPlugins")
        .filter(|names| !matches!(*names, "(null)" | "" | "none" | "cli_filter/none"));
    if let Some(names) = filters {
        return Some(format!("the site's {names} looks at what sbatch submits"));
    }
    let stack = Path::new(value(settings, "PlugStackConfig")?);
    // Without the file there are no plugins; one that we may not read is not ours to judge.
    let text = match std::fs::read_to_string(stack) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("cannot read {}: {error}", stack.display())),
    };
    let mut lines = text.lines().map(str::trim);
    let other =
        lines.find(|line| !line.is_empty() && !line.starts_with('#') && !line.contains(OURS))?;
    Some(format!(
        "the site's {} has a plugin for sbatch: {}",
        stack.display(),
        crate::answer::shorten(other)
    ))
}

/// The value of `name = value`.
fn value<'a>(settings: &'a str, name: &str) -> Option<&'a str> {
    settings.lines().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_that_act_in_sbatch_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let stack = folder.path().join("plugstack.conf");
        let settings = |filter: &str| {
            format!(
                "CliFilterPlugins        = {filter}\nPlugStackConfig         = {}\n",
                stack.display()
            )
        };
        assert_eq!(plugin(&settings("(null)")), None, "no file, no plugin");
        assert!(plugin(&settings("cli_filter/lua")).unwrap().contains("lua"));
        for (text, is_free) in [
            ("", true),
            ("# required x.so\n\n", true),
            ("optional /opt/lib/spank_mizar.so socket=/run/mizar\n", true),
            ("optional spank_mizar.so\nrequired private_tmp.so\n", false),
            ("include /etc/slurm/plugstack.conf.d/*\n", false),
        ] {
            std::fs::write(&stack, text).unwrap();
            assert_eq!(plugin(&settings("(null)")).is_none(), is_free, "{text}");
        }
        assert_eq!(plugin(""), None);
    }
}
