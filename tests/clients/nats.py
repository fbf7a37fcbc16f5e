"""Starts NATS servers with JetStream for the checks."""

import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys

# Addresses that stay free while a server is down: no other process uses this address, and the system gives
# these ports to no connection.
_pid = os.getpid()
_host = f"127.{64 + (_pid >> 16)}.{_pid >> 8 & 255}.{_pid & 255}"
_addresses = (f"{_host}:{port}" for port in itertools.count(20_000))


class Server:
    """A NATS server, one of `servers` in a cluster or alone."""

    def __init__(self, folder, name="n0", routes=()):
        self.store = pathlib.Path(folder, name)
        self.address = next(_addresses)
        config = f'server_name: {name}\nlisten: {self.address}\nmax_payload: 8MB\njetstream {{ store_dir: "{self.store}", sync_interval: always }}\n'
        if routes:
            urls = ", ".join(f"nats://{route}" for route in routes)
            config += f"cluster {{ name: test, listen: {routes[int(name[1:])]}, routes: [{urls}] }}\n"
        self.config = pathlib.Path(folder, f"{name}.conf")
        self.config.write_text(config)
        self.start()

    @property
    def url(self):
        return f"nats://{self.address}"

    def start(self):
        program = pathlib.Path(sys.executable).with_name("nats-server")
        self.process = subprocess.Popen([program, "-c", self.config], stderr=subprocess.DEVNULL)

    def stop(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(60)


def publish(server, subject, payload):
    """Publishes a message, and returns once the server has it."""
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as lines:
        options = '{"verbose":false}'
        connection.sendall(f"CONNECT {options}\r\nPUB {subject} {len(payload)}\r\n{payload}\r\nPING\r\n".encode())
        assert any(line == b"PONG\r\n" for line in lines)


def cluster(folder, count=3):
    """Starts servers that know each other."""
    routes = [next(_addresses) for _ in range(count)]
    return [Server(folder, f"n{n}", routes) for n in range(count)]
