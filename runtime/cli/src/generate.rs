//! What is made from the command line's own description: completions and manual pages.
//!
//! Each subcommand has a page, `mizar-<subcommand>`; that of `mizar cube` is the help of the
//! array engine, which parses its arguments itself.

use std::process::ExitCode;

use anyhow::bail;
use clap::CommandFactory as _;
use clap_mangen::roff::{Roff, roman};
use mizar_array::command;

use crate::{Cli, stdout};

/// Prints the completions of a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mizar", &mut script);
    stdout::print(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page of the program, or of a subcommand.
pub(crate) fn manual(subcommand: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let page = match subcommand {
        None => page_of(program)?,
        Some(name) => {
            let known: Vec<&str> = program
                .get_subcommands()
                .map(clap::Command::get_name)
                .collect();
            if !known.contains(&name) {
                bail!(
                    "there is no page on `{name}`; there are pages on {}",
                    known.join(", ")
                );
            }
            let found = program.find_subcommand(name).cloned().unwrap_or_default();
            page_of(found)?
        }
    };
    stdout::print(&page)?;
    Ok(ExitCode::SUCCESS)
}

fn page_of(described: clap::Command) -> anyhow::Result<String> {
    let full_name = described
        .get_display_name()
        .unwrap_or(described.get_name())
        .to_owned();
    let is_cube = described.get_name() == "cube";
    let manual = clap_mangen::Man::new(described)
        .title(full_name)
        .source(format!("mizar {}", mizar_core::VERSION));
    let mut page = Vec::new();
    if is_cube {
        manual.render_title(&mut page)?;
        manual.render_name_section(&mut page)?;
        // As they are printed: tables set by spaces.
        let mut text = Roff::new();
        for (title, body) in [
            ("DESCRIPTION", command::overview()),
            ("OPERATORS", &command::operator_list()),
        ] {
            text.control("SH", [title]).control("nf", []);
            body.lines().for_each(|line| {
                text.text([roman(line)]);
            });
            text.control("fi", []);
        }
        text.to_writer(&mut page)?;
    } else {
        manual.render(&mut page)?;
    }
    Ok(String::from_utf8(page)?)
}
