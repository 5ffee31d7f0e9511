# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Mizar for Spack: the runtime, the daemons and the Slurm plugin, for one MPI each."""

import os

from spack.package import *

try:  # Spack 1.0 moved the build systems out of its core.
    from spack_repo.builtin.build_systems.generic import Package
except ImportError:
    pass

# This Spack repository lies inside Mizar's own, and builds the checkout that it lies in.
CHECKOUT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))


class Mizar(Package):
    """Runs digital twins inside Slurm: telemetry, provenance and reports for every job, array
    analytics over MPI, and an edge gateway that turns cloud events into jobs, once each."""

    git = "file://" + CHECKOUT
    license("Apache-2.0 OR MIT")

    version("main", branch="main")
    version("0.1.0", tag="v0.1.0")

    # One build serves one MPI: their handles differ in size and kind. Open MPI and MPICH are
    # those that the bindings are tested with; the others share MPICH's binary interface.
    variant(
        "mpi",
        default="openmpi",
        values=("openmpi", "mpich", "cray-mpich", "mvapich-plus"),
        multi=False,
        description="The MPI that the runtime is built for",
    )
    variant("slurm", default=True, description="Build the SPANK plugin")

    depends_on("c", type="build")
    depends_on("rust@1.95:", type="build")
    depends_on("gmake", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("llvm+clang", type="build")  # libclang, for the bindings to MPI
    depends_on("mpi")
    for _mpi in ("openmpi", "mpich", "cray-mpich", "mvapich-plus"):
        depends_on(_mpi, when="mpi=" + _mpi)
    # Reads and writes are spread over ranks by Mizar itself, so HDF5 needs no MPI.
    depends_on("hdf5@1.10:~mpi+hl+shared")
    # The plugin loads into the one Slurm release whose headers it was built with.
    depends_on("slurm@22.05:", when="+slurm", type=("build", "link", "run"))

    def setup_build_environment(self, env):
        spec = self.spec
        env.set("MPICC", spec["mpi"].mpicc)
        env.set("HDF5_DIR", spec["hdf5"].prefix)
        env.set("LIBCLANG_PATH", spec["llvm"].prefix.lib)
        env.set("CARGO_TARGET_DIR", os.path.join(self.stage.path, "target"))
        if spec.satisfies("+slurm"):
            env.set("SLURM_INCLUDE_DIR", spec["slurm"].prefix.include)
        # Spack keeps no rpath for what cargo links, so it is said here.
        libraries = [spec["hdf5"].prefix.lib, spec["mpi"].prefix.lib]
        env.set("RUSTFLAGS", " ".join("-C link-arg=-Wl,-rpath," + path for path in libraries))

    def install(self, spec, prefix):
        plugin = "yes" if spec.satisfies("+slurm") else "no"
        make("install", "PREFIX=" + prefix, "PLUGIN=" + plugin)

    def setup_run_environment(self, env):
        env.set("MIZAR_ROOT", self.prefix)

    @run_after("install")
    @on_package_attributes(run_tests=True)
    def answers(self):
        Executable(self.prefix.bin.mizar)("--version")
