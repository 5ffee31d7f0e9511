-- Mizar 0.1.0 for Lmod. Relocatable: this file lies in <prefix>/share/modulefiles/mizar, and
-- everything is found from there. MIZAR_PREFIX names the prefix where a site keeps its
-- modulefiles elsewhere.
local prefix = os.getenv("MIZAR_PREFIX") or myFileName():match("^(.*)/[^/]+/[^/]+/[^/]+/[^/]+$")

help([[
Mizar runs digital twins inside Slurm.

  mizar cube    CDO's operators on NetCDF files, over MPI ranks and threads
  mizar ps      running jobs with their live use
  mizar report  what a job did, and what it should have asked for

Add `#SBATCH --mizar` to a script to have its job watched. See `man mizar`.
]])

whatis("Name: mizar")
whatis("Version: 0.1.0")
whatis("Category: tools, workflow, data analysis")
whatis("Description: Telemetry, provenance, array analytics and event-driven jobs in Slurm")

conflict("mizar")

setenv("MIZAR_ROOT", prefix)
prepend_path("PATH", pathJoin(prefix, "bin"))
-- mizar.h and mizar.py: marks in C and in Python.
prepend_path("CPATH", pathJoin(prefix, "include"))
prepend_path("PYTHONPATH", pathJoin(prefix, "share", "mizar", "python"))
-- man looks beside every bin on the PATH by itself, unless MANPATH is set; setting it here for
-- the first time would hide the system's pages.
if os.getenv("MANPATH") then
   prepend_path("MANPATH", pathJoin(prefix, "share", "man"))
end
