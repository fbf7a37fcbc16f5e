"""Tests that curl and httpx read the same events over HTTP/1.1 and HTTP/2, with and without TLS.

usage: protocols.py BINARY
"""

import json
import ssl
import subprocess
import tempfile

import httpx
import httpx_sse

from running import PAYLOADS, TIMEOUT_S, call_later, running_hub


def create_certificate(folder):
    """Creates a self-signed certificate and returns the flags of a hub that uses it."""
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", names, "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(command, check=True, capture_output=True)
    return ("--tls-cert", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem")


class Httpx:
    """The Python client httpx, restricted to one version of HTTP."""

    def __init__(self, hub, version):
        self.verify = ssl.create_default_context(cafile=hub.verify) if hub.verify is not True else True
        self.is_http2 = version == "2"
        self.url, self.version = hub.url, f"HTTP/{version}"

    def connect(self):
        return httpx.Client(http1=not self.is_http2, http2=self.is_http2, verify=self.verify, timeout=TIMEOUT_S)

    def events(self, path, last_id=None):
        headers = {"Last-Event-ID": last_id} if last_id else {}
        # httpx does not reset an HTTP/2 stream that it stops reading, so each stream has a connection.
        with self.connect() as client, httpx_sse.connect_sse(client, "GET", self.url + path, headers=headers) as source:
            assert source.response.http_version.startswith(self.version), source.response.http_version
            for event in source.iter_sse():
                yield event.event, event.id, event.data

    def status(self, path):
        with self.connect() as client:
            return client.get(self.url + path).status_code


class Curl:
    """The command `curl`, whose output is parsed line by line."""

    def __init__(self, hub, version):
        uses_tls = hub.url.startswith("https")
        flag = "--http1.1" if version == "1.1" else "--http2" if uses_tls else "--http2-prior-knowledge"
        tls_flags = ["--cacert", hub.verify] if uses_tls else []
        self.command = ["curl", "-sN", "--max-time", str(int(TIMEOUT_S)), flag, *tls_flags]
        self.url, self.version = hub.url, version

    def events(self, path, last_id=None):
        headers = ["-H", "Accept: text/event-stream", "-D", "/dev/stderr"]
        headers += ["-H", f"Last-Event-ID: {last_id}"] if last_id else []
        command = [*self.command, *headers, self.url + path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
            try:
                status = curl.stderr.readline().decode()
                assert status.startswith(f"HTTP/{self.version} 200"), status
                event_id, fields = "", {}
                for line in curl.stdout:
                    line = line.decode().removesuffix("\n")
                    if line == "":
                        if "data" in fields:
                            yield fields.get("event", ["message"])[0], event_id, "\n".join(fields["data"])
                        fields = {}
                    elif not line.startswith(":"):
                        field, _, value = line.partition(": ") if ": " in line else (line.rstrip(":"), "", "")
                        fields.setdefault(field, []).append(value)
                        event_id = value if field == "id" else event_id
            finally:
                # Ends the command when the caller stops reading.
                curl.kill()

    def status(self, path):
        command = [*self.command, "-o", "/dev/null", "-w", "%{http_code}", self.url + path]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def check_client(hub, client):
    """Checks delivery, resuming, the end of a stream, and the connection limit."""
    events = client.events("/streams/s/events?heartbeat=1")
    name, _, data = next(events)
    assert name == "hub-open" and json.loads(data)["resume"] == "live"
    ids = []
    for payload in PAYLOADS:
        # The hub sends heartbeats before the first event.
        call_later(2.2 if payload == PAYLOADS[0] else 0, lambda p=payload: hub.publish("s", p))
        name, event_id, data = next(events)
        assert (name, data) == ("message", payload), (name, data)
        ids.append(event_id)
    events.close()
    hub.wait_for_sessions(0)
    events = client.events("/streams/s/events", ids[2])
    name, _, data = next(events)
    assert name == "hub-open" and json.loads(data)["resume"] == "resumed", data
    for event_id, payload in list(zip(ids, PAYLOADS))[3:]:
        assert next(events) == ("message", event_id, payload)
    events.close()
    hub.post("/streams/s/end")
    hub.wait_for_sessions(0)
    assert client.status(f"/streams/s/events?last_event_id={ids[-1]}") == 204
    first_session = client.events("/streams/full/events")
    assert next(first_session)[0] == "hub-open"
    name, _, data = next(client.events("/streams/full/events"))
    assert (name, json.loads(data)["limit"]) == ("hub-error", "max_connections"), data
    first_session.close()


def main():
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        tls_flags = create_certificate(folder)
        for flags, versions in [((), ["1.1"]), (("--h2c",), ["1.1", "2"]), (tls_flags, ["1.1", "2"])]:
            for version in versions:
                for client_class in [Curl, Httpx]:
                    with running_hub("--max-connections", "1", *flags) as hub:
                        check_client(hub, client_class(hub, version))
                    name = f"{client_class.__name__.lower()} over HTTP/{version} {' '.join(flags[:1]) or 'plain'}"
                    print("ok same events with", name, flush=True)
                    count += 1
    print(f"{count} passed, 0 failed")


main()
