"""Reads a job's record with h5py and its provenance with prov; prints what it found as JSON.

Called by the suites as `job_record.py FOLDER`; knows nothing of Mizar but the documented layout.
"""

import json
import pathlib
import sys

import h5py
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity

folder = pathlib.Path(sys.argv[1])

tables, ranks, cpu_s = {}, set(), 0.0
with h5py.File(folder / "job.h5") as record:
    attributes = {key: str(value) for key, value in record.attrs.items()}
    for node, group in record["nodes"].items():
        tables[node] = {name: len(table) for name, table in group.items()}
        samples = group["task_samples"][:]
        for step, rank in sorted({(int(row["step"]), int(row["rank"])) for row in samples}):
            of_rank = samples[(samples["step"] == step) & (samples["rank"] == rank)]
            cpu_s += int(of_rank["cpu_ns"].max()) / 1e9
            if step < 0xFFFFFF00:  # Slurm's own steps (batch, extern) are above
                ranks.add((step, rank))

document = ProvDocument.deserialize(folder / "prov.json")


def attribute(record, name):
    values = record.get_attribute(name)
    return str(next(iter(values))) if values else None


files = {}
for entity in document.get_records(ProvEntity):
    location = attribute(entity, "prov:location")
    if location:
        files[location] = attribute(entity, "mizar:sha256")

print(
    json.dumps(
        {
            "attributes": attributes,
            "tables": tables,
            "ranks": sorted(ranks),
            "cpu_s": cpu_s,
            "activities": len(list(document.get_records(ProvActivity))),
            "agents": len(list(document.get_records(ProvAgent))),
            "files": files,
        }
    )
)
