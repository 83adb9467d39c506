#!/usr/bin/env python3
"""Checks an archive that `authcoded evidence` wrote, without authcoded. Needs Python 3.8 and nothing else."""

import base64
import hashlib
import heapq
import json
import sys
import tarfile

CHAINS = ("events", "callbacks", "test-callbacks")
EVENT = "id at code kind source from to order_id result_code detail request_id".split()
CALLBACK = ("id received_at activity code test signed_at verdict result_code detail doctor duration_ms "
            "body request_id head reply clock_skew_ms").split()
END = 512 + 1024  # the seal's content with its padding, and two empty blocks


def ensure(holds, otherwise):
    if not holds:
        sys.exit(f"NOT AS IT WAS WRITTEN: {otherwise}")


def check_seal(path):
    with open(path, "rb") as file:
        left = file.seek(0, 2) - END
        ensure(left > 0, "too short to be an archive")
        file.seek(0)
        seal = hashlib.sha256()
        while left:
            block = file.read(min(left, 1 << 16))
            seal.update(block)
            left -= len(block)
        end = seal.hexdigest().encode() + b"\n"
        ensure(file.read() == end.ljust(END, b"\0"), "the seal does not hold")


def check_files(archive, manifest):
    listed = {file["name"]: file for file in manifest["files"]}
    names = archive.getnames()
    ensure(sorted(names) == sorted([*listed, "manifest.json", "archive.sha256"]), "other files than listed")
    for name, file in listed.items():
        content, digest = archive.extractfile(name), hashlib.sha256()
        for block in iter(lambda: content.read(1 << 16), b""):
            digest.update(block)
        size = archive.getmember(name).size
        ensure((size, digest.hexdigest()) == (file["size"], file["sha256"]), f"{name} differs from the manifest")


def digest(row, table, columns):
    cells = [table]
    for column in columns:
        value = row[column]
        cells.append(base64.b64decode(value) if column in ("body", "reply") and value is not None else value)
    text = b""
    for cell in cells:
        if cell is None:
            text += b"\xff" * 8
            continue
        if isinstance(cell, int):
            cell = cell.to_bytes(8, "big", signed=True)
        elif isinstance(cell, str):
            cell = cell.encode()
        text += len(cell).to_bytes(8, "big") + cell
    return hashlib.sha256(text).digest()


def full_rows(archive, chain):
    for line in archive.extractfile(f"{chain}.jsonl"):
        row = json.loads(line)
        table, columns = ("event", EVENT) if chain == "events" else ("callback", CALLBACK)
        yield row["id"], digest(row, table, columns), bytes.fromhex(row["hash"])


def other_rows(archive, chain):
    for line in archive.extractfile(f"digests/{chain}.txt"):
        number, text = line.split()
        yield int(number), bytes.fromhex(text.decode()), None


def heads_of(line):
    """{(chain, id, hash)} of a line `chain heads: …`."""
    start, _, rest = line.partition("chain heads: ")
    parts = (part.split(" ") for part in rest.split('"')[0].strip().split("; ") if rest)
    return {(chain, int(number), bytes.fromhex(text)) for chain, number, text in parts}


def check_chain(archive, chain, ends, noted):
    number, link = ends["anchor"]["id"], bytes.fromhex(ends["anchor"]["hash"])
    # Events are never forgotten: their chain begins with the first one.
    ensure(chain != "events" or (number, link) == (0, bytes(32)), "the oldest events are missing")
    ahead = sorted((id, link) for (of, id, link) in noted if of == chain and id >= number)
    while ahead and ahead[0][0] == number:
        ensure(ahead.pop(0)[1] == link, f"{chain} begins elsewhere than was noted")
    count = 0
    for id, row, link_then in heapq.merge(full_rows(archive, chain), other_rows(archive, chain),
                                          key=lambda step: step[0]):
        ensure(id > number and (chain != "events" or id == number + 1), f"{chain} {id} is out of order")
        number, link, count = id, hashlib.sha256(link + row).digest(), count + 1
        ensure(link_then in (None, link), f"{chain} {id} is another row")
        while ahead and ahead[0][0] <= id:
            ensure(ahead.pop(0) == (id, link), f"{chain} {id} is not on the way to a noted head")
    ensure((number, link.hex()) == (ends["head"]["id"], ends["head"]["hash"]), f"{chain} ends elsewhere")
    ensure(not ahead, f"{chain} ends before a head that was noted")
    print(f"{chain}: {count} rows, every link holds up to {number} {link.hex()}")


def main():
    arguments = sys.argv[1:]
    noted = set()
    if len(arguments) == 3 and arguments[1] == "--heads":
        noted = heads_of(arguments[2])
        ensure(noted, "--heads takes a whole line `chain heads: …` of the journal")
    elif len(arguments) != 1:
        sys.exit("usage: verify-evidence.py FILE [--heads LINE]")
    check_seal(arguments[0])
    with tarfile.open(arguments[0], "r:") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))
        ensure(manifest["format"] == 1, "of another format")
        check_files(archive, manifest)
        for line in archive.extractfile("events.jsonl"):
            detail = json.loads(line)["detail"]
            if detail.startswith("chain heads: "):
                noted |= heads_of(detail)
        for chain in CHAINS:
            check_chain(archive, chain, manifest["chains"][chain], noted)
    print(f"made at {manifest['made_at']}; the archive is as it was written")


if __name__ == "__main__":
    main()
