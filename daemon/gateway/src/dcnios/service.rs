//! What the destinations of a workflow are among our services: a script of the site for each OSCAR
//! service, of the events of the sources that lead to it.
//!
//! Sources without alterations share one service; one whose messages are merged, or of which only
//! some are wanted, has its own, because NiFi merges and filters each by itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::source::Made;
use super::workflow::Group;
use super::{Mapping, Surroundings, label};
use crate::condition::Batch;
use crate::fragment::FirstFlow;
use crate::service::{Filter, Service};

/// Maps the destinations with what leads to them.
pub(super) fn map(
    destinations: Vec<Group>,
    sources: &BTreeMap<String, Made>,
    connections: &[(String, String)],
    surroundings: &Surroundings<'_>,
    mapping: &mut Mapping,
) {
    let known: Vec<String> = destinations.iter().map(|one| one.name.clone()).collect();
    for destination in destinations {
        let at = destination.place();
        let from: Vec<&Made> = connections
            .iter()
            .filter(|(_, to)| *to == destination.name)
            .filter_map(|(from, _)| sources.get(from))
            .collect();
        if let Err(problem) = service(destination, &from, surroundings, mapping) {
            mapping.left(&at, problem);
        }
    }
    for (from, to) in connections {
        if !sources.contains_key(from) || !known.contains(to) {
            let at = format!(
                "connection `{}` to `{}`",
                from.escape_debug(),
                to.escape_debug()
            );
            mapping.left(&at, "one of its ends was not mapped");
        }
    }
    for (name, made) in sources {
        if !connections
            .iter()
            .any(|(from, to)| from == name && known.contains(to))
        {
            let at = format!("source `{}`", made.name);
            mapping.note(&at, "leads to no OSCAR service: its events make jobs only where a service of yours wants them");
        }
    }
}

fn service(
    group: Group,
    from: &[&Made],
    surroundings: &Surroundings<'_>,
    mapping: &mut Mapping,
) -> Result<(), String> {
    let (at, mut fields) = (group.place(), group.fields);
    let called = fields.needed("service")?;
    for key in ["endpoint", "token", "user", "password"] {
        fields.take(key);
    }
    let mut rate = None;
    for mut component in fields.tables("components")? {
        if let Some(seconds) = component.text("seconds") {
            rate = rate_of(&seconds)?;
        }
    }
    if let Some(key) = fields.rest().next() {
        return Err(format!("`{key}` is not known here"));
    }
    let script = script(&called, surroundings)?;
    if from.is_empty() {
        return Err("no source that was mapped leads to it".to_owned());
    }
    let name = label(&group.name, &at, mapping).ok_or("has no name")?;
    mapping.note(
        &at,
        format!(
            "runs {} here, as a job of Slurm, not `{called}` on the OSCAR cluster",
            script.display()
        ),
    );
    let is_plain = |one: &&&Made| one.merge.is_none() && one.data.is_empty() && one.kind.is_none();
    let (plain, own): (Vec<&Made>, Vec<&Made>) = from.iter().partition(|one| is_plain(one));
    let mut made = Vec::new();
    if !plain.is_empty() {
        made.push(Service {
            sources: plain.iter().map(|one| one.name.clone()).collect(),
            ..empty(&name, &script)
        });
    }
    let is_alone = plain.is_empty() && own.len() == 1;
    for one in own {
        let name = match is_alone {
            true => name.clone(),
            false => format!("{name}-{}", one.name),
        };
        made.push(Service {
            sources: vec![one.name.clone()],
            filter: Filter {
                kind: one.kind.map(str::to_owned),
                data: one.data.iter().cloned().collect(),
                ..Filter::default()
            },
            batch: one.merge.map(|(events, after_s)| Batch {
                events,
                after_s,
                by: None,
            }),
            ..empty(&name, &script)
        });
    }
    for one in made {
        one.check().map_err(|error| error.to_string())?;
        if let Some(rate) = &rate {
            mapping.fragment.flow.push(FirstFlow {
                service: one.name.clone(),
                rate: rate.clone(),
            });
        }
        mapping.fragment.service.push(one);
    }
    Ok(())
}

fn empty(name: &str, script: &std::path::Path) -> Service {
    Service {
        name: name.to_owned(),
        sources: Vec::new(),
        filter: Filter::default(),
        script: script.to_owned(),
        args: Vec::new(),
        all_of: None,
        batch: None,
        array: None,
        sbatch: BTreeMap::new(),
    }
}

/// One message each so many seconds, as a rate of ours; none if it runs without a pause.
fn rate_of(seconds: &str) -> Result<Option<String>, String> {
    let odd = || {
        format!(
            "`seconds` is `{}`, no number of them",
            seconds.escape_debug()
        )
    };
    let seconds: f64 = seconds.parse().map_err(|_| odd())?;
    match seconds {
        0.0 => Ok(None),
        some if some.is_finite() && some > 0.0 => Ok(Some(format!("{}/h", 3600.0 / some))),
        _ => Err(odd()),
    }
}

fn script(service: &str, surroundings: &Surroundings<'_>) -> Result<PathBuf, String> {
    if let Some(given) = surroundings.scripts.get(service) {
        return std::path::absolute(given).map_err(|error| error.to_string());
    }
    let is_name = !service.contains(['/', '\0']) && !service.starts_with('.');
    let usual = surroundings.script_folder.join(format!("{service}.sh"));
    if is_name && usual.is_file() {
        return std::path::absolute(usual).map_err(|error| error.to_string());
    }
    Err(format!(
        "there is no script for the OSCAR service `{}`: give one with --script {}=PATH, or as {}",
        service.escape_debug(),
        service.escape_debug(),
        surroundings.script_folder.join("NAME.sh").display()
    ))
}
