#!/usr/bin/env python3
"""May this code run? Asks authcoded, and goes by the last lease while authcoded is away.

    entitlement.py CODE                            exit 0 allow, 1 deny, 2 cannot tell
    entitlement.py --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused

Needs PyJWT (pip install 'PyJWT[crypto]'). The settings are those of examples/README.md.
"""

import http.client
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote, urlsplit

import jwt

URL = os.environ.get("AUTHCODED_URL", "http://127.0.0.1:8652")
SOCKET = os.environ.get("AUTHCODED_SOCKET")
TOKEN_FILE = os.environ.get("AUTHCODED_TOKEN_FILE", "/etc/authcoded/software-token")
FOLDER = Path(os.environ.get("AUTHCODED_FOLDER", "authcoded-lease"))
LEASE, KEYS = FOLDER / "lease.jwt", FOLDER / "jwks.json"
TIMEOUT_S = 2

ALLOW, DENY, CANNOT_TELL = 0, 1, 2


class NoAnswer(Exception):
    """Whatever is neither a yes nor a no: nobody listens, too slow, 5xx, a wrong token."""


class Refused(Exception):
    """The lease does not hold."""


def main(args):
    match args:
        case ["--check-lease", lease, keys, code]:
            try:
                print("allow", check_lease(Path(lease).read_text(), Path(keys).read_text(), code))
                return ALLOW
            except (Refused, OSError) as why:
                print(f"refused: {why}")
                return DENY
        case [code]:
            return ask(code)
    print(__doc__, file=sys.stderr)
    return CANNOT_TELL


def ask(code):
    try:
        answer = json.loads(get("/v1/entitlements/" + quote(code, safe="")))
        decision, reason = answer["decision"], answer["reason"]
        if decision not in ("allow", "deny"):
            raise NoAnswer(f"it said {decision}")
    except (NoAnswer, ValueError, KeyError) as why:
        return go_by_the_lease(code, why)
    if decision == "deny":
        LEASE.unlink(missing_ok=True)
        print("deny", reason)
        return DENY
    try:
        keep(answer["lease"], code)
    except (Refused, NoAnswer, OSError) as why:
        print(f"the lease was not kept: {why}", file=sys.stderr)
    print("allow", reason)
    return ALLOW


def go_by_the_lease(code, why):
    print(f"no answer from authcoded: {why}", file=sys.stderr)
    try:
        reason = check_lease(LEASE.read_text(), KEYS.read_text(), code)
    except (Refused, OSError) as no_lease:
        # Your product's own choice: stop, ask the user for patience, or go on for a day, say.
        print(f"cannot tell: {no_lease}")
        return CANNOT_TELL
    print(f"allow {reason} (lease)")
    return ALLOW


def keep(lease, code):
    """Keeps a lease that holds. The key set is fetched when the kept one does not know its key."""
    try:
        check_lease(lease, KEYS.read_text(), code)
    except (Refused, OSError):
        keys = get("/.well-known/jwks.json")
        check_lease(lease, keys, code)
        store(KEYS, keys)
    store(LEASE, lease)


def check_lease(lease, keys, code):
    """The reason that the lease gives, if it holds now, for this code, under one of these keys."""
    try:
        key = jwt.PyJWKSet.from_json(keys)[jwt.get_unverified_header(lease.strip())["kid"]]
        claims = jwt.decode(
            lease.strip(),
            key,
            algorithms=["EdDSA"],  # never the one that the lease names
            issuer="authcoded",
            subject=code,
            options={"require": ["iss", "sub", "nbf", "exp"]},
        )
    except KeyError as unknown:
        raise Refused(f"no such key: {unknown}") from None
    except (jwt.PyJWTError, ValueError) as why:
        raise Refused(why) from None
    if claims.get("decision") != "allow":
        raise Refused("it does not allow anything")
    return claims.get("reason")


def get(path):
    try:
        connection = Connection(urlsplit(URL).netloc, timeout=TIMEOUT_S)
        token = None if SOCKET else Path(TOKEN_FILE).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        body = response.read().decode()
    except (OSError, http.client.HTTPException, ValueError) as why:
        raise NoAnswer(why) from None
    if response.status != 200:
        raise NoAnswer(f"{response.status} {body}")
    return body


class Connection(http.client.HTTPConnection):
    """Over TCP, or over the Unix socket if one is named."""

    def connect(self):
        if not SOCKET:
            return super().connect()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def store(file, text):
    """Whole or not at all: a reader never sees half a file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=FOLDER, delete=False) as fresh:
        fresh.write(text)
    os.replace(fresh.name, file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
