"""Starts NATS servers with JetStream for the checks."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

# Below the ports that the system gives to connections, so that they stay free while a server is down.
_ports = iter(range(23_000 + os.getpid() % 70 * 100, 32_000))


def free_port():
    for port in _ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


class Server:
    """A NATS server, one of `servers` in a cluster or alone."""

    def __init__(self, folder, name="n0", routes=()):
        self.store = pathlib.Path(folder, name)
        self.port = free_port()
        config = f'server_name: {name}\nlisten: 127.0.0.1:{self.port}\nmax_payload: 8MB\njetstream {{ store_dir: "{self.store}", sync_interval: always }}\n'
        if routes:
            urls = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
            config += f"cluster {{ name: test, listen: 127.0.0.1:{routes[int(name[1:])]}, routes: [{urls}] }}\n"
        self.config = pathlib.Path(folder, f"{name}.conf")
        self.config.write_text(config)
        self.start()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def start(self):
        program = pathlib.Path(sys.executable).with_name("nats-server")
        self.process = subprocess.Popen([program, "-c", self.config], stderr=subprocess.DEVNULL)

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)


def cluster(folder, count=3):
    """Starts servers that know each other."""
    routes = [free_port() for _ in range(count)]
    return [Server(folder, f"n{n}", routes) for n in range(count)]
