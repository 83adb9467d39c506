"""A simulated marketplace and a daemon with codes at each stage of their lives, on ports of the kernel's choice."""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

PATIENCE = 30.0
ADMIN_TOKEN = "admin-token-of-the-openapi-tests"
SOFTWARE_TOKEN = "software-token-of-the-openapi-tests"
SECRETS = {
    "access-key": "7c1e2f64-0b1d-4a53-9a7e-5d2f80c4b6a1",
    "order-key": "1f0a9d3c-8e42-4c65-b7f1-2a94d6e0c873",
    "ak": "AKEXAMPLE000OPENAPI0",
    "sk": "skExampleSecretForOpenapiTests",
    "admin-token": ADMIN_TOKEN,
    "software-token": SOFTWARE_TOKEN,
}
CONFIGURATION = """
data-dir = "data"
[callback]
listen = "127.0.0.1:0"
access-key-files = ["access-key"]
[orders]
access-key-files = ["order-key"]
[marketplace]
endpoints = ["http://{market}"]
ak-file = "ak"
sk-file = "sk"
requests-per-second = 1000
[admin]
listen = "127.0.0.1:0"
token-file = "admin-token"
[software]
listen = "127.0.0.1:0"
token-file = "software-token"
new-codes-per-hour = 1000000
[log]
format = "json"
"""


def until(what, look):
    """Looks until there is something to see."""
    end = time.monotonic() + PATIENCE
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.05)


def call(method, url, body=None, token=None):
    """Calls, and reads the JSON of the answer; an answer of 400 or more is an error."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class World:
    """Ends its processes and takes its folder away when it is left."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="authcoded-openapi-")
        self.children = []
        for name, text in SECRETS.items():
            place = pathlib.Path(self.folder.name, name)
            place.touch(mode=0o600)
            place.write_text(text)
        try:
            self._start_market()
            self._start_daemon()
            self._fill()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
            child.wait(PATIENCE)
        self.folder.cleanup()

    def _start(self, *arguments):
        program = os.environ["AUTHCODED"]
        child = subprocess.Popen(
            [program, *arguments], cwd=self.folder.name, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.children.append(child)
        return child

    def _start_market(self):
        self.market = f"127.0.0.1:{free_port()}"
        files = [part for name in ("access-key", "order-key", "ak", "sk") for part in (f"--{name}-file", name)]
        child = self._start("simulate", "--listen", self.market, "--no-dial-tests", "--data-dir", "market", *files)
        threading.Thread(target=child.stderr.read, daemon=True).start()

        def answers():
            try:
                return self.console("GET", "codes") is not None
            except OSError:
                return False

        until("the marketplace answers", answers)

    def _start_daemon(self):
        text = CONFIGURATION.format(market=self.market)
        pathlib.Path(self.folder.name, "authcoded.toml").write_text(text)
        self.daemon = self._start("--config", "authcoded.toml", "serve")
        for line in self.daemon.stderr:
            said = json.loads(line)
            if said.get("message") == "ready":
                break
        else:
            raise RuntimeError("the daemon ended")
        self.admin, self.software = f"http://{said['admin']}", f"http://{said['software']}"
        self.said = []
        threading.Thread(target=self._listen, daemon=True).start()
        for name, path in (("callback-url", "callback"), ("order-url", "orders")):
            self.console("PUT", name, {"url": f"http://{said['callback']}/koogallery/{path}"})

    def _listen(self):
        """Keeps what the daemon calls an error."""
        for line in self.daemon.stderr:
            if json.loads(line).get("level") == "ERROR":
                self.said.append(line.strip())

    def console(self, method, path, body=None):
        return call(method, f"http://{self.market}/console/{path}", body)

    def _fill(self):
        for code in ("PL-LIVE", "PL-FROZEN", "PL-OVER", "PL-DRIFT"):
            self.console("POST", "codes", {"license": code, "received": True})
            self._register(code)
            self._wait(code, "activated")
        self.console("POST", "codes", {"license": "PL-WAIT", "received": False})
        self._register("PL-WAIT")
        self.console("POST", "codes/PL-LIVE/renew", {})
        self._wait("PL-LIVE", "renewed")
        self.console("POST", "codes/PL-FROZEN/freeze", {})
        self._wait("PL-FROZEN", "frozen")
        self.console("POST", "codes/PL-OVER/refund", {})
        self._wait("PL-OVER", "released")
        self.console("POST", "codes/PL-DRIFT/refund", {"silent": True})

    def _register(self, code):
        call("POST", f"{self.admin}/v1/licenses", {"code": code}, ADMIN_TOKEN)

    def _wait(self, code, state):
        url = f"{self.admin}/v1/licenses/{code}"
        until(f"{code} is {state}", lambda: call("GET", url, token=ADMIN_TOKEN)["state"] == state)
