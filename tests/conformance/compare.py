"""How far two results are apart: numbers, missing values, and what the metadata says."""

import dataclasses
import re

import netCDF4
import numpy as np

# Values this small beside the largest of the field are rounding errors of larger ones.
NOISE = 1e-6


@dataclasses.dataclass
class Difference:
    """What was found; `error` is the largest relative error of a value."""

    error: float = 0.0
    missing: int = 0
    notes: set = dataclasses.field(default_factory=set)

    def join(self, other):
        self.error = max(self.error, other.error)
        self.missing += other.missing
        self.notes |= other.notes


def files(ours, theirs, left_out=None):
    """Compares two NetCDF files, but for the cells of each field that are left out."""
    found = Difference()
    with netCDF4.Dataset(ours) as left, netCDF4.Dataset(theirs) as right:
        pairs = variables(left, right, found)
        for mine, other in pairs:
            found.join(arrays(*(without(v[:], left_out) for v in (mine, other))))
            metadata(mine, other, found)
        time_axis(left, right, found)
    return found


def without(values, left_out):
    """The values with some cells of each field missing."""
    if left_out is None or values.shape[-2:] != left_out.shape:
        return values
    return np.ma.masked_where(np.broadcast_to(left_out, values.shape), values)


def variables(left, right, found):
    """The data variables that go together: by name, else by order."""
    mine, others = data_variables(left), data_variables(right)
    common = [name for name in others if name in mine]
    if common:
        if set(mine) != set(others):
            found.notes.add(f"variables {','.join(sorted(set(mine) ^ set(others)))}")
        return [(left[name], right[name]) for name in common]
    if mine and len(mine) == len(others):
        found.notes.add(f"name {others[0]} here {mine[0]}")
        return [(left[a], right[b]) for a, b in zip(mine, others)]
    found.error = float("inf")
    found.notes.add(f"variables: {','.join(others)} here {','.join(mine)}")
    return []


def data_variables(data):
    serving = set(data.dimensions)
    for variable in data.variables.values():
        for name in ["bounds", "climatology", "coordinates", "grid_mapping", "cell_measures", "ancillary_variables", "formula_terms"]:
            serving.update(str(getattr(variable, name, "")).replace(":", " ").split())
    return [
        name
        for name, variable in data.variables.items()
        if name not in serving and variable.dtype not in (str, np.dtype("S1")) and not name.endswith(("_bnds", "_bounds"))
    ]


def arrays(mine, other):
    """Relative errors of what is valid in both, and how many are valid in one only."""
    found = Difference()
    mine, other = np.ma.squeeze(np.ma.asarray(mine)), np.ma.squeeze(np.ma.asarray(other))
    if mine.shape != other.shape:
        found.error = float("inf")
        found.notes.add(f"shape {other.shape} here {mine.shape}")
        return found
    valid_mine, valid_other = valid(mine), valid(other)
    found.missing = int((valid_mine != valid_other).sum())
    both = valid_mine & valid_other
    if both.any():
        a = np.ma.getdata(mine)[both].astype("f8")
        b = np.ma.getdata(other)[both].astype("f8")
        same = a == b
        with np.errstate(invalid="ignore"):
            scale = np.maximum(np.abs(b), NOISE * np.abs(b[np.isfinite(b)]).max(initial=0))
            error = np.where(same, 0, np.abs(a - b) / np.maximum(scale, 1e-300))
        found.error = float(np.nan_to_num(error, nan=np.inf).max())
    return found


def valid(values):
    data = np.ma.getdata(values)
    nan = np.isnan(data) if data.dtype.kind == "f" else np.zeros(data.shape, bool)
    return ~np.ma.getmaskarray(values) & ~nan


def metadata(mine, other, found):
    if mine.dtype != other.dtype:
        found.notes.add(f"type {other.dtype} here {mine.dtype}")
    long = [[d for d, n in zip(v.dimensions, v.shape) if n > 1] for v in (mine, other)]
    if long[0] != long[1]:
        found.notes.add(f"dimensions {','.join(long[1])} here {','.join(long[0])}")
    attributes = [{n: str(getattr(v, n)) for n in v.ncattrs()} for v in (mine, other)]
    for name in sorted(set(attributes[0]) | set(attributes[1])):
        a, b = attributes[0].get(name), attributes[1].get(name)
        if a != b and not name.startswith("CDI_") and name not in ("_FillValue", "missing_value", "code", "table"):
            found.notes.add(f"attribute {name}")


def time_axis(left, right, found):
    """Times as dates, since both may count from another day."""
    if "time" not in left.variables or "time" not in right.variables:
        if ("time" in left.variables) != ("time" in right.variables):
            found.notes.add("time axis in one only")
        return
    a, b = dates(left["time"]), dates(right["time"])
    if a is None or b is None:
        return
    if a.shape != b.shape:
        found.notes.add("number of steps")
    elif a.size and np.abs(a - b).max() > 1e-3:
        found.notes.add("time values")
    edges = [bounds_of(data) for data in (left, right)]
    if (edges[0] is None) != (edges[1] is None):
        found.notes.add("time bounds in one only")
    elif edges[0] is not None and edges[0].shape == edges[1].shape and edges[0].size:
        if np.abs(edges[0] - edges[1]).max() > 1e-3:
            found.notes.add("time bounds")


def dates(variable, values=None):
    """Days since a fixed date in the axis's calendar."""
    calendar = getattr(variable, "calendar", "standard")
    values = variable[:] if values is None else values
    try:
        moments = netCDF4.num2date(values, variable.units, calendar)
        return np.asarray(netCDF4.date2num(moments, "days since 1990-01-01", calendar), "f8")
    except (ValueError, TypeError, OverflowError):
        return None


def bounds_of(data):
    time = data["time"]
    name = getattr(time, "bounds", getattr(time, "climatology", None))
    return dates(time, data[name][:]) if name in data.variables else None


NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def texts(ours, theirs):
    """Compares the numbers of two printed texts, in order, and then the words."""
    found = Difference()
    a, b = ([float(n) for n in NUMBER.findall(text)] for text in (ours, theirs))
    if len(a) != len(b):
        found.notes.add(f"{len(b)} numbers here {len(a)}")
    for mine, other in zip(a, b):
        if mine != other:
            found.error = max(found.error, abs(mine - other) / max(abs(other), 1e-12))
    if ours.split() != theirs.split():
        found.notes.add("wording")
    return found
