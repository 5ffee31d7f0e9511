"""Compares Zarr stores that we wrote with NetCDF files that we wrote of the same: what xarray and
zarr-python find in one must be in the other.

    zarr_compare.py pairs FOLDER    every NAME.nc in FOLDER with NAME.zarr beside it
    zarr_compare.py chunks STORE    chunk shapes and codecs of each array, as JSON

The first complaint is told on stderr and ends it with exit code 1.
"""

import glob
import json
import sys

import numpy as np
import xarray
import zarr


def plain(value):
    """An attribute without the types of numpy."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return plain(value[0]) if len(value) == 1 else [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (np.isnan(left) and np.isnan(right))
    return type(left) is type(right) and left == right


def attributes(owner, left, right):
    """Of NaN alone `missing_value` says nothing new, and JSON has no word for it."""
    left = {name: plain(value) for name, value in left.items()}
    right = {name: plain(value) for name, value in right.items()}
    if isinstance(left.get("missing_value"), float) and np.isnan(left["missing_value"]):
        left.pop("missing_value")
    assert list(left) == list(right), f"{owner}: {list(left)} and {list(right)}"
    for name, value in left.items():
        assert same(value, right[name]), f"{owner}: {name} is {value!r} and {right[name]!r}"


def row(letters):
    """UTF-8, or Latin-1 as older files have it."""
    try:
        return letters.decode()
    except UnicodeDecodeError:
        return letters.decode("latin-1")


def text(values):
    """Rows of characters are bytes in NetCDF and texts in Zarr."""
    if values.dtype.kind == "S":
        return np.vectorize(row, otypes=[object])(values)
    return values.astype(object)


def compare(left, right):
    """Two datasets as xarray has them."""
    assert set(left.variables) == set(right.variables), (set(left.variables), set(right.variables))
    assert set(left.coords) == set(right.coords), (set(left.coords), set(right.coords))
    attributes("the file", left.attrs, right.attrs)
    for name in left.variables:
        a, b = left[name].variable, right[name].variable
        assert a.dims == b.dims and a.shape == b.shape, f"{name}: {a.sizes} and {b.sizes}"
        attributes(name, a.attrs, b.attrs)
        if a.dtype.kind in "SUO" and not is_dates(a):
            assert np.array_equal(text(a.values), text(b.values)), name
            continue
        assert a.dtype == b.dtype, f"{name}: {a.dtype} and {b.dtype}"
        if a.dtype.kind == "f":
            assert a.values.tobytes() == b.values.tobytes(), f"{name}: other bits"
        else:
            assert np.array_equal(a.values, b.values), name


def is_dates(variable):
    return variable.size > 0 and hasattr(variable.values.flat[0], "calendar")


def consolidated_is_true(path):
    """The metadata of the root are those of the arrays."""
    with open(f"{path}/zarr.json") as file:
        members = json.load(file, parse_constant=refuse)["consolidated_metadata"]["metadata"]
    for name, member in members.items():
        with open(f"{path}/{name}/zarr.json") as file:
            assert json.load(file, parse_constant=refuse) == member, name
    group = zarr.open_group(path, mode="r", use_consolidated=False)
    assert set(group.array_keys()) == set(members)
    return len(members)


def refuse(word):
    raise AssertionError(f"{word} is not JSON")


def pairs(folder):
    count = 0
    for file in sorted(glob.glob(f"{folder}/*.nc")):
        store = file[:-3] + ".zarr"
        try:
            assert consolidated_is_true(store) > 0
            for options in [{}, {"decode_times": False}, {"mask_and_scale": False}]:
                with xarray.open_dataset(file, engine="netcdf4", **options) as left:
                    with xarray.open_zarr(store, chunks=None, **options) as right:
                        compare(left, right)
        except Exception as error:
            raise SystemExit(f"{file}: {type(error).__name__} {error}")
        count += 1
    print(count)


def chunks(store):
    group = zarr.open_group(store, mode="r")
    found = {}
    for name, array in group.arrays():
        codecs = [codec.to_dict() for codec in array.metadata.codecs]
        found[name] = [list(array.chunks), [codec["name"] for codec in codecs]]
    print(json.dumps(found))


if __name__ == "__main__":
    {"pairs": pairs, "chunks": chunks}[sys.argv[1]](sys.argv[2])
