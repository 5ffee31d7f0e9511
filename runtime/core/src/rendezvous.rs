//! The environment with which the ranks of a step find each other: PyTorch, Horovod, JAX.
