//! `mizar doctor`: whether this node and this environment are fit for a distributed run.
//!
//! The edge over `mizar_site`: takes the site's profile, reads the node, asks Slurm and `mizard`,
//! and prints findings with what to do. It changes nothing; `--export` prints what a shell could
//! set. Left out: measuring the network (`mizar comm-bench --expect`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use mizar_api::{Client, DEFAULT_SOCKET, Request, SOCKET_VARIABLE};
use mizar_site::{Facts, Finding, Judgement, Profile, builtin, detect, examine};
use serde::Serialize;

use crate::stdout;

/// The name of the JSON's layout; fields may be added under it.
const SCHEMA: &str = "mizar-doctor/1";

/// All that asking mizard may cost.
const DAEMON_LIMIT: Duration = Duration::from_secs(1);

/// Something will fail or hang.
const EXIT_FAULT: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  mizar doctor                                  this node, the site found by its name
  srun -N2 --ntasks-per-node=1 mizar doctor     each node of a job
  mizar doctor --site lumi                      against another site's profile
  eval \"$(mizar doctor --export)\"               set what the profile has and you have not
  mizar doctor --profile site.toml              with a profile of your own
  mizar doctor --json | jq '.findings[]'        for programs

Values that you set yourself are kept: they are only spoken of.

Exit codes: 0 fit (there may be warnings), 1 something will fail or hang, 2 wrong command line.";

/// Arguments of `mizar doctor`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The site: generic, jupiter, leonardo, lumi or vega; found by the cluster's name if left out
    #[arg(long, value_name = "NAME", conflicts_with = "profile")]
    site: Option<String>,
    /// A profile of your own (TOML)
    #[arg(long, value_name = "FILE", env = "MIZAR_PROFILE")]
    profile: Option<PathBuf>,
    /// Print lines for a shell that set what is missing
    #[arg(long, conflicts_with = "json")]
    export: bool,
    /// Print JSON (schema mizar-doctor/1)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Examination<'a> {
    schema: &'static str,
    host: &'a str,
    profile: &'a Profile,
    facts: &'a Facts,
    findings: &'a [Finding],
}

/// Runs `mizar doctor`.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let host = nix::unistd::gethostname().context("this host has no name")?;
    let host = host.to_string_lossy().into_owned();
    let profile = match (&args.profile, &args.site) {
        (Some(path), _) => Profile::read(path)?,
        (None, Some(name)) => builtin(name)?,
        (None, None) => {
            let cluster = environment.get("SLURM_CLUSTER_NAME").map(String::as_str);
            detect(cluster, &host)?
        }
    };
    let mut facts = Facts::read(std::path::Path::new("/"), environment);
    facts.shared_memory_bytes = shared_memory();
    let mut findings = examine(&profile, &facts);
    if !args.export {
        findings.push(slurm());
        findings.push(daemon(&facts));
    }
    // The worst is read first; equal ones stay in the order of the profile.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.judgement));
    let text = if args.export {
        exports(&profile, &findings)
    } else if args.json {
        let examination = Examination {
            schema: SCHEMA,
            host: &host,
            profile: &profile,
            facts: &facts,
            findings: &findings,
        };
        serde_json::to_string_pretty(&examination)? + "\n"
    } else {
        report(&host, &profile, &findings)
    };
    stdout::print(&text)?;
    let is_faulty = findings.iter().any(|f| f.judgement == Judgement::Fault);
    Ok(match is_faulty && !args.export {
        true => ExitCode::from(EXIT_FAULT),
        false => ExitCode::SUCCESS,
    })
}

fn shared_memory() -> Option<(u64, u64)> {
    let status = nix::sys::statvfs::statvfs("/dev/shm").ok()?;
    let bytes = |blocks: u64| blocks * status.fragment_size();
    Some((bytes(status.blocks()), bytes(status.blocks_available())))
}

/// Whether Slurm is here and knows `--mizar`.
fn slurm() -> Finding {
    let help = Command::new("srun")
        .arg("--help")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let Ok(help) = help else {
        return Finding::bad(
            Judgement::Warning,
            "slurm",
            "there is no srun on the PATH",
            "load the site's module of Slurm, or run this on a node that has it",
        );
    };
    if String::from_utf8_lossy(&help.stdout).contains("--mizar") {
        return Finding::fine("slurm", "srun knows --mizar");
    }
    Finding::bad(
        Judgement::Warning,
        "slurm",
        "srun does not know --mizar: its plugin is not in plugstack.conf",
        "add `optional spank_mizar.so` to plugstack.conf (README, \"How a site installs it\")",
    )
}

/// Whether `mizard` answers on this node.
fn daemon(facts: &Facts) -> Finding {
    let socket = facts.environment.get(SOCKET_VARIABLE);
    let socket = socket.map_or(DEFAULT_SOCKET, String::as_str);
    match Client::new(socket, DAEMON_LIMIT).ask(Request::Ping) {
        Ok(_) => Finding::fine("mizard", format!("mizard answers at {socket}")),
        Err(error) => Finding::bad(
            Judgement::Warning,
            "mizard",
            error.to_string(),
            "on compute nodes: systemctl start mizard; login nodes need none",
        ),
    }
}

/// Lines that a shell can evaluate; the values are quoted.
fn exports(profile: &Profile, findings: &[Finding]) -> String {
    let name = &profile.name;
    let mut text = format!("# What the profile {name} has and the environment has not.\n");
    for (variable, value) in findings
        .iter()
        .filter_map(|finding| finding.export.as_ref())
    {
        let value = value.replace('\'', r"'\''");
        text.push_str(&format!("export {variable}='{value}'\n"));
    }
    text
}

fn report(host: &str, profile: &Profile, findings: &[Finding]) -> String {
    let Profile {
        name,
        version,
        updated,
        describes,
        ..
    } = profile;
    let mut text = format!(
        "{host}, examined with the profile {name} (version {version} of {updated}: {describes})\n\n"
    );
    for finding in findings {
        let mark = match finding.judgement {
            Judgement::Fine => "ok   ",
            Judgement::Warning => "warn ",
            Judgement::Fault => "FAULT",
        };
        text.push_str(&format!("{mark}  {}: {}\n", finding.part, finding.found));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("         {fix}\n"));
        }
    }
    let count = |judgement| {
        let same = findings.iter().filter(|f| f.judgement == judgement);
        same.count()
    };
    text.push_str(&format!(
        "\n{} faults, {} warnings, {} fine\n",
        count(Judgement::Fault),
        count(Judgement::Warning),
        count(Judgement::Fine)
    ));
    text
}
