//! Where this process runs: the job, step and rank that Slurm or mpirun told it.
