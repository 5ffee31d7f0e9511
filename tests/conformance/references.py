"""Compares `mizar cube` with NumPy where CDO has no peer or is wrong: percentiles by every method,
markers of missing values, packed data, days of every calendar, a variance beside a large mean.

conformance.py runs it after the comparison with cdo.
"""

import fnmatch
import os
import subprocess

import cftime
import netCDF4
import numpy as np

# A mean near 1e8 is known to 1.5e-8, which the variance (16 to 90 here) shows.
TOLERANCE = 1e-8
FILES = ["gaps", "nan_fill", "other_marker", "packed", "empty_steps", "calendar_360_day", "calendar_standard", "calendar_all_leap"]
# Names here and in NumPy.
METHODS = {
    "nrank": "inverted_cdf", "nist": "weibull", "rtype8": "median_unbiased", "linear": "linear", "hazen": "hazen",
    "lower": "lower", "higher": "higher", "midpoint": "midpoint", "nearest": "nearest",
}


def run(mizar, pool, folder, pattern):
    """Prints what differs, and returns how many do."""
    done, wrong = 0, 0
    files = {file.name: file for file in pool if file.name in FILES}
    for name in FILES:
        values, dates = read(files[name])
        for line, expected in cases(values, dates):
            if not any(fnmatch.fnmatch(word.split(",")[0].lstrip("-"), pattern) for word in line.split()):
                continue
            done += 1
            problem = compare(mizar, line, files[name], folder, expected())
            if problem:
                wrong += 1
                print(f"  {line} on {name}: {problem}")
    print(f"{done - wrong} of {done} comparisons with NumPy agree to {TOLERANCE:g}.")
    return wrong


def cases(values, dates):
    """Command lines (`F` is the file), and functions that compute what they must give."""
    months = groups((date.month for date in dates), range(1, 13))
    for method, name in METHODS.items():
        of = lambda x, p, name=name: percentile(x, p, name)
        yield f"--percentile {method} -timpctl,37 F", lambda of=of: of(values, 37)[None]
        yield f"--percentile {method} -ymonpctl,90 F", lambda of=of: np.stack([of(values[m], 90) for m in months])
    days = groups(((date.month, date.day) for date in dates), sorted({(d.month, d.day) for d in dates}))
    yield "-ydaymean F", lambda: np.stack([np.nanmean(values[d], 0) for d in days])
    middle = dates[2:-2]
    centres = groups(((date.month, date.day) for date in middle), sorted({(d.month, d.day) for d in middle}))
    around = lambda steps: np.concatenate([values[step : step + 5] for step in steps])
    yield "-ydrunmean,5 F", lambda: np.stack([np.nanmean(around(steps), 0) for steps in centres])
    yield "-ydrunvar1,5 F", lambda: np.stack([np.nanvar(around(steps), 0, ddof=1) for steps in centres])
    # In double precision what 1e8 leaves of the values is known exactly.
    far = values + 1e8
    yield "-timvar -addc,1e8 F", lambda: np.nanmean((far - 1e8 - np.nanmean(far - 1e8, 0)) ** 2, 0)[None]


def groups(keys, order):
    keys = list(keys)
    return [[step for step, own in enumerate(keys) if own == key] for key in order]


def percentile(values, percent, method):
    """Of the valid values of each cell."""
    flat = values.reshape(len(values), -1)
    columns = [column[~np.isnan(column)] for column in flat.T]
    found = [np.percentile(column, percent, method=method) if column.size else np.nan for column in columns]
    return np.array(found).reshape(values.shape[1:])


def read(file):
    """Values as numbers, missing ones as NaN by every marker, and the dates of the steps."""
    with netCDF4.Dataset(file.path) as data:
        variable, time = data[file.variable], data["time"]
        variable.set_auto_maskandscale(False)
        stored = variable[:]
        markers = [getattr(variable, name) for name in ("_FillValue", "missing_value") if name in variable.ncattrs()]
        # CF 8.1: unpacked values have the type of the attributes.
        scale, offset = (np.asarray(getattr(variable, *pair)) for pair in [("scale_factor", 1.0), ("add_offset", 0.0)])
        values = (stored * scale + offset).astype("f8")
        for marker in markers:
            values[stored == np.asarray(marker).astype(stored.dtype)] = np.nan
        return values, cftime.num2date(time[:], time.units, time.calendar)


def compare(mizar, line, file, folder, expected):
    out = folder / "reference.nc"
    words = [str(file.path) if word == "F" else word for word in line.split()]
    environment = {**os.environ, "MIZAR_COMM": "single"}
    done = subprocess.run([mizar, "cube", "-s", "-O", "-b", "F64", *words, out], capture_output=True, text=True, env=environment)
    if done.returncode:
        return done.stderr.strip()[:200]
    with netCDF4.Dataset(out) as data:
        found = np.ma.filled(data[file.variable][:].astype("f8"), np.nan)
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    both = ~np.isnan(found) & ~np.isnan(expected)
    if (np.isnan(found) != np.isnan(expected)).any():
        return f"{(np.isnan(found) != np.isnan(expected)).sum()} cells are missing in one"
    error = (np.abs(found - expected)[both] / np.abs(expected[both])).max(initial=0)
    return f"relative error {error:.1e}" if error > TOLERANCE else ""
