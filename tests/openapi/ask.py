"""Runs the generator against each of the two listeners of a daemon that has something to tell.

Both positive and negative requests are made, also those that change something: everything here is thrown away.
"""

import json
import os
import pathlib
import subprocess
import sys

import yaml
import world

# What is described must hold. One check is left out: `positive_data_acceptance` takes each request that fits
# the schemas for a right one, and cursors, times of a list or one field of two are refused by rules in words.
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
    "use_after_free",
]
LISTENERS = [("admin", world.ADMIN_TOKEN), ("software", world.SOFTWARE_TOKEN)]


def described_for(listener, document):
    """The document with the operations of one listener: a path may have another method on the other."""
    paths = {}
    for path, item in document["paths"].items():
        kept = {
            key: value
            for key, value in item.items()
            if key == "parameters" or listener in value["tags"]
        }
        if kept.keys() - {"parameters"}:
            paths[path] = kept
    return {**document, "paths": paths, "servers": []}


def ask(listener, token, base, document, place):
    """Generates and asks; true when every answer was as described."""
    narrowed = place / f"{listener}.json"
    narrowed.write_text(json.dumps(described_for(listener, document)))
    arguments = [
        str(pathlib.Path(sys.executable).with_name("schemathesis")),
        "run",
        str(narrowed),
        f"--url={base}",
        f"--header=Authorization: Bearer {token}",
        f"--checks={','.join(CHECKS)}",
        f"--max-examples={os.environ.get('EXAMPLES', '15')}",
        f"--seed={os.environ.get('SEED', '1')}",
        "--continue-on-failure",
        "--request-timeout=30",
        "--generation-database=none",
        "--no-color",
    ]
    if seconds := os.environ.get("SECONDS_EACH"):
        arguments.append(f"--max-time={seconds}")
    print(f"-- {listener}", flush=True)
    hooks = str(pathlib.Path(__file__).with_name("hooks.py"))
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks}
    return subprocess.run(arguments, cwd=place, env=environment, check=False).returncode == 0


def main():
    document = yaml.safe_load(pathlib.Path(sys.argv[1]).read_text())
    place = pathlib.Path(sys.argv[2]).resolve()
    with world.World() as there:
        bases = {"admin": there.admin, "software": there.software}
        results = [ask(name, token, bases[name], document, place) for name, token in LISTENERS]
        if there.daemon.poll() is not None:
            print("the daemon ended")
            results.append(False)
    sys.exit(0 if all(results) else 1)


main()
