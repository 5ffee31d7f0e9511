//! The command lines of the programs that are compared.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cases::{Case, FIVE};
use crate::data::{self, Data};

/// One case in the peer that Python is.
const XARRAY: &str = include_str!("../../../data/xarray_case.py");

/// Both write what they stream with this, so that neither saves the other's work.
const COMPRESSION: [&str; 2] = ["-z", "zip_1"];

/// The programs, and a folder for what they write.
pub(crate) struct Programs {
    mizar: PathBuf,
    plain_loop: PathBuf,
    python: PathBuf,
    folder: PathBuf,
}

impl Programs {
    /// Finds and builds them.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            mizar: mizar_lab::binary("mizar"),
            plain_loop: data::build_loop(folder)?,
            python: data::python()?,
            folder: folder.to_owned(),
        })
    }

    /// A result by name.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether `mizar cube` knows an operator.
    pub(crate) fn has(&self, operator: &str) -> bool {
        let asked = Command::new(&self.mizar)
            .args(["cube", "-h", operator])
            .output();
        asked.is_ok_and(|answer| answer.status.success())
    }

    /// Whether several statistics can be asked for at once.
    pub(crate) fn has_five(&self, input: &Path) -> bool {
        let mut command = Command::new(&self.mizar);
        command.args(["cube", "-s", "--plan", FIVE]).arg(input);
        let asked = command.arg(self.output("plan.nc")).output();
        asked.is_ok_and(|answer| answer.status.success())
    }

    /// The case in `mizar cube`.
    pub(crate) fn mizar(&self, case: &Case, input: &Path, threads: usize) -> Command {
        let mut command = Command::new(&self.mizar);
        self.mizar_arguments(&mut command, case, input, threads, "mizar.nc");
        command
    }

    fn mizar_arguments(
        &self,
        command: &mut Command,
        case: &Case,
        input: &Path,
        threads: usize,
        output: &str,
    ) {
        command.args(["cube", "-s", "-P", &threads.to_string()]);
        command.args(COMPRESSION);
        command.args(chain(case, input)).arg(self.output(output));
    }

    /// The case on ranks of one thread each.
    pub(crate) fn ranks(&self, case: &Case, input: &Path, ranks: usize, output: &str) -> Command {
        let mut command = Command::new("mpirun");
        command
            .args(["--allow-run-as-root", "--oversubscribe", "--quiet"])
            .args(["--bind-to", "none", "-n", &ranks.to_string()])
            .arg(&self.mizar)
            .env("OMPI_MCA_btl_tcp_if_include", "lo")
            .env("OMPI_MCA_oob_tcp_if_include", "lo");
        self.mizar_arguments(&mut command, case, input, 1, output);
        command
    }

    /// The case in CDO.
    pub(crate) fn cdo(&self, case: &Case, input: &Path) -> Command {
        let mut command = Command::new("cdo");
        command.args(["-s", "-O"]);
        // Debian's HDF5 and CDO's threads for several inputs spoil each other without a lock.
        if case.chain.iter().filter(|word| **word == "{in}").count() > 1 {
            command.arg("-L");
        }
        command.args(COMPRESSION);
        command.args(chain(case, input)).arg(self.output("cdo.nc"));
        command
    }

    /// The case in xarray and dask; the case `import` loads them and ends.
    pub(crate) fn xarray(&self, name: &str, input: &Path, threads: usize) -> Command {
        let mut command = Command::new(&self.python);
        command.args(["-c", XARRAY, name]).arg(input);
        command
            .arg(self.output("xarray.nc"))
            .arg(threads.to_string());
        command
    }

    /// The case as a plain loop.
    pub(crate) fn plain_loop(&self, case: &Case, input: &Path, data: &Data) -> Command {
        let mut command = Command::new(&self.plain_loop);
        command
            .arg(case.name)
            .arg(input)
            .arg(self.output("loop.bin"));
        command.args(data.shape.map(|len| len.to_string()));
        command
    }
}

fn chain(case: &Case, input: &Path) -> Vec<std::ffi::OsString> {
    let word = |word: &&str| match *word {
        "{in}" => input.as_os_str().to_owned(),
        word => word.into(),
    };
    case.chain.iter().map(word).collect()
}
