"""The same events by HTTP/1.1 and HTTP/2, with TLS and without, read by curl and by httpx.

usage: protocols.py BINARY
"""

import json
import pathlib
import ssl
import subprocess
import tempfile

import httpx
import httpx_sse

from running import PATIENCE, PAYLOADS, hub, later


def certificate(folder):
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", names, "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return ("--tls-cert", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem")


class Httpx:
    """The Python client httpx, restricted to one version of HTTP."""

    def __init__(self, running, version):
        trusted = ssl.create_default_context(cafile=running.trusted) if running.trusted is not True else True
        two = version == "2"
        self.client = lambda: httpx.Client(http1=not two, http2=two, verify=trusted, timeout=PATIENCE)
        self.url, self.version = running.url, f"HTTP/{version}"

    def events(self, path, last_id=None):
        headers = {"Last-Event-ID": last_id} if last_id else {}
        # httpx does not reset an HTTP/2 stream that it stops reading, so each stream has a connection.
        with self.client() as client, httpx_sse.connect_sse(client, "GET", self.url + path, headers=headers) as source:
            assert source.response.http_version.startswith(self.version), source.response.http_version
            for event in source.iter_sse():
                yield event.event, event.id, event.data

    def status(self, path):
        with self.client() as client:
            return client.get(self.url + path).status_code


class Curl:
    """The command `curl`, whose output is parsed line by line."""

    def __init__(self, running, version):
        by_tls = running.url.startswith("https")
        flag = "--http1.1" if version == "1.1" else "--http2" if by_tls else "--http2-prior-knowledge"
        trust = ["--cacert", running.trusted] if by_tls else []
        self.command = ["curl", "-sN", "--max-time", str(int(PATIENCE)), flag, *trust]
        self.url, self.version = running.url, version

    def events(self, path, last_id=None):
        headers = ["-H", "Accept: text/event-stream", "-D", "/dev/stderr"]
        headers += ["-H", f"Last-Event-ID: {last_id}"] if last_id else []
        command = [*self.command, *headers, self.url + path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
            try:
                status = curl.stderr.readline().decode()
                assert status.startswith(f"HTTP/{self.version} 200"), status
                last, block = "", {}
                for line in curl.stdout:
                    line = line.decode().removesuffix("\n")
                    if line == "":
                        if "data" in block:
                            yield block.get("event", ["message"])[0], last, "\n".join(block["data"])
                        block = {}
                    elif not line.startswith(":"):
                        field, _, value = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
                        block.setdefault(field, []).append(value)
                        last = value if field == "id" else last
            finally:
                # The command ends when the caller stops reading.
                curl.kill()

    def status(self, path):
        command = [*self.command, "-o", "/dev/null", "-w", "%{http_code}", self.url + path]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def the_same_events_come(running, client):
    events = client.events("/streams/s/events?heartbeat=1")
    name, _, data = next(events)
    assert name == "hub-open" and json.loads(data)["resume"] == "live"
    ids = []
    for payload in PAYLOADS:
        # Heartbeats are sent before the first event.
        later(2.2 if payload == PAYLOADS[0] else 0, lambda p=payload: running.publish("s", p))
        name, identifier, data = next(events)
        assert (name, data) == ("message", payload), (name, data)
        ids.append(identifier)
    events.close()
    running.until_sessions(0)
    again = client.events("/streams/s/events", ids[2])
    name, _, data = next(again)
    assert name == "hub-open" and json.loads(data)["resume"] == "resumed", data
    for identifier, payload in list(zip(ids, PAYLOADS))[3:]:
        assert next(again) == ("message", identifier, payload)
    again.close()
    running.post("/streams/s/end")
    running.until_sessions(0)
    assert client.status(f"/streams/s/events?last_event_id={ids[-1]}") == 204
    held = client.events("/streams/full/events")
    assert next(held)[0] == "hub-open"
    name, _, data = next(client.events("/streams/full/events"))
    assert (name, json.loads(data)["limit"]) == ("hub-error", "max_connections"), data
    held.close()


def main():
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        tls = certificate(pathlib.Path(folder))
        for flags, versions in [((), ["1.1"]), (("--h2c",), ["1.1", "2"]), (tls, ["1.1", "2"])]:
            for version in versions:
                for kind in [Curl, Httpx]:
                    with hub("--max-connections", "1", *flags) as running:
                        the_same_events_come(running, kind(running, version))
                    how = f"{kind.__name__.lower()} by HTTP/{version} {' '.join(flags[:1]) or 'plain'}"
                    print("ok the same events come to", how, flush=True)
                    count += 1
    print(f"{count} passed, 0 failed")


main()
