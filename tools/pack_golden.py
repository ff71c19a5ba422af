#!/usr/bin/env python3
"""Packs a part of a folder of golden records into one archive that the build unpacks for the tests.

    tools/pack_golden.py FOLDER ARCHIVE.tar.xz [PREFIX...]

Takes the files whose path starts with a PREFIX (all without one), leaves out the tokenizer's vocabulary, which the build
gets elsewhere, and keeps in INDEX.json what was taken. The archive is the same for the same files: one tar, so that weights
which several file layouts share are stored once, in xz tuned for two- and four-byte numbers.
"""
import io
import json
import lzma
import sys
import tarfile
from pathlib import Path

LEFT_OUT = {"vocab.json", "merges.txt"}
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 192 << 20, "lc": 2, "lp": 2, "pb": 2}]


def chosen_files(folder, prefixes):
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return [f for f in files if f.rpartition("/")[2] not in LEFT_OUT
            and (not prefixes or f.startswith(tuple(prefixes)) or f == "INDEX.json")]


def chosen_index(folder, files):
    index = json.loads((folder / "INDEX.json").read_text())
    taken = {k: v for k, v in index.items() if k.startswith("_") or any(f.startswith(k) for f in files)}
    return json.dumps(taken, indent=1).encode()


def main():
    folder, archive, prefixes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    files = chosen_files(folder, prefixes)
    with lzma.open(archive, "wb", filters=FILTERS) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name in files:
            content = chosen_index(folder, files) if name == "INDEX.json" else (folder / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    print(f"{archive}: {len(files)} files, {archive.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
