//! The conformance suite of [`mizar_slurm::Scheduler`], run by [`SlurmCli`] on a real Slurm.

use std::path::PathBuf;

use mizar_lab::Lab;
use mizar_slurm::{CliSettings, SlurmCli, conformance};

#[test]
fn the_command_line_client_conforms() {
    let Some(lab) = Lab::builder().nodes(1).start_or_skip() else {
        return;
    };
    let conf = lab
        .env()
        .into_iter()
        .find(|(name, _)| name == "SLURM_CONF")
        .map(|(_, value)| value);
    let settings = CliSettings {
        conf: conf.map(PathBuf::from),
        ..CliSettings::default()
    };
    let folder = tempfile::tempdir_in(lab.dir()).unwrap();
    conformance::check(&SlurmCli::new(settings), folder.path());
}
