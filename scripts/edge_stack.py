"""An edge, its controller and whoever asks them, for the scripts beside this file."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "target" / "release"
NAME = Path(sys.argv[0]).name
EVENT = "bench"
BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
}
EDGE_TOKEN, OPERATOR_TOKEN = "bench-edge-token-0001", "bench-operator-token-1"
UNLIMITED = 4_000_000_000


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Servers:
    """Starts servers and ends them."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def start(self, *command, core=0, **options):
        log = open(self.folder / f"{Path(command[0]).name}-{len(self.started)}.log", "wb")
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *map(str, command)],
            stdout=log, stderr=log, start_new_session=True, **options)
        self.started.append(process)
        return process

    def stop(self):
        for process in self.started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()


def until(what, check):
    for _ in range(200):
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"{NAME}: {what} did not happen within 10 seconds")


def get(url, headers=None):
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=5)


def admin_port(config):
    """Where the edge with this file tells of itself."""
    return int(re.search(r'admin_listen = ".*:(\d+)"', config.read_text())[1])


def rss_kib(process):
    """What a process has in memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def certificate(folder):
    """Files of a certificate for localhost and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def room(event, mode, path, least, most, first):
    """A room of the controller's configuration, with bounds of its pace in visitors a second."""
    return f"""
[[rooms]]
event = "{event}"
title = "A sale"
mode = "{mode}"
[rooms.guard]
hosts = []
paths = ["{path}"]
[rooms.pace]
per_sec_min = {least}
per_sec_max = {most}
per_sec_start = {first}
latency_p95_ms = 250.0
db_cpu = 0.8
"""


def waiting_room(servers, folder, tls, limits=""):
    """A controller whose front stands, and edges with and without TLS."""
    def keys(*args):
        subprocess.run([BIN / "keys", *args], check=True, cwd=folder, stdout=subprocess.DEVNULL)
    for role, owner in [("controller", "c"), ("edge", "e")]:
        keys("make", "--role", role, "--owner", owner, "--file", f"{owner}.json")
    keys("trust", "--file", "c.json", "--from", "e.json")
    keys("trust", "--file", "e.json", "--from", "c.json")
    controller, origin = port(), port()
    (folder / "controller.toml").write_text(f"""
listen = "127.0.0.1:{controller}"
name = "c"
data_dir = "data"
keyring = "c.json"
[[tokens]]
name = "e"
role = "edge"
token = "{EDGE_TOKEN}"
[[tokens]]
name = "operator"
role = "operator"
token = "{OPERATOR_TOKEN}"
{room(EVENT, "on", "/sale", least=0.0, most=0.001, first=0.0)}
{room("open", "off", "/open", least=1.0, most=200.0, first=20.0)}
""")
    def edge(listen, admin, extra=""):
        return f"""
name = "e"
listen = "127.0.0.1:{listen}"
admin_listen = "127.0.0.1:{admin}"
threads = 1
keyring = "e.json"
[origin]
addr = "127.0.0.1:{origin}"
[controller]
url = "http://127.0.0.1:{controller}"
token = "{EDGE_TOKEN}"
[limits]
new_per_minute = {UNLIMITED}
place_per_minute = {UNLIMITED}
pass_per_minute = {UNLIMITED}
open_per_minute = {UNLIMITED}
{limits}{extra}"""
    plain, secure = port(), port()
    (folder / "edge.toml").write_text(edge(plain, port()))
    cert, key = tls
    (folder / "edge-tls.toml").write_text(
        edge(secure, port(), f'[tls]\ncert = "{cert}"\nkey = "{key}"\n'))
    program = BIN / "waiting-room"
    servers.start(program, "controller", "--config", folder / "controller.toml", core=1, cwd=folder)
    until("the controller's start", lambda: get(f"http://127.0.0.1:{controller}/health"))
    processes = [servers.start(program, "edge", "--config", folder / name, cwd=folder)
                 for name in ("edge.toml", "edge-tls.toml")]
    front = f"/api/v1/queue/{EVENT}/front"
    until("the edge's first front", lambda: get(f"http://127.0.0.1:{plain}{front}").status == 200)
    return (plain, processes[0]), (secure, processes[1]), origin


def wrk(url, headers, secs, script=None):
    fields = [arg for name, value in headers.items() for arg in ("-H", f"{name}: {value}")]
    lua = ["-s", str(script)] if script else []
    out = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{secs}s", *lua, *fields, url],
        capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out and "/forged" not in url:
        sys.exit(f"{NAME}: {url} was refused:\n{out}")
    return int(re.search(r"(\d+) requests in", out)[1])
