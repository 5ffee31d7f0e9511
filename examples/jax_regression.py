"""Data-parallel training with JAX over all tasks of a step, on CPUs or GPUs.

srun --mizar python jax_regression.py [STEPS]

Nothing here names hosts or ports: --mizar sets JAX_COORDINATOR_ADDRESS for each step, and JAX takes
the number of tasks and its own from Slurm. Each task makes its share of one batch; arrays are global,
so that the gradient is the mean over all tasks, and the loss is the same for any number of them.
"""

import contextlib
import sys

import jax
import jax.numpy as jnp
import numpy
from jax.sharding import Mesh, NamedSharding, PartitionSpec

try:
    from mizar import epoch  # marks them in the job's record; `module load mizar` finds it
except ImportError:
    epoch = contextlib.nullcontext

BATCH, WIDTH, RATE = 512, 64, 0.05
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize()
rank, ranks = jax.process_index(), jax.process_count()

mesh = Mesh(numpy.array(jax.devices()), ("data",))
shared = NamedSharding(mesh, PartitionSpec("data"))
everywhere = NamedSharding(mesh, PartitionSpec())


def share(rows):
    """A global array of which each task gives its part of the rows."""
    first, last = BATCH * rank // ranks, BATCH * (rank + 1) // ranks
    return jax.make_array_from_process_local_data(shared, rows[first:last], rows.shape)


random = numpy.random.default_rng(11)
x = random.uniform(-2, 2, (BATCH, 2)).astype("f4")
y = (numpy.sin(2 * x[:, :1]) * x[:, 1:]).astype("f4")
inputs, targets = share(x), share(y)
layers = [(2, WIDTH), (WIDTH, WIDTH), (WIDTH, 1)]
weights = [
    (random.normal(0, (2 / n) ** 0.5, (n, m)).astype("f4"), numpy.zeros(m, "f4")) for n, m in layers
]
weights = jax.device_put(weights, everywhere)


def loss_of(weights, inputs, targets):
    for weight, bias in weights[:-1]:
        inputs = jnp.tanh(inputs @ weight + bias)
    weight, bias = weights[-1]
    return jnp.mean((inputs @ weight + bias - targets) ** 2)


@jax.jit
def step(weights, inputs, targets):
    loss, gradients = jax.value_and_grad(loss_of)(weights, inputs, targets)
    return jax.tree.map(lambda w, g: w - RATE * g, weights, gradients), loss


for number in range(10):
    with epoch():
        for _ in range(max(steps // 10, 1)):
            weights, loss = step(weights, inputs, targets)
        loss = float(loss)
    if rank == 0:
        print(f"epoch {number} loss {loss:.6f} tasks {ranks} devices {jax.device_count()}", flush=True)
print(f"task {rank} of {ranks} ends with loss {loss:.6f}", flush=True)
jax.distributed.shutdown()
