"""Makes HDF5 files with the filters that compress, by other writers than ours.

    filters.py known FOLDER    FOLDER/filters.nc and FOLDER/netcdf.nc, with every filter that is
                               read, and FOLDER/NAME.f64 with the values of each variable
    filters.py foreign FOLDER  FOLDER/foreign.nc, with filters that are not read

Prints for each variable the address, size and filter mask of its first chunk, as JSON.
"""

import json
import sys

import h5py
import hdf5plugin
import numpy as np


def numbers(shape, kind):
    """Half smooth, half noise: what compresses, and what does not."""
    generator = np.random.default_rng(len(kind) + shape[0])
    smooth = np.arange(np.prod(shape)).reshape(shape) // 7
    noise = generator.integers(0, 1 << 15, shape)
    rows = np.arange(shape[0]).reshape((-1,) + (1,) * (len(shape) - 1))
    data = np.where(rows % 2 == 0, smooth, noise)
    return data.astype(kind) if kind[1] in "iu" else (data / 8).astype(kind)


class Maker:
    def __init__(self, file, folder):
        self.file, self.folder, self.names = file, folder, []

    def keep(self, name, values):
        np.asarray(values, "<f8").tofile(f"{self.folder}/{name}.f64")
        self.names.append(name)

    def make(self, name, shape, chunks, kind="<f4", **options):
        data = numbers(shape, kind)
        variable = self.file.create_dataset(name, data=data, chunks=chunks, **options)
        # What a lossy filter leaves is what h5py reads.
        self.keep(name, variable[...])


def h5py_filters(folder):
    with h5py.File(f"{folder}/filters.nc", "w") as file:
        maker = Maker(file, folder)
        make = maker.make
        # Chunks of 13 x 31 cells: neither elements nor bytes are a multiple of anything.
        small, odd = (40, 93), (13, 31)
        # Chunks of 80,000 cells: many blocks.
        large, long = (4, 50_000), (2, 40_000)
        for kind in ("<i1", "<i2", "<f4", ">f4", "<f8"):
            end = {"<": "", ">": "_big"}[kind[0]]
            tag = kind[1:] + end
            make(f"lzf_{tag}", small, odd, kind, compression="lzf", shuffle=True)
            make(f"zstd_{tag}", small, odd, kind, **hdf5plugin.Zstd())
            make(f"lz4_{tag}", small, odd, kind, **hdf5plugin.LZ4())
            for compressor in ("none", "lz4", "zstd"):
                options = hdf5plugin.Bitshuffle(cname=compressor)
                make(f"bitshuffle_{compressor}_{tag}", small, odd, kind, **options)
            for number, how in enumerate(("none", "bytes", "bits")):
                options = hdf5plugin.Blosc(cname="blosclz", shuffle=number)
                make(f"blosclz_{how}_{tag}", small, odd, kind, **options)
        make("lzf_large", large, long, compression="lzf")
        make("lz4_blocks", large, long, **hdf5plugin.LZ4(nbytes=10_000))
        make("zstd_large", large, long, shuffle=True, **hdf5plugin.Zstd(clevel=9))
        for compressor in ("none", "lz4", "zstd"):
            options = hdf5plugin.Bitshuffle(cname=compressor, nelems=64)
            make(f"bitshuffle_{compressor}_blocks", large, long, **options)
        for compressor in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
            for number, how in enumerate(("none", "bytes", "bits")):
                options = hdf5plugin.Blosc(cname=compressor, clevel=9, shuffle=number)
                make(f"blosc_{compressor}_{how}", large, long, "<f8", **options)
                make(f"blosc_{compressor}_{how}_i2", large, long, "<i2", **options)
        make("lzf_checked", small, odd, compression="lzf", shuffle=True, fletcher32=True)
        # The library's own, which are read through it.
        make("szip", (40, 64), (10, 32), compression="szip")
        make("scaled", small, odd, scaleoffset=3)
        make("scaled_whole", small, odd, "<i4", scaleoffset=0)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(odd)
        plist.set_filter(5)
        narrow = h5py.h5t.STD_I32LE.copy()
        narrow.set_precision(17)
        space = h5py.h5s.create_simple(small)
        nbit = h5py.h5d.create(file.id, b"nbit", narrow, space, plist)
        data = numbers(small, "<i4")
        nbit.write(h5py.h5s.ALL, h5py.h5s.ALL, data)
        maker.keep("nbit", data)
        return maker.names


def netcdf_filters(folder):
    from netCDF4 import Dataset

    with Dataset(f"{folder}/netcdf.nc", "w") as file:
        maker = Maker(file, folder)
        file.createDimension("y", 40)
        file.createDimension("x", 93)
        for compression in ("zstd", "blosc_lz", "blosc_lz4", "blosc_lz4hc", "blosc_zlib", "blosc_zstd"):
            for shuffle in (0, 1, 2) if "blosc" in compression else (False, True):
                options = {"blosc_shuffle": shuffle} if "blosc" in compression else {"shuffle": shuffle}
                name = f"nc_{compression}_{int(shuffle)}"
                variable = file.createVariable(
                    name, "f4", ("y", "x"), compression=compression, chunksizes=(13, 31), fletcher32=True, **options
                )
                data = numbers((40, 93), "<f4")
                variable[:] = data
                maker.keep(name, data)
        return maker.names


def chunks(path, names):
    with h5py.File(path) as file:
        first = {name: file[name].id.get_chunk_info(0) for name in names}
        return {name: [chunk.byte_offset, chunk.size, chunk.filter_mask] for name, chunk in first.items()}


def known(folder):
    made = {"filters.nc": h5py_filters(folder), "netcdf.nc": netcdf_filters(folder)}
    json.dump({file: chunks(f"{folder}/{file}", names) for file, names in made.items()}, sys.stdout)


def foreign(folder):
    with h5py.File(f"{folder}/foreign.nc", "w") as file:
        maker = Maker(file, folder)
        maker.make("bzip2", (40, 93), (13, 31), **hdf5plugin.BZip2())
        maker.make("zfp", (40, 93), (13, 31), **hdf5plugin.Zfp(reversible=True))
        maker.make("blosc2", (40, 93), (13, 31), **hdf5plugin.Blosc2())
    json.dump({"foreign.nc": chunks(f"{folder}/foreign.nc", maker.names)}, sys.stdout)


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    {"known": known, "foreign": foreign}[command](folder)
