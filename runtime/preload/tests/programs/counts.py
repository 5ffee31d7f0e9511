"""Calls through mpi4py, with buffers and with objects; the test has the sums, for two ranks."""

import array

from mpi4py import MPI

world = MPI.COMM_WORLD
rank = world.Get_rank()
values, results = array.array("d", [1.0] * 6), array.array("d", [0.0] * 12)
for _ in range(10):
    world.Allreduce([values, 3, MPI.DOUBLE], [results, 3, MPI.DOUBLE], op=MPI.SUM)
world.Bcast([values, 5, MPI.DOUBLE], root=0)
requests = [
    world.Irecv([results, 4, MPI.DOUBLE], source=1 - rank),
    world.Isend([values, 4, MPI.DOUBLE], dest=1 - rank),
]
MPI.Request.Waitall(requests)
world.Barrier()
