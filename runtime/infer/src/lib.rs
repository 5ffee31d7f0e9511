//! Inference: models over cubes and files under MPI, and the server that keeps them warm.
