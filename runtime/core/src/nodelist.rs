//! Slurm's compressed node lists (`n[001-3,7],m2`), expanded with their padding kept.
