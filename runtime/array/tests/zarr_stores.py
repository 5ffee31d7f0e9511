"""Zarr stores that the reader must know, made by zarr-python.

    zarr_stores.py make FOLDER   stores, and FOLDER/manifest.json with the values of each
"""

import json
import sys

import numpy as np
import zarr
from numcodecs import LZ4, Blosc, GZip, Shuffle, VLenUTF8, Zlib, Zstd
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

SHAPE = (7, 11, 13)
CHUNKS = (3, 4, 13)


def values(kind, seed, shape=SHAPE):
    generator = np.random.default_rng(seed)
    if kind == "b1":
        return generator.integers(0, 2, shape).astype("bool")
    if kind[-2] in "iu":
        low = 0 if kind[-2] == "u" else -100
        return generator.integers(low, 101, shape).astype(kind)
    return generator.normal(size=shape).astype(kind)


class Store:
    def __init__(self, folder, name, version, manifest):
        self.name, self.manifest = name, manifest
        self.path = f"{folder}/{name}.zarr"
        self.version = version
        self.group = zarr.open_group(self.path, mode="w", zarr_format=version)
        manifest[name] = {}

    def add(self, name, data, dims=("time", "lat", "lon"), seen=None, skip=None, attrs=None, **how):
        attributes = dict(attrs or {})
        if self.version == 2:
            attributes["_ARRAY_DIMENSIONS"] = list(dims)
        else:
            how["dimension_names"] = dims
        array = self.group.create_array(
            name, shape=data.shape, dtype=data.dtype, attributes=attributes, **how
        )
        seen = np.array(data if seen is None else seen, dtype="f8")
        if skip is None:
            array[...] = data
        else:
            # Only the part before `skip` is written: the rest is the fill value.
            array[:skip] = data[:skip]
        self.manifest[self.name][name] = [
            None if np.isnan(value) else float(value) for value in seen.ravel()
        ]

    def consolidate(self):
        zarr.consolidate_metadata(self.path, zarr_format=self.version)


def filled(data, start, value):
    out = np.array(data, dtype="f8")
    out[start:] = value
    return out


KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "b1")


def version_2(folder, manifest):
    for name, consolidated, separator in (("v2", True, "."), ("v2_plain", False, "/")):
        store = Store(folder, name, 2, manifest)
        keys = {"name": "v2", "separator": separator}
        compressors = {
            "none": None,
            "zlib": Zlib(4),
            "gzip": GZip(4),
            "zstd": Zstd(3),
            "lz4": LZ4(),
            **{
                f"blosc_{codec}_{shuffle}": Blosc(cname=codec, shuffle=shuffle, blocksize=block)
                for codec in ("lz4", "lz4hc", "zstd", "zlib")
                for shuffle, block in ((0, 0), (1, 512), (2, 0))
            },
        }
        if not consolidated:
            compressors = {"zlib": Zlib(4)}
        for seed, (codec, compressor) in enumerate(compressors.items()):
            for kind in ("f4", "i2", "f8"):
                store.add(
                    f"{codec}_{kind}",
                    values(kind, seed),
                    chunks=CHUNKS,
                    compressors=compressor,
                    filters=None,
                    fill_value=None,
                    chunk_key_encoding=keys,
                )
        for order in "CF" if consolidated else "C":
            for endian in "<>":
                for seed, kind in enumerate(KINDS):
                    data = values(endian + kind if kind != "b1" else kind, seed)
                    store.add(
                        f"{order}_{'le' if endian == '<' else 'be'}_{kind}",
                        data,
                        chunks=CHUNKS,
                        order=order,
                        compressors=Zlib(1),
                        filters=[Shuffle(4)] if kind == "f4" else None,
                        fill_value=None,
                        chunk_key_encoding=keys,
                    )
        data = values("f4", 90)
        missing = filled(data, 3, np.nan)
        for label, fill, seen in (
            ("nan", np.nan, missing),
            ("number", -9.0, missing),
            ("infinity", np.inf, missing),
            ("null", None, filled(data, 3, 0)),
        ):
            store.add(
                f"fill_{label}",
                data,
                seen=seen,
                skip=3,
                chunks=CHUNKS,
                fill_value=fill,
                chunk_key_encoding=keys,
            )
        store.add("scalar", np.array(2.5), dims=(), fill_value=None, chunk_key_encoding=keys)
        store.group.attrs["title"] = "version two"
        store.group.attrs["numbers"] = [1, 2]
        store.group.create_group("inner")
        if consolidated:
            store.consolidate()


def version_3(folder, manifest):
    for name, consolidated in (("v3", True), ("v3_plain", False)):
        store = Store(folder, name, 3, manifest)
        little, big = BytesCodec(endian="little"), BytesCodec(endian="big")
        compressors = {
            "none": [],
            "gzip": [GzipCodec(level=4)],
            "zstd": [ZstdCodec(level=3, checksum=True)],
            "crc32c": [Crc32cCodec()],
            "zstd_crc32c": [ZstdCodec(), Crc32cCodec()],
            "gzip_zstd": [GzipCodec(), ZstdCodec()],
            **{
                f"blosc_{codec}_{shuffle}": [
                    BloscCodec(typesize=4, cname=codec, shuffle=shuffle, blocksize=block)
                ]
                for codec in ("lz4", "lz4hc", "zstd", "zlib")
                for shuffle, block in (("noshuffle", 0), ("shuffle", 512), ("bitshuffle", 0))
            },
        }
        if not consolidated:
            compressors = {"zstd": compressors["zstd"]}
        for seed, (codec, compressor) in enumerate(compressors.items()):
            for kind in ("f4", "i2"):
                store.add(
                    f"{codec}_{kind}",
                    values(kind, seed),
                    chunks=CHUNKS,
                    serializer=big if seed % 2 else little,
                    compressors=compressor,
                    fill_value=0,
                )
        for seed, kind in enumerate(KINDS):
            store.add(
                f"kind_{kind}",
                values(kind, seed),
                chunks=CHUNKS,
                filters=[TransposeCodec(order=(2, 0, 1))],
                chunk_key_encoding={"name": "default", "separator": "."},
            )
        for seed, (codec, compressor) in enumerate(compressors.items()):
            store.add(
                f"shard_{codec}",
                values("f4", seed),
                seen=filled(values("f4", seed), 6, np.nan),
                skip=6,
                chunks=(3, 2, 13),
                shards=(6, 4, 13),
                serializer=little,
                compressors=compressor,
                fill_value=np.nan,
            )
        array = values("f4", 70)
        store.group.create_array(
            "shard_start",
            shape=array.shape,
            dtype="f4",
            chunks=(6, 4, 13),
            dimension_names=("time", "lat", "lon"),
            serializer=ShardingCodec(
                chunk_shape=(3, 2, 13),
                codecs=[TransposeCodec(order=(1, 2, 0)), little, ZstdCodec()],
                index_location="start",
                index_codecs=[little],
            ),
            compressors=None,
        )[...] = array
        manifest[name]["shard_start"] = [float(value) for value in array.ravel()]
        data = values("f4", 90)
        for label, fill, seen in (
            ("nan", np.nan, np.nan),
            ("number", -9.0, -9.0),
            ("infinity", np.inf, np.inf),
        ):
            if np.isinf(seen):
                continue
            store.add(
                f"fill_{label}", data, seen=filled(data, 3, seen), skip=3, chunks=CHUNKS,
                fill_value=fill,
            )
        packed = values("i2", 5)
        packed[0, 0, :] = -100
        store.add(
            "packed",
            packed,
            seen=np.where(packed == -100, np.nan, packed * 0.5 + 3.0),
            chunks=CHUNKS,
            attrs={"scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -100},
            fill_value=-100,
        )
        store.add("scalar", np.array(2.5), dims=())
        store.group.attrs["title"] = "version three"
        store.group.create_group("inner")
        if consolidated:
            store.consolidate()


def texts(folder):
    import xarray

    names = np.array(["a", "bcd", "ä€", ""], dtype=object)
    for version in (2, 3):
        xarray.Dataset(
            {
                "any": ("station", names),
                "wide": ("station", names.astype("U4")),
                "bytes": ("station", np.array([b"a", b"bcd", b"", b"xyz"], dtype="S3")),
                "t": ("station", np.array([1.0, np.nan, 3.0, 4.0], dtype="f4")),
            },
            attrs={"title": "texts"},
        ).to_zarr(
            f"{folder}/texts{version}.zarr",
            zarr_format=version,
            encoding={"t": {"_FillValue": np.float32(1e20)}},
        )


if __name__ == "__main__":
    assert sys.argv[1] == "make"
    manifest = {}
    version_2(sys.argv[2], manifest)
    version_3(sys.argv[2], manifest)
    texts(sys.argv[2])
    with open(f"{sys.argv[2]}/manifest.json", "w") as file:
        json.dump(manifest, file)
