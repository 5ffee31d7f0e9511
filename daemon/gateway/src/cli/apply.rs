//! `mizar-gateway apply -f FILE`: a workflow of DCNiOS becomes a fragment of the configuration.
//!
//! The fragment is checked together with the rest of the configuration before it replaces the one
//! before; secrets are written first, so that it never names a file that is not there. What could
//! not be mapped is listed with its reason, and is exit code 6, whatever else was written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use mizar_core::durable::PendingFile;
use serde_json::json;

use crate::config::Config;
use crate::dcnios::{self, MAX_BYTES, Mapping, Remark, Surroundings};
use crate::ledger;

/// The folder of fragments unless told, beside the configuration.
const FOLDER: &str = "workflows";

/// The folder of scripts unless told, beside the configuration.
const SCRIPTS: &str = "scripts";

/// Not all could be mapped.
const NOT_ALL: u8 = 6;

/// What is asked.
#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The workflow: a YAML file of DCNiOS, as it is.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Print what it becomes, and write nothing.
    #[arg(long, visible_alias = "dry-run")]
    check: bool,
    /// The fragment to write; workflows/NAME.toml beside the configuration unless told.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The batch script that stands for a service of OSCAR.
    #[arg(long, value_name = "SERVICE=PATH", value_parser = pair)]
    script: Vec<(String, PathBuf)>,
    /// Folder where the script of each other service is SERVICE.sh; scripts/ beside the
    /// configuration unless told.
    #[arg(long, value_name = "FOLDER")]
    scripts: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((service, path)) if !service.is_empty() && !path.is_empty() => {
            Ok((service.to_owned(), PathBuf::from(path)))
        }
        _ => Err("expected SERVICE=PATH".to_owned()),
    }
}

/// Carries it out.
pub(super) fn run(config: &Path, wish: &Apply) -> Result<ExitCode> {
    let target = target(config, wish)?;
    let text = read(&wish.file)?;
    let mapping = map(config, wish, &target, &text)
        .with_context(|| format!("cannot read the workflow {}", wish.file.display()))?;
    let mut others = Config::load_without(config, Some(&target.path))?;
    let is_included = is_included(&others, &target.path);
    let mut checked = mapping.fragment.clone();
    for source in &mut checked.sources {
        source.resolve(&target.folder);
    }
    others.add(checked);
    others.check()?;
    others.load_services()?;
    let fragment = toml::to_string(&mapping.fragment)?;
    let fragment = format!(
        "# Made by `mizar-gateway apply` of {}: it is replaced when that is applied again.\n\n{fragment}",
        wish.file.display().to_string().escape_debug()
    );
    let mut rates_set = false;
    if !wish.check {
        write(&target, &mapping, &fragment)?;
        rates_set = set_rates(&others, &mapping)?;
    }
    let told = Told {
        wish,
        target: &target,
        mapping: &mapping,
        fragment: &fragment,
        is_included,
        rates_set,
    };
    if wish.json {
        told.as_json()?;
    } else {
        told.as_text();
    }
    Ok(match mapping.left.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(NOT_ALL),
    })
}

/// Where the fragment is to be.
struct Target {
    path: PathBuf,
    folder: PathBuf,
    stem: String,
}

fn target(config: &Path, wish: &Apply) -> Result<Target> {
    let own = || {
        let stem = wish.file.file_stem().unwrap_or_default();
        let mut name = stem.to_os_string();
        name.push(".toml");
        config.with_file_name(FOLDER).join(name)
    };
    let path = std::path::absolute(wish.output.clone().unwrap_or_else(own))?;
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    match (path.parent(), stem) {
        (Some(folder), Some(stem)) if path.extension().is_some_and(|end| end == "toml") => {
            Ok(Target {
                folder: folder.to_owned(),
                stem: stem.to_owned(),
                path,
            })
        }
        _ => bail!("{} is no name of a TOML file", path.display()),
    }
}

fn read(path: &Path) -> Result<String> {
    let context = || format!("cannot read the workflow {}", path.display());
    let file = fs::File::open(path).with_context(context)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(context)?;
    if text.len() as u64 > MAX_BYTES {
        bail!(
            "the workflow {} is larger than {MAX_BYTES} bytes",
            path.display()
        );
    }
    Ok(text)
}

fn map(
    config: &Path,
    wish: &Apply,
    target: &Target,
    text: &str,
) -> Result<Mapping, dcnios::WorkflowError> {
    let scripts: BTreeMap<String, PathBuf> = wish.script.iter().cloned().collect();
    let usual = config.with_file_name(SCRIPTS);
    let id = std::env::var("AWS_ACCESS_KEY_ID").ok();
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").ok();
    let surroundings = Surroundings {
        stem: &target.stem,
        folder: wish.file.parent().unwrap_or(Path::new(".")),
        output: &target.folder,
        scripts: &scripts,
        script_folder: wish.scripts.as_deref().unwrap_or(&usual),
        aws_keys: id.zip(secret),
    };
    dcnios::map(text, &surroundings)
}

/// Whether the configuration will read the fragment.
fn is_included(config: &Config, path: &Path) -> bool {
    config
        .include
        .iter()
        .any(|entry| entry == path || Some(entry.as_path()) == path.parent())
}

fn write(target: &Target, mapping: &Mapping, fragment: &str) -> Result<()> {
    let context = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(&target.folder).with_context(|| context(&target.folder))?;
    for secret in &mapping.secrets {
        let path = target.folder.join(&secret.file);
        write_one(&path, &secret.text, 0o600).with_context(|| context(&path))?;
    }
    write_one(&target.path, fragment, 0o644).with_context(|| context(&target.path))
}

fn write_one(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = PendingFile::create(path)?;
    // Before there is anything to read.
    fs::set_permissions(file.temporary_path(), fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.commit()
}

/// Sets the rates where there is a ledger; where there is none, the gateway does when it begins.
fn set_rates(config: &Config, mapping: &Mapping) -> Result<bool> {
    let path = config.ledger_path();
    if mapping.fragment.flow.is_empty() || !path.is_file() {
        return Ok(false);
    }
    let mut connection = ledger::open_existing(&path)?;
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for first in &mapping.fragment.flow {
        let setting = first.setting().map_err(anyhow::Error::msg)?;
        ledger::set_flow(&transaction, ledger::now_ms(), &first.service, &[setting])?;
    }
    transaction.commit()?;
    Ok(true)
}

/// What people and programs are told.
struct Told<'a> {
    wish: &'a Apply,
    target: &'a Target,
    mapping: &'a Mapping,
    fragment: &'a str,
    is_included: bool,
    rates_set: bool,
}

impl Told<'_> {
    fn as_json(&self) -> Result<()> {
        let mapping = self.mapping;
        let told = json!({
            "fragment": self.target.path,
            "written": !self.wish.check,
            "included": self.is_included,
            "rates_set": self.rates_set,
            "sources": mapping.fragment.sources,
            "services": mapping.fragment.service,
            "rates": mapping.fragment.flow,
            "secret_files": mapping.secrets,
            "not_mapped": mapping.left,
            "notes": mapping.notes,
        });
        println!("{}", serde_json::to_string_pretty(&told)?);
        Ok(())
    }

    fn as_text(&self) {
        let (mapping, path) = (self.mapping, self.target.path.display());
        if self.wish.check {
            println!("{}", self.fragment);
            for secret in &mapping.secrets {
                println!("# {} would hold {} (mode 600)", secret.file, secret.holds);
            }
        } else {
            println!(
                "{path}: {} sources, {} services",
                mapping.fragment.sources.len(),
                mapping.fragment.service.len()
            );
            for secret in &mapping.secrets {
                println!(
                    "{}: {} (mode 600)",
                    self.target.folder.join(&secret.file).display(),
                    secret.holds
                );
            }
        }
        remarks("note", &mapping.notes);
        remarks("not mapped", &mapping.left);
        if !self.is_included {
            let folder = self.target.folder.display();
            eprintln!("to do: the configuration does not include it: add include = [\"{folder}\"]");
        }
        if !self.wish.check {
            eprintln!("to do: restart the gateway, which reads its configuration when it begins");
        }
    }
}

fn remarks(kind: &str, remarks: &[Remark]) {
    for remark in remarks {
        eprintln!("{kind}: {}: {}", remark.at, remark.what);
    }
}
