//! Fortran and Python, and the other family of MPI: the same library counts them, each call once.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Mpi, Site, calls, open_mpi, succeed};

/// Calls, and bytes of the two ranks, of `counts.f90`; by hand.
const FORTRAN: [(&str, u64, [u64; 2]); 11] = [
    ("MPI_Init", 1, [0, 0]),
    ("MPI_Allreduce", 11, [264, 264]),
    ("MPI_Bcast", 1, [20, 0]),
    ("MPI_Allgather", 1, [32, 32]),
    ("MPI_Sendrecv", 1, [8, 8]),
    ("MPI_Isend", 3, [48, 48]),
    ("MPI_Irecv", 3, [0, 0]),
    ("MPI_Waitall", 1, [0, 0]),
    ("MPI_Waitany", 2, [0, 0]),
    ("MPI_Iallreduce", 1, [8, 8]),
    ("MPI_Barrier", 1, [0, 0]),
];

/// Those of `counts.py`.
const PYTHON: [(&str, u64, [u64; 2]); 6] = [
    ("MPI_Allreduce", 10, [240, 240]),
    ("MPI_Bcast", 1, [40, 0]),
    ("MPI_Isend", 1, [32, 32]),
    ("MPI_Irecv", 1, [0, 0]),
    ("MPI_Waitall", 1, [0, 0]),
    ("MPI_Barrier", 1, [0, 0]),
];

/// Those of `counts.c` that do not depend on the family.
const C: [(&str, u64, [u64; 2]); 8] = [
    ("MPI_Allreduce", 11, [264, 264]),
    ("MPI_Scatter", 1, [0, 32]),
    ("MPI_Allgather", 1, [32, 32]),
    ("MPI_Alltoallv", 1, [24, 24]),
    ("MPI_Isend", 4, [64, 64]),
    ("MPI_Waitany", 2, [0, 0]),
    ("MPI_Iallreduce", 1, [8, 8]),
    ("MPI_File_write_at_all", 1, [48, 48]),
];

fn check(site: &Site, expected: &[(&str, u64, [u64; 2])]) {
    let record = site.finish();
    for (name, count, bytes) in expected {
        for rank in [0, 1] {
            let found = calls(&record, rank, name).map(|(calls, bytes, _)| (calls, bytes));
            assert_eq!(found, Some((*count, bytes[rank as usize])), "{name} {rank}");
        }
    }
    // Every operation that was begun was seen to be complete.
    for rank in [0, 1] {
        let (_, _, spent_ns) = calls(&record, rank, "MPI_Isend").unwrap();
        assert!(spent_ns > 0, "rank {rank}");
    }
}

/// MPICH unpacked into the folder that `MIZAR_MPICH` names (`apt-get download mpich libmpich12
/// libmpich-dev`, then `dpkg -x` each into it): Debian keeps no two families at once.
fn mpich() -> Option<Mpi> {
    let root = PathBuf::from(std::env::var_os("MIZAR_MPICH")?);
    let library = glob(&root.join("usr/lib"), "libmpich.so.12")?;
    let folder = library.parent()?.to_owned();
    let include = glob(&root.join("usr"), "mpi.h")?;
    let cc = vec![
        "gcc".to_owned(),
        format!("-I{}", include.parent()?.display()),
        format!("-L{}", folder.display()),
        // The libraries that it needs itself come with the system.
        "-Wl,--allow-shlib-undefined,--no-as-needed".to_owned(),
        "-l:libmpich.so.12".to_owned(),
    ];
    Some(Mpi {
        name: "mpich",
        cc,
        run: vec![root.join("usr/bin/mpiexec.hydra").display().to_string()],
        library_path: Some(folder),
    })
}

fn glob(folder: &Path, name: &str) -> Option<PathBuf> {
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|file| file == name) {
            return Some(path);
        }
        if path.is_dir()
            && let Some(found) = glob(&path, name)
        {
            return Some(found);
        }
    }
    None
}

#[test]
fn fortran_is_counted_through_both_of_its_modules() {
    let Some(mut mpi) = open_mpi() else { return };
    let runs = |program: &&str| {
        let found = Command::new(program).arg("--version").output();
        found.is_ok_and(|output| output.status.success())
    };
    let compilers = ["gfortran", "gfortran-12", "gfortran-13", "gfortran-14"];
    let Some(compiler) = compilers.into_iter().find(runs) else {
        println!("SKIP: a Fortran compiler (packages gfortran, libopenmpi-dev)");
        return;
    };
    for (binding, flag) in [("mpi", "-DF90"), ("mpi_f08", "-DF08")] {
        let chosen = format!("OMPI_FC={compiler}");
        mpi.cc = ["env", &chosen, "mpifort", "-cpp", flag]
            .map(str::to_owned)
            .to_vec();
        let site = Site::start("sample_ms = 100\n");
        let program = mpi.compile("counts.f90", site.folder());
        println!("{binding}");
        succeed(&mut site.ranks(&mpi, &[program.as_os_str()]));
        check(&site, &FORTRAN);
    }
}

#[test]
fn mpi4py_is_counted_though_it_loads_mpi_for_itself_alone() {
    let Some(mpi) = open_mpi() else { return };
    let python = std::env::var("MIZAR_MPI4PY_PYTHON");
    let python = python.unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let found = Command::new(&python).args(["-c", "import mpi4py"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("SKIP: mpi4py (package python3-mpi4py, or a Python in MIZAR_MPI4PY_PYTHON)");
        return;
    }
    let site = Site::start("sample_ms = 100\n");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/counts.py");
    succeed(&mut site.ranks(&mpi, &[python.as_ref(), script.as_os_str()]));
    check(&site, &PYTHON);
}

#[test]
fn the_same_library_counts_mpich() {
    let Some(mpi) = mpich() else {
        println!("SKIP: MPICH unpacked in the folder MIZAR_MPICH");
        return;
    };
    let site = Site::start("sample_ms = 100\n");
    let program = mpi.compile("counts.c", site.folder());
    let file = site.folder().join("written");
    succeed(&mut site.ranks(&mpi, &[program.as_os_str(), file.as_os_str()]));
    check(&site, &C);
}
