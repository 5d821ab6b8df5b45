#!/usr/bin/env python3
"""open_with_python.py MAKE_CAPTURE: captures as other programs see them, with h5py, xarray and NumPy only.

Ends with 77 (skipped) where h5py, xarray or NumPy are not installed.
"""

import pathlib
import subprocess
import sys
import tempfile
import zlib

try:
    import h5py
    import numpy as np
    import xarray as xr
except ImportError as error:
    print(f"skipped: {error} (Debian packages python3-h5py, python3-xarray, python3-numpy)")
    sys.exit(77)

NO_COORDINATES = "This is a netCDF dimension but not a netCDF variable."
UNITS = {"lse": "nat", "entropy": "nat", "jmax": "token", "dist1": "token", "dist2": "token2"}  # others: "1"
failures = []


def check(ok, what):
    if not ok:
        failures.append(what)
        print("FAILED:", what)


def close(found, expected, limit, what):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        return check(False, f"{what}: shape {found.shape}, expected {expected.shape}")
    same = found == expected  # infinities
    distance = np.max(np.abs(np.where(same, 0.0, np.subtract(found, expected, where=~same,
                                                             out=np.zeros_like(found)))), initial=0.0)
    check(distance <= limit, f"{what}: differs by {distance:.3g}, at most {limit:.3g} is allowed")


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def as_xarray(dataset):
    """Named axes and coordinates from the dimension scales of an HDF5 dataset."""
    dims, coords = [], {}
    for axis in dataset.dims:
        scale = axis[0]
        name = scale.name.rsplit("/", 1)[1]
        dims.append(name)
        if not text(scale.attrs["NAME"]).startswith(NO_COORDINATES):
            coords[name] = scale[:]
    attrs = {key: dataset.attrs[key] for key in ("units", "long_name") if key in dataset.attrs}
    return xr.DataArray(dataset[...], dims=dims, coords=coords, name=dataset.name, attrs=attrs)


def operand(dataset):
    """Stored q, k or v as float64."""
    values = dataset[...]
    if text(dataset.attrs.get("encoding", "")) == "bfloat16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)


def datasets(file):
    found = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def check_file(file, kind):
    check(text(file.attrs["Conventions"]) == "CF-1.10 Headlight-1.0", "Conventions")
    check(list(file.attrs["headlight_version"]) == [1, 0], "headlight_version")
    check(file.attrs["complete"] == 1, "complete")
    level = {"maps": "maps", "corpus": "summary"}.get(kind, "replay")
    check(text(file.attrs["level"]) == level, "level")
    check(text(file.attrs["default"]) in file, "default names no object")
    for dataset in datasets(file):
        check(h5py.check_dtype(vlen=dataset.dtype) is None, f"{dataset.name}: variable length")
        is_dimension = text(dataset.attrs.get("NAME", "")).startswith(NO_COORDINATES)
        check("long_name" in dataset.attrs or is_dimension, f"{dataset.name}: no long_name")
        if "axes" in dataset.attrs:
            names = text(dataset.attrs["axes"]).split(",")
            check(len(names) == dataset.ndim, f"{dataset.name}: axes {names} of {dataset.ndim} dimensions")
            for name, axis, length in zip(names, dataset.dims, dataset.shape):
                check(len(axis) == 1, f"{dataset.name}: {len(axis)} scales along {name}")
                check(axis[0].name.endswith("/" + name), f"{dataset.name}: {axis[0].name} along {name}")
                check(axis[0].shape == (length,), f"{dataset.name}: {axis[0].shape} long scale, {length} along {name}")
        if "_FillValue" in dataset.attrs:
            fill = dataset.attrs["_FillValue"]
            check(fill.dtype == dataset.dtype, f"{dataset.name}: _FillValue is {fill.dtype}")
            check(fill.tobytes() == np.asarray(dataset.fillvalue, dataset.dtype).tobytes(),
                  f"{dataset.name}: _FillValue {fill}, fill value {dataset.fillvalue}")


def stored_bytes(dataset, raw):
    """What lies in the file: chunks in row-major order, or the contiguous data."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is not None:
            raw.seek(offset)
            yield raw.read(dataset.id.get_storage_size())
        return
    for index in np.ndindex(*(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks))):
        try:
            yield dataset.id.read_direct_chunk(tuple(i * c for i, c in zip(index, dataset.chunks)))[1]
        except (OSError, RuntimeError, ValueError, MemoryError):  # never written: each h5py says it differently
            pass


def check_manifest(path, file):
    columns = [file["manifest/" + name][:] for name in ("path", "bytes", "crc32")]
    listed = [text(name) for name in columns[0]]
    unlisted = {d.name for d in datasets(file)} - set(listed)
    check(all(n in ("/journal", "/live/progress") or n.startswith("/manifest/") for n in unlisted),
          f"not in the manifest: {unlisted}")
    with open(path, "rb") as raw:
        for name, size, crc in zip(listed, *columns[1:]):
            found_size, found_crc = 0, 0
            for stored in stored_bytes(file[name], raw):
                found_size, found_crc = found_size + len(stored), zlib.crc32(stored, found_crc)
            check((found_size, found_crc) == (size, crc), f"manifest of {name}")


def exact_attention(record, l, h):
    """Rows [query_offset, N) of one head in float64, and their scores' log-sum-exp; NaN = nothing stored."""
    replay = record["replay"]
    num_heads, num_groups = replay["q"].shape[1], replay["k"].shape[1]
    q, k = operand(replay["q"])[l, h], operand(replay["k"])[l, h * num_groups // num_heads]
    score = float(replay["scale"][l]) * (q @ k.T)
    cap, window = float(replay["soft_cap"][l]), int(replay["window"][l])
    if cap > 0:
        score = cap * np.tanh(score / cap)
    i, j = record["replay_query"][:][:, None], record["key"][:][None, :]
    first = int(record.attrs["first_key"])
    visible = (j >= first) & (i >= first)
    if replay["causal"][l]:
        visible &= j <= i
    if window > 0:
        visible &= np.abs(i - j) < window
    score = np.where(visible, score, -np.inf)
    null = np.where(visible.any(axis=1), float(replay["null_logit"][l, h]), -np.inf)
    lse = np.logaddexp(np.logaddexp.reduce(score, axis=1), null)
    attn = np.exp(score - np.where(np.isfinite(lse), lse, 0.0)[:, None])
    return attn, lse, np.exp(null - np.where(np.isfinite(lse), lse, 0.0))


def entropy_of(attn, null_mass):
    mass = np.concatenate([attn, null_mass[:, None]], axis=1)
    return -np.sum(mass * np.log(np.where(mass > 0, mass, 1.0)), axis=1)


def check_attention(record, kind):
    rows, offset = int(record.attrs["n_rows"]), int(record.attrs["query_offset"])
    recorded = record["replay/recorded"][:]
    check((recorded == 0).any() == (kind == "masked"), "recorded heads")
    heads = 0
    for l, h in np.argwhere(recorded == 1):
        where = f"{kind}, layer {record['layer'][l]}, head {h}"
        attn, lse, null_mass = exact_attention(record, l, h)
        check(attn.shape == (rows - offset, rows), f"{where}: shape {attn.shape}")
        close(record["row/lse"][l, h, offset:], lse, 1e-5, f"{where}: lse")
        close(record["row/entropy"][l, h, offset:], entropy_of(attn, null_mass), 1e-5, f"{where}: entropy")
        close(record["row/null_mass"][l, h, offset:], null_mass, 1e-6, f"{where}: null_mass")
        # The attention that a reader computes, from the stored lse.
        stored_lse = record["row/lse"][l, h, offset:].astype(np.float64)
        seen = np.isfinite(stored_lse)
        replayed = attn * np.exp(np.where(seen, lse, 0.0) - np.where(seen, stored_lse, 0.0))[:, None]
        close(replayed.sum(axis=1)[seen], (1.0 - null_mass)[seen], 1e-5, f"{where}: sum of a row")
        jmax = np.where(seen, attn.argmax(axis=1), -1)
        check((record["row/jmax"][l, h, offset:] == jmax).all(), f"{where}: jmax")
        if offset == 0:  # columns need all rows
            close(record["col/received"][l, h], attn.sum(axis=0), 1e-5, f"{where}: received")
        if "map/full" in record:
            close(record["map/full"][l, h], attn, 1e-6, f"{where}: map/full")
        check_blocks(record, l, h, attn, where)
        heads += 1
    check(heads > 0, f"{kind}: no head was compared")
    for l, h in np.argwhere(recorded == 0):
        check(np.isnan(record["replay/q"][l, h]).all(), f"q of layer {l}, head {h} is there")
    if kind == "masked":
        check((record["replay/window"][:] > 0).any() and (record["replay/soft_cap"][:] > 0).any()
              and np.isfinite(record["replay/null_logit"][:]).all(), "the masked capture masks nothing")
        check(np.isneginf(record["row/lse"][:, :, : record.attrs["first_key"]]).all(), "lse of padding")


def check_blocks(record, l, h, attn, where):
    if attn.shape[0] != attn.shape[1]:
        return
    blocks, rows = record["map/block_max"], attn.shape[0]
    edge, count = int(blocks.attrs["block_size"]), blocks.shape[2]
    padded = np.zeros((count * edge, count * edge))
    padded[:rows, :rows] = attn
    tiles = padded.reshape(count, edge, count, edge)
    largest = tiles.max(axis=(1, 3))
    code = blocks[l, h].astype(np.float64)
    decoded = np.where(code > 0, 2.0 ** (16.0 * ((code - 1.0) / 254.0 - 1.0)), 0.0)
    check((np.abs(decoded - largest) <= 0.0221 * largest + 2.0 ** -16).all(), f"{where}: block_max")
    close(record["map/block_sum"][l, h], tiles.sum(axis=(1, 3)), 1e-3 * edge, f"{where}: block_sum")


def check_record(record, kind):
    rows, prompt = int(record.attrs["n_rows"]), int(record.attrs["n_prompt_tokens"])
    generated = int(record.attrs["n_generated"])
    check(rows == prompt + max(0, generated - 1), f"{rows} rows, {prompt} + {generated} tokens")
    check(record["text/token_id"].shape == (prompt + generated,), "number of tokens")
    check((record["generated/token_id"][:] == record["text/token_id"][prompt:]).all(), "generated tokens")
    utf8 = record["text/utf8"][:].tobytes()
    begin, end = record["text/token_byte_begin"][:], record["text/token_byte_end"][:]
    check(b"".join(utf8[b:e] for b, e in zip(begin, end) if b >= 0) == utf8, "tokens cover the text")
    entropy = as_xarray(record["row/entropy"])
    check(entropy.dims == ("layer", "head", "query"), f"dimensions {entropy.dims}")
    check(entropy.coords["layer"].values.tolist() == [1, 3], "layers keep their numbers")
    check(entropy.sel(layer=3, head=2).shape == (rows,), "selection by layer number")
    mean = as_xarray(record["head_stats/entropy"])
    seen = np.isfinite(as_xarray(record["row/lse"]))
    close(mean, entropy.where(seen).mean("query"), 1e-5, f"{kind}: head_stats/entropy")
    for group, axis in (("row", "query"), ("col", "key")):
        for name, dataset in record[group].items():
            unit = text(dataset.attrs["units"])
            check(unit == UNITS.get(name, "1"), f"{group}/{name}: unit {unit}")
            check(dataset.shape[-2 if name == "group_mass" else -1] == rows, f"{group}/{name}: {dataset.shape}")
            if name != "visible_count":
                check(text(dataset.attrs["statistic_kind"]) == name, f"{group}/{name}: statistic_kind")
                check("_FillValue" in dataset.attrs, f"{group}/{name}: no _FillValue")
    check_attention(record, kind)


def check_corpus(file):
    corpus = file["corpus"]
    ids = [text(name) for name in corpus["statistic_name"]]
    values = as_xarray(corpus["head_stats"]).assign_coords(statistic=ids)
    check(values.dims == ("record", "layer", "head", "statistic"), f"dimensions {values.dims}")
    check(values.sizes["record"] == 3 == int(corpus.attrs["n_records"]), "number of records")
    check([text(name) for name in corpus["record_id"]] == ["record 0", "record 1", "record 2"], "ids of records")
    accum = as_xarray(corpus["accum/mean"]).assign_coords(statistic=ids)
    close(accum.sel(statistic="entropy"), values.sel(statistic="entropy").astype("f8").mean("record"), 1e-9, "accum")
    offset = corpus["text_offset"][:]
    check(offset[0] == 0 and offset[-1] == corpus["text_utf8"].shape[0], "text_offset")
    check(corpus["token_offset"][-1] == corpus["n_tokens"][:].sum(), "token_offset")


def main():
    print("h5py", h5py.version.version, "HDF5", h5py.version.hdf5_version, "xarray", xr.__version__)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("replay", "maps", "generated", "masked", "bf16", "corpus"):
            path = pathlib.Path(folder) / f"{kind}.h5"
            subprocess.run([sys.argv[1], str(path), kind], check=True)
            with h5py.File(path, "r") as file:
                check_file(file, kind)
                check_manifest(path, file)
                check_corpus(file) if kind == "corpus" else check_record(file["rec/0"], kind)
    print(f"{len(failures)} failures" if failures else "passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
