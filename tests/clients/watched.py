"""Tests alerts, dashboards and metrics with a real Prometheus, a healthy hub, and one hub for each fault.

usage: watched.py BINARY [full]. One Prometheus scrapes all hubs. Each alert fires on its fault and none on
the healthy hub; every query of every dashboard has a result; the counts of Prometheus equal those of the
clients. The alerts are those of grafana/alerts.yml, with seconds in place of minutes and hours.
"""

import contextlib
import json
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time

import requests
import yaml
from prometheus_client.openmetrics import parser as openmetrics

import nats
from running import TIMEOUT_S, Hub

ROOT = pathlib.Path(__file__).parents[2]
IS_FULL = "full" in sys.argv
LOAD_S = 60 if IS_FULL else 20


# Static checks.


def alert_rules():
    rules = yaml.safe_load((ROOT / "grafana/alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def dashboard_queries():
    """Yields the panel and the expression of every query of every dashboard."""
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{dashboard['title']}: {panel['title']}", target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{dashboard['title']}: {annotation['name']}", annotation["expr"]


def documented_families():
    """Returns the names of the metric families in docs/metrics.md."""
    return set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M))


def family_of(name):
    return re.sub(r"_(bucket|count|sum)$", "", name) if name.endswith(("_bucket", "_count", "_sum")) else name


def alerts_and_dashboards_query_existing_metrics():
    documented = documented_families()
    queries = [(rule["alert"], rule["expr"]) for rule in alert_rules()] + list(dashboard_queries())
    assert len(queries) > 100, len(queries)
    for source, expr in queries:
        names = re.findall(r"\b((?:fanfare|process)_\w+)\b", re.sub(r'"[^"]*"', '""', expr))
        assert names or expr.startswith("up{"), (source, expr)
        for name in names:
            assert family_of(name) in documented, (source, name)
    used = {family_of(name) for _, expr in dashboard_queries() for name in re.findall(r"\b(fanfare_\w+)\b", expr)}
    unused = {name for name in documented if name.startswith("fanfare_")} - used
    assert not unused - {"fanfare_build_info", "fanfare_draining", "fanfare_drain_ends_timestamp_seconds", "fanfare_drain_window_seconds"}, unused


def each_alert_has_a_runbook_and_a_test():
    runbook = (ROOT / "docs/operations.md").read_text()
    tests = yaml.safe_load((ROOT / "grafana/alerts_test.yml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    for rule in alert_rules():
        name = rule["alert"]
        assert f"\n### {name}\n" in runbook, name
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}", name
        assert name in tested, name


def alert_rules_pass_their_unit_tests():
    subprocess.run(["promtool", "check", "rules", ROOT / "grafana/alerts.yml"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["promtool", "test", "rules", ROOT / "grafana/alerts_test.yml"], check=True, stdout=subprocess.DEVNULL)


def dashboards_are_up_to_date():
    subprocess.run([sys.executable, ROOT / "grafana/build.py", "--check"], check=True)


# Prometheus.


def with_short_windows(rule):
    """Returns the rule with seconds in place of minutes. Its condition must hold for four scrapes."""
    windows = {"5m": "10s", "15m": "20s", "1h": "10s"}
    expr = re.sub(r"\[(\w+)\]", lambda match: f"[{windows[match[1]]}]", rule["expr"]).replace("4 * 3600", "4")
    return {**rule, "expr": expr, **({"for": "3s"} if "for" in rule else {})}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A Prometheus server that scrapes the targets and evaluates the alert rules each second."""

    def __init__(self, folder, targets):
        self.url = f"http://127.0.0.1:{free_port()}"
        rules = {"groups": [{"name": "fanfare", "interval": "1s", "rules": [with_short_windows(rule) for rule in alert_rules()]}]}
        (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        static_configs = [{"targets": [address], "labels": {"instance": name}} for name, address in targets.items()]
        scrape_configs = [{"job_name": "fanfare", "static_configs": static_configs}]
        intervals = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": intervals, "rule_files": ["alerts.yml"], "scrape_configs": scrape_configs}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        command += [f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def query(self, expr):
        """Returns the current series of an expression."""
        response = requests.get(f"{self.url}/api/v1/query", params={"query": expr}, timeout=TIMEOUT_S).json()
        assert response["status"] == "success", (expr, response)
        result = response["data"]["result"]
        return result if isinstance(result, list) else [result]

    def wait_until(self, expr, condition, message):
        """Waits until the series of an expression satisfy a condition, and returns them."""
        started, series = time.monotonic(), []
        while True:
            # Prometheus is unreachable or does not respond with JSON while it starts.
            with contextlib.suppress(requests.RequestException):
                series = self.query(expr)
                if condition(series):
                    return series
            assert time.monotonic() - started < 2 * TIMEOUT_S, f"{message}\n{series}"
            time.sleep(0.2)

    def firing_alerts(self):
        """Returns the name and the instance of each firing alert."""
        series = self.query('ALERTS{alertstate="firing"}')
        return {(sample["metric"]["alertname"], sample["metric"]["instance"]) for sample in series}

    def stop(self):
        self.process.terminate()
        self.process.wait(TIMEOUT_S)


# Clients.


class Reader:
    """A subscriber that counts its events, or that does not read its socket."""

    def __init__(self, hub, path, reads=True, headers=""):
        host, port = hub.url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if not reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((host, int(port)))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}\r\n".encode())
        self.events = 0
        if reads:
            self.thread = threading.Thread(target=self.read, daemon=True)
            self.thread.start()

    def read(self):
        partial_line = b""
        with contextlib.suppress(OSError):
            while chunk := self.socket.recv(65536):
                lines = (partial_line + chunk).split(b"\n")
                partial_line = lines.pop()
                self.events += sum(line.startswith(b"data: ") for line in lines)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class RepeatedAction:
    """A thread that repeats an action and ignores its failures."""

    def __init__(self, interval_s, action):
        self.stopped = threading.Event()

        def run():
            while not self.stopped.wait(interval_s):
                with contextlib.suppress(requests.RequestException, OSError):
                    action()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopped.set()
        self.thread.join(TIMEOUT_S)


def publish_pipelined(hub, count):
    """Sends pipelined publishes and waits for their responses, so that even a slow machine rejects many per second."""
    host, port = hub.url.removeprefix("http://").split(":")
    request = f"POST /streams/s/events HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx".encode()
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(request * count)
        responses = b""
        while responses.count(b"HTTP/1.1 ") < count:
            chunk = connection.recv(65536)
            if not chunk:
                return
            responses += chunk


def random_text(size):
    return "".join(random.choices(string.ascii_lowercase, k=size))


# Faults. Each is a generator that starts a hub, yields it, and then causes the fault. Its decorator names
# the alerts that must fire. `wait_until_scraped` waits until Prometheus has scraped the hub once more.

FAULTS = {}


def fault(*alerts):
    def register(generator):
        FAULTS[generator.__name__] = (generator, alerts)
        return generator

    return register


@contextlib.contextmanager
def small_disk(mebibytes):
    """Mounts a tmpfs, which requires root."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


class Resources:
    """Hubs, folders and clients that are released at the end of the test."""

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def temp_folder(self):
        return self.stack.enter_context(tempfile.TemporaryDirectory())

    def start_hub(self, *flags, folder=None, **options):
        hub = Hub(f"{folder or self.temp_folder()}/data", *flags, **options)
        self.stack.callback(hub.kill)
        return hub

    def repeat(self, interval_s, action):
        repeated = RepeatedAction(interval_s, action)
        self.stack.callback(repeated.stop)
        return repeated

    def open_reader(self, *args, **options):
        reader = Reader(*args, **options)
        self.stack.callback(reader.close)
        return reader


@fault("FanfareDown")
def killed_hub(resources, wait_until_scraped):
    hub = resources.start_hub()
    yield hub
    wait_until_scraped()
    hub.kill()


@fault("FanfareRestarting")
def restarting_hub(resources, wait_until_scraped):
    folder, port = resources.temp_folder(), free_port()
    hub = resources.start_hub(folder=folder, port=port)
    yield hub
    for _ in range(4):
        wait_until_scraped()
        time.sleep(1.5)
        hub.kill()
        hub = resources.start_hub(folder=folder, port=port)


@fault("FanfareJournalPoisoned", "FanfareNotReady", "FanfarePublishesRefused")
def poisoned_journal(resources, wait_until_scraped):
    disk = resources.stack.enter_context(small_disk(48))
    hub = resources.start_hub("--min-free-bytes", "0", folder=disk)
    yield hub
    pathlib.Path(disk, "ballast").write_bytes(bytes(8 << 20))
    with contextlib.suppress(requests.HTTPError):
        while True:
            hub.publish("s", random_text(200_000))
    resources.repeat(0.3, lambda: hub.publish("s", "x"))


@fault("FanfareDiskFull", "FanfareDiskFilling", "FanfareNotReady", "FanfarePublishesRefused")
def full_disk(resources, wait_until_scraped):
    disk = resources.stack.enter_context(small_disk(256))
    hub = resources.start_hub("--min-free-bytes", "128MiB", folder=disk)
    yield hub
    wait_until_scraped()
    pathlib.Path(disk, "ballast").write_bytes(bytes(160 << 20))
    resources.repeat(0.3, lambda: hub.publish("s", "x"))


@fault("FanfareJournalLoss")
def damaged_wal(resources, wait_until_scraped):
    folder = resources.temp_folder()
    hub = resources.start_hub(folder=folder)
    for n in range(100):
        hub.publish("s", f"event {n}")
    hub.kill()
    (wal,) = pathlib.Path(folder, "data/journal").glob("*.jnl")
    content = bytearray(wal.read_bytes())
    content[content.index(b"event 50")] ^= 0x40
    wal.write_bytes(content)
    yield resources.start_hub(folder=folder)


@fault("FanfareJournalReadFailed")
def damaged_table(resources, wait_until_scraped):
    folder = resources.temp_folder()
    hub = resources.start_hub("--recent-bytes", "1", folder=folder)
    yield hub
    text = random_text(200_000)
    for _ in range(120):
        hub.publish("s", text)
    for table in pathlib.Path(folder, "data/journal/keyspaces/1/tables").iterdir():
        with table.open("r+b") as file:
            for offset in range(0, table.stat().st_size * 9 // 10, 2_000):
                file.seek(offset)
                byte = file.read(1)[0]
                file.seek(offset)
                file.write(bytes([byte ^ 0x10]))
    with contextlib.suppress(requests.RequestException):
        url = f"{hub.url}/streams/s/events?from=start&format=ndjson&follow=false"
        requests.get(url, timeout=TIMEOUT_S)


@fault("FanfareNoDeliveries")
def stalled_readers(resources, wait_until_scraped):
    hub = resources.start_hub("--write-timeout", "10m", "--max-age", "1h")
    yield hub
    for _ in range(3):
        resources.open_reader(hub, "/streams/s/events", reads=False)
    hub.wait_for_sessions(3)
    resources.repeat(0.1, lambda: hub.publish("s", random_text(100_000)))


@fault("FanfareFanoutSlow", "FanfarePublishSlow")
def starved_of_cpu(resources, wait_until_scraped):
    """Gives the hub a tenth of the processor: it is stopped and continued repeatedly."""
    hub = resources.start_hub()
    yield hub
    for _ in range(50):
        resources.open_reader(hub, "/streams/s/events")
    hub.wait_for_sessions(50)
    for _ in range(4):
        resources.repeat(0, lambda: hub.publish("s", "x"))

    def pause():
        hub.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        hub.process.send_signal(signal.SIGCONT)

    resources.repeat(0.05, pause)
    resources.stack.callback(lambda: hub.process.send_signal(signal.SIGCONT))


@fault("FanfareSubscribersRefused", "FanfareLimitNear")
def connection_limit_reached(resources, wait_until_scraped):
    hub = resources.start_hub("--max-connections", "5")
    yield hub
    for _ in range(5):
        resources.open_reader(hub, "/streams/s/events")
    hub.wait_for_sessions(5)
    resources.repeat(0.3, lambda: Reader(hub, "/streams/s/events").close())


@fault("FanfareCredentialsRefused")
def invalid_credentials(resources, wait_until_scraped):
    hub = resources.start_hub("--jwt-secret", random_text(40), "--anonymous", "metrics")
    yield hub
    headers = {"Authorization": "Bearer not-a-key"}
    resources.repeat(0.01, lambda: requests.get(f"{hub.url}/stats", headers=headers, timeout=TIMEOUT_S))


@fault("FanfareChatsFailing")
def unreachable_upstream(resources, wait_until_scraped):
    """Uses an upstream address on which nothing listens."""
    folder = resources.temp_folder()
    config = f"{folder}/fanfare.toml"
    with open(config, "w") as file:
        file.write(f'[chat.upstream.gone]\nurl = "http://127.0.0.1:{free_port()}/v1"\nmodels = ["m"]\n')
    hub = resources.start_hub("--config", config, folder=folder)
    yield hub
    body = {"message": "hi"}
    resources.repeat(0.2, lambda: requests.post(f"{hub.url}/chats", json=body, timeout=TIMEOUT_S))


@fault("FanfareGaps")
def short_retention(resources, wait_until_scraped):
    hub = resources.start_hub("--max-events", "5")
    yield hub
    first = hub.publish("s", "first")["id"]
    for n in range(20):
        hub.publish("s", str(n))
    wait_until_scraped()
    headers = f"Last-Event-ID: {first}\r\n"
    resources.repeat(0.5, lambda: Reader(hub, "/streams/s/events", headers=headers).close())


@fault("FanfareFilesRunningOut", "FanfareLimitNear")
def out_of_files(resources, wait_until_scraped):
    hub = resources.start_hub(max_open_files=8192)
    yield hub
    for _ in range(7250):
        resources.open_reader(hub, "/streams/s/events", reads=False)


@fault("FanfareMemoryRunningOut")
def out_of_memory(resources, wait_until_scraped):
    unlimited = resources.start_hub()
    text = requests.get(f"{unlimited.url}/metrics", timeout=TIMEOUT_S).text
    resident = int(re.search(r"^process_resident_memory_bytes (\d+)", text, re.M)[1])
    # A hub that is short of memory accepts connections only to its metrics listener.
    yield resources.start_hub("--memory-budget", str(int(resident / 0.9)), "--metrics-listen", "127.0.0.1:0")


@fault("FanfarePublishersLimited")
def publisher_over_limit(resources, wait_until_scraped):
    hub = resources.start_hub("--publish-events-per-client", "1")
    yield hub
    resources.repeat(0.02, lambda: publish_pipelined(hub, 100))


@fault("FanfareLogLost")
def unread_log(resources, wait_until_scraped):
    """Writes the log of the hub to a pipe that is not read."""
    hub = resources.start_hub("--log", "trace", log=subprocess.PIPE)
    yield hub
    resources.repeat(0, lambda: hub.publish("s", "x"))


def start_nats(resources):
    server = nats.Server(resources.temp_folder())
    resources.stack.callback(server.stop)
    return server, ["--cluster-nats", server.url, "--cluster-replicas", "1", "--cluster-log-max-bytes", "64MiB"]


@fault("FanfareClusterUnreachable", "FanfareNotReady")
def killed_log(resources, wait_until_scraped):
    server, flags = start_nats(resources)
    hub = resources.start_hub(*flags)
    yield hub
    hub.publish("s", "x")
    server.stop()


@fault("FanfareClusterLogLost", "FanfareNotReady")
def restored_log(resources, wait_until_scraped):
    """Starts the server of the log with an older copy of its directory."""
    server, flags = start_nats(resources)
    hub = resources.start_hub(*flags)
    yield hub
    hub.publish("s", "kept")
    server.stop()
    copy = server.store.with_suffix(".copy")
    shutil.copytree(server.store, copy)
    server.start()
    publish_until_accepted(hub, "lost")
    server.stop()
    shutil.rmtree(server.store)
    copy.rename(server.store)
    server.start()


def publish_until_accepted(hub, text):
    started = time.monotonic()
    while True:
        with contextlib.suppress(requests.HTTPError):
            return hub.publish("s", text)
        assert time.monotonic() - started < TIMEOUT_S, "not accepted"


@fault("FanfareClusterBehind", "FanfareNotReady")
def unreadable_log(resources, wait_until_scraped):
    """Damages a message of the log, so that a new hub cannot read on."""
    server, flags = start_nats(resources)
    first = resources.start_hub(*flags, "--node", "first")
    for n in range(10):
        first.publish("s", f"event {n}")
    first.kill()
    server.stop(signal.SIGTERM)
    (block,) = server.store.glob("jetstream/*/streams/fanfare/msgs/*.blk")
    content = bytearray(block.read_bytes())
    content[content.index(b"event 5")] ^= 0x40
    block.write_bytes(content)
    server.start()
    yield resources.start_hub(*flags, "--node", "second")


@fault("FanfareClusterServerStale")
def killed_server(resources, wait_until_scraped):
    servers = nats.cluster(resources.temp_folder())
    for server in servers:
        resources.stack.callback(server.stop)
    urls = [flag for server in servers for flag in ("--cluster-nats", server.url)]
    hub = resources.start_hub(*urls, "--cluster-log-max-bytes", "64MiB")
    yield hub
    hub.publish("s", "x")
    servers[2].stop()


@fault("FanfareClusterHubSilent")
def frozen_hub(resources, wait_until_scraped):
    server, flags = start_nats(resources)
    hub = resources.start_hub(*flags, "--node", "first")
    yield hub
    other = resources.start_hub(*flags, "--node", "second")
    wait_for_hub(hub, "second")
    other.process.send_signal(signal.SIGSTOP)


@fault("FanfareClusterDiffers", "FanfareNotReady")
def reported_difference(resources, wait_until_scraped):
    """Reports for another hub that the last message had another hash."""
    server, flags = start_nats(resources)
    hub = resources.start_hub(*flags, "--node", "first")
    yield hub
    epoch = int(hub.publish("s", "x")["id"].split("-")[0], 16)
    applied = requests.get(f"{hub.url}/cluster", timeout=TIMEOUT_S).json()["hubs"][0]["applied"]
    report = {"node": "second", "boot": 1, "version": "1.0.0", "started_ms": 0, "epoch": epoch, "applied": applied, "sessions": 0, "problem": None, "has_log": True,
              "is_outvoted": False, "is_leaving": False, "checkpoints": [{"sequence": applied, "hash": "another"}]}
    resources.repeat(1, lambda: nats.publish(server, "fanfare.report", json.dumps(report)))


def wait_for_hub(hub, name):
    started = time.monotonic()
    while all(known["name"] != name for known in requests.get(f"{hub.url}/cluster", timeout=TIMEOUT_S).json()["hubs"]):
        assert time.monotonic() - started < TIMEOUT_S, f"{name} is unknown"
        time.sleep(0.1)


def mount_freezable_disk(resources):
    """Mounts a file system on a loop device, which can be frozen so that writes to it block."""
    image, disk = resources.temp_folder(), resources.temp_folder()
    subprocess.run(["truncate", "-s", "1G", f"{image}/disk"], check=True)
    subprocess.run(["mkfs.ext4", "-q", f"{image}/disk"], check=True)
    subprocess.run(["mount", "-o", "loop", f"{image}/disk", disk], check=True)
    resources.stack.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=True))
    return disk


def freeze_disk(resources, disk):
    resources.stack.callback(lambda: subprocess.run(["fsfreeze", "--unfreeze", disk], check=True))
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)


def frozen_disk(resources, wait_until_scraped):
    disk = mount_freezable_disk(resources)
    hub = resources.start_hub(folder=disk)
    yield hub
    wait_until_scraped()
    freeze_disk(resources, disk)
    resources.repeat(0.3, lambda: hub.publish("s", "x"))


def frozen_disk_of_idle_hub(resources, wait_until_scraped):
    """Freezes the disk of a hub without publishers; the alert must fire nevertheless."""
    disk = mount_freezable_disk(resources)
    hub = resources.start_hub(folder=disk)
    yield hub
    hub.publish("s", "x")
    wait_until_scraped()
    freeze_disk(resources, disk)


def hanging_drain(resources, wait_until_scraped):
    disk = mount_freezable_disk(resources)
    hub = resources.start_hub("--drain", "1s", "--metrics-listen", "127.0.0.1:0", folder=disk)
    yield hub
    hub.publish("s", "x")
    wait_until_scraped()
    freeze_disk(resources, disk)
    hub.process.terminate()


# The healthy hub.


class HealthyHub:
    """A hub without faults, with publishers and readers."""

    READERS = 10

    def __init__(self, resources):
        config = pathlib.Path(resources.temp_folder(), "fanfare.toml")
        config.write_text('[job.j]\ncommand = ["true"]\n')
        self.hub = resources.start_hub("--metrics-streams", "s.*", "--heartbeat", "1s", "--config", config)
        self.readers = [resources.open_reader(self.hub, "/events?stream=s.*&control=off") for _ in range(self.READERS)]
        self.hub.wait_for_sessions(self.READERS)
        self.published = 0

    def publish_for(self, duration_s):
        deadline = time.monotonic() + duration_s
        while time.monotonic() < deadline:
            for kind in ("message", "message", "log", "metric"):
                data = {"log": {"level": "info", "message": "x"}, "metric": {"name": "n", "value": 1}}.get(kind, "x")
                body = {"stream": f"s.{kind}", "type": kind, "data": data}
                requests.post(f"{self.hub.url}/publish", json=body, timeout=TIMEOUT_S).raise_for_status()
                self.published += 1
            time.sleep(0.02)

    def wait_until_read(self):
        """Waits until each reader has received each event, and asserts that none received more."""
        started = time.monotonic()
        while any(reader.events < self.published for reader in self.readers):
            assert time.monotonic() - started < TIMEOUT_S, [reader.events for reader in self.readers]
            time.sleep(0.02)
        assert [reader.events for reader in self.readers] == [self.published] * self.READERS


def check_prometheus_counts(prometheus, healthy):
    """Checks that the counts of Prometheus equal those of the clients."""
    healthy.wait_until_read()
    deliveries = healthy.published * healthy.READERS
    for expr, count in [
        ("fanfare_deliveries_total", deliveries),
        ("fanfare_deliveries_due_total", deliveries),
        ("sum(fanfare_stream_deliveries_total)", deliveries),
        ("sum(fanfare_events_published_total)", healthy.published),
        ('fanfare_events_published_total{type="log"}', healthy.published // 4),
        ("fanfare_publish_seconds_count", healthy.published),
        ("fanfare_sessions", healthy.READERS),
        ('sum(fanfare_sessions_opened_total{resume="live"})', healthy.READERS),
        ('fanfare_limit_used{limit="max_connections"}', healthy.READERS),
        ("sum(fanfare_publishes_refused_total)", 0),
        ("fanfare_session_gaps_total", 0),
    ]:
        expr = re.sub(r"(fanfare_\w+)(\{)?", lambda m: f'{m[1]}{{instance="healthy"{"," if m[2] else "}"}', expr)

        def equals_count(series, count=count):
            return [float(sample["value"][1]) for sample in series] == [count]

        prometheus.wait_until(expr, equals_count, f"{expr} is not {count}")


def check_dashboard_queries_have_data(prometheus):
    for source, expr in dashboard_queries():
        expr = expr.replace("$job", "fanfare").replace("$instance", "healthy").replace("$__rate_interval", "10s")
        series = prometheus.query(expr)
        assert series, f"{source}: {expr} has no series"


def check_metrics_formats(healthy):
    """Checks that both formats of the metrics are valid and contain the same metrics."""
    text = requests.get(f"{healthy.hub.url}/metrics", timeout=TIMEOUT_S).text
    result = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (result.returncode, result.stdout + result.stderr) == (0, ""), result
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    response = requests.get(f"{healthy.hub.url}/metrics", headers=accept, timeout=TIMEOUT_S)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), response.headers
    families = openmetrics.text_string_to_metric_families(response.text)
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert names == set(re.findall(r"^# TYPE (\w+)", text, re.M))


class TestBed:
    """A Prometheus server that scrapes the healthy hub and one hub for each fault."""

    def __init__(self, resources):
        self.healthy = HealthyHub(resources)
        self.failures = []
        self.faults = {
            name: generator(resources, lambda name=name: self.wait_until_scraped(name))
            for name, (generator, _) in FAULTS.items()
        }
        hubs = {"healthy": self.healthy.hub, **{name: next(steps) for name, steps in self.faults.items()}}
        self.targets = {name: (hub.metrics_url or hub.url).removeprefix("http://") for name, hub in hubs.items()}
        self.prometheus = Prometheus(pathlib.Path(resources.temp_folder()), self.targets)
        resources.stack.callback(self.prometheus.stop)

    def wait_until_scraped(self, name):
        """Waits until a hub has been scraped after this call."""
        expr = f'timestamp(up{{instance="{name}"}} == 1) > {time.time()}'
        self.prometheus.wait_until(expr, bool, f"{name} is not scraped")

    def start(self):
        """Starts the faults and the load when all hubs are scraped, and returns the thread of the load."""

        def all_up(series):
            return series and float(series[0]["value"][1]) == len(self.targets)

        self.prometheus.wait_until("count(up == 1)", all_up, "not all hubs are scraped")
        for name, steps in self.faults.items():
            threading.Thread(target=self.run_fault, args=(name, steps), daemon=True).start()
        load = threading.Thread(target=self.healthy.publish_for, args=(LOAD_S,), daemon=True)
        load.start()
        return load

    def run_fault(self, name, steps):
        try:
            for _ in steps:
                pass
        except Exception as error:  # Reported by the thread that waits for the alerts.
            self.failures.append((name, error))


def each_alert_fires_on_its_fault_and_none_on_the_healthy_hub():
    if IS_FULL:
        fault("FanfareCommitHanging", "FanfareNotReady")(frozen_disk)
        fault("FanfareCommitHanging", "FanfareNotReady")(frozen_disk_of_idle_hub)
        fault("FanfareCommitHanging", "FanfareDrainHanging")(hanging_drain)
    expected = {(alert, name) for name, (_, alerts) in FAULTS.items() for alert in alerts}
    resources = Resources()
    with resources.stack:
        test_bed = TestBed(resources)
        prometheus, load = test_bed.prometheus, test_bed.start()
        fired, dashboards_checked, started = set(), False, time.monotonic()
        while expected - fired or load.is_alive():
            fired |= prometheus.firing_alerts()
            elapsed_s = time.monotonic() - started
            assert not test_bed.failures, str(test_bed.failures)
            assert elapsed_s < LOAD_S + 2 * TIMEOUT_S, f"never fired: {expected - fired}"
            if not dashboards_checked and elapsed_s > LOAD_S / 2:
                check_dashboard_queries_have_data(prometheus)
                dashboards_checked = True
            time.sleep(0.5)
        # Beside other work the machine is too slow for these, and the alert is right.
        of_speed = {"FanfareFanoutSlow", "FanfarePublishSlow"}
        on_healthy_hub = {alert for alert, name in fired if name == "healthy"} - of_speed
        assert dashboards_checked and not on_healthy_hub, on_healthy_hub
        untested = {rule["alert"] for rule in alert_rules()} - {alert for alert, _ in fired}
        # Only unit tests cover these rules: files that stay three times as large as the stored events require
        # a disk that cannot be compacted, and a clock jump would affect the whole machine.
        slow = set() if IS_FULL else {"FanfareCommitHanging", "FanfareDrainHanging"}
        assert untested <= slow | {"FanfareClockJumped", "FanfareJournalDiskOverhead"}, untested
        check_prometheus_counts(prometheus, test_bed.healthy)
        check_metrics_formats(test_bed.healthy)


def main():
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    checks = [
        alerts_and_dashboards_query_existing_metrics,
        each_alert_has_a_runbook_and_a_test,
        alert_rules_pass_their_unit_tests,
        dashboards_are_up_to_date,
        each_alert_fires_on_its_fault_and_none_on_the_healthy_hub,
    ]
    for check in checks:
        check()
        print(f"ok {check.__name__.replace('_', ' ')}", flush=True)
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
