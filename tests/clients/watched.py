"""Tests the hub under a real Prometheus: a healthy hub, and one hub for each fault.

usage: watched.py BINARY [full]. One Prometheus scrapes all hubs. Each alert fires on its fault and none on
the healthy hub; every query of every dashboard has a result; Prometheus counts what the clients counted.
The alerts are those of grafana/alerts.yml, with seconds in place of minutes and hours.
"""

import contextlib
import json
import pathlib
import random
import re
import resource
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

from running import BINARY, PATIENCE, Hub

ROOT = pathlib.Path(__file__).parents[2]
FULL = "full" in sys.argv
LOAD_SECONDS = 60 if FULL else 20


# Static checks.


def alerts():
    rules = yaml.safe_load((ROOT / "grafana/alerts.yml").read_text())
    return [rule for group in rules["groups"] for rule in group["rules"]]


def queries():
    """Yields every query of every dashboard, with its panel."""
    for path in sorted((ROOT / "grafana/dashboards").glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{dashboard['title']}: {panel['title']}", target["expr"]
        for annotation in dashboard["annotations"]["list"]:
            yield f"{dashboard['title']}: {annotation['name']}", annotation["expr"]


def families():
    return set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M))


def family_of(name):
    return re.sub(r"_(bucket|count|sum)$", "", name) if name.endswith(("_bucket", "_count", "_sum")) else name


def what_alerts_and_dashboards_ask_for_is_there():
    known = families()
    asked = [(rule["alert"], rule["expr"]) for rule in alerts()] + list(queries())
    assert len(asked) > 100, len(asked)
    for place, expr in asked:
        names = re.findall(r"\b((?:fanfare|process)_\w+)\b", re.sub(r'"[^"]*"', '""', expr))
        assert names or expr.startswith("up{"), (place, expr)
        for name in names:
            assert family_of(name) in known, (place, name)
    shown = {family_of(name) for _, expr in queries() for name in re.findall(r"\b(fanfare_\w+)\b", expr)}
    hidden = {name for name in known if name.startswith("fanfare_")} - shown
    assert not hidden - {"fanfare_build_info", "fanfare_draining", "fanfare_drain_ends_timestamp_seconds", "fanfare_drain_window_seconds"}, hidden


def each_alert_has_a_runbook_and_a_test():
    runbook = (ROOT / "docs/operations.md").read_text()
    tests = yaml.safe_load((ROOT / "grafana/alerts_test.yml").read_text())["tests"]
    tested = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    for rule in alerts():
        name = rule["alert"]
        assert f"\n### {name}\n" in runbook, name
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}", name
        assert name in tested, name


def the_rules_do_as_they_should():
    subprocess.run(["promtool", "check", "rules", ROOT / "grafana/alerts.yml"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["promtool", "test", "rules", ROOT / "grafana/alerts_test.yml"], check=True, stdout=subprocess.DEVNULL)


def the_dashboards_are_as_described():
    subprocess.run([sys.executable, ROOT / "grafana/build.py", "--check"], check=True)


# Prometheus.


def hurried(rule):
    """Returns the rule with seconds in place of minutes; a condition must hold for four scrapes."""
    windows = {"5m": "10s", "15m": "20s", "1h": "10s"}
    expr = re.sub(r"\[(\w+)\]", lambda found: f"[{windows[found[1]]}]", rule["expr"]).replace("4 * 3600", "4")
    return {**rule, "expr": expr, **({"for": "3s"} if "for" in rule else {})}


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Prometheus:
    def __init__(self, folder, targets):
        self.url = f"http://127.0.0.1:{free_port()}"
        rules = {"groups": [{"name": "fanfare", "interval": "1s", "rules": [hurried(rule) for rule in alerts()]}]}
        (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        static = [{"targets": [address], "labels": {"instance": name}} for name, address in targets.items()]
        scrape = [{"job_name": "fanfare", "static_configs": static}]
        times = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = {"global": times, "rule_files": ["alerts.yml"], "scrape_configs": scrape}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        command += [f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def ask(self, query):
        """Returns the current series of a query."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=PATIENCE).json()
        assert answer["status"] == "success", (query, answer)
        result = answer["data"]["result"]
        return result if isinstance(result, list) else [result]

    def until(self, query, is_enough, what):
        began, series = time.monotonic(), []
        while True:
            # While it starts, Prometheus is unreachable or does not answer with JSON.
            with contextlib.suppress(requests.RequestException):
                series = self.ask(query)
                if is_enough(series):
                    return series
            assert time.monotonic() - began < 2 * PATIENCE, f"{what}\n{series}"
            time.sleep(0.2)

    def firing(self):
        series = self.ask('ALERTS{alertstate="firing"}')
        return {(one["metric"]["alertname"], one["metric"]["instance"]) for one in series}

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


# Clients.


class Reader:
    """A subscriber that counts its events, or that reads nothing."""

    def __init__(self, hub, path, takes=True, headers=""):
        host, port = hub.url.removeprefix("http://").split(":")
        self.socket = socket.socket()
        if not takes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect((host, int(port)))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n{headers}\r\n".encode())
        self.events = 0
        if takes:
            self.thread = threading.Thread(target=self.read, daemon=True)
            self.thread.start()

    def read(self):
        rest = b""
        with contextlib.suppress(OSError):
            while chunk := self.socket.recv(65536):
                lines = (rest + chunk).split(b"\n")
                rest = lines.pop()
                self.events += sum(line.startswith(b"data: ") for line in lines)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Again:
    """Repeats an action and ignores its failures."""

    def __init__(self, every_s, action):
        self.over = threading.Event()

        def run():
            while not self.over.wait(every_s):
                with contextlib.suppress(requests.RequestException, OSError):
                    action()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def stop(self):
        self.over.set()
        self.thread.join(PATIENCE)


def publish_together(hub, count):
    """Sends pipelined publishes and waits for their responses, so that a slow machine refuses many a second, too."""
    host, port = hub.url.removeprefix("http://").split(":")
    request = f"POST /streams/s/events HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx".encode()
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        connection.sendall(request * count)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < count:
            part = connection.recv(65536)
            if not part:
                return
            answers += part


def noise(size):
    return "".join(random.choices(string.ascii_lowercase, k=size))


# Faults: each starts a hub and names the alerts that must fire for it.

FAULTS = {}


def fault(*names):
    def add(make):
        FAULTS[make.__name__] = (make, names)
        return make

    return add


@contextlib.contextmanager
def small_disk(mebibytes):
    """Mounts a tmpfs, which requires root."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


class Stage:
    """Resources of a fault, released at the end."""

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def folder(self):
        return self.stack.enter_context(tempfile.TemporaryDirectory())

    def hub(self, *flags, folder=None, **more):
        running = Hub(f"{folder or self.folder()}/data", *flags, **more)
        self.stack.callback(running.kill)
        return running

    def again(self, every_s, action):
        again = Again(every_s, action)
        self.stack.callback(again.stop)
        return again

    def reader(self, *args, **more):
        reader = Reader(*args, **more)
        self.stack.callback(reader.close)
        return reader


@fault("FanfareDown")
def killed(stage, scraped):
    running = stage.hub()
    yield running
    scraped()
    running.kill()


@fault("FanfareRestarting")
def restarting(stage, scraped):
    folder, port = stage.folder(), free_port()
    running = stage.hub(folder=folder, port=port)
    yield running
    for _ in range(4):
        scraped()
        time.sleep(1.5)
        running.kill()
        running = stage.hub(folder=folder, port=port)


@fault("FanfareJournalPoisoned", "FanfareNotReady", "FanfarePublishesRefused")
def poisoned(stage, scraped):
    disk = stage.stack.enter_context(small_disk(48))
    running = stage.hub("--min-free-bytes", "0", folder=disk)
    yield running
    pathlib.Path(disk, "ballast").write_bytes(bytes(8 << 20))
    with contextlib.suppress(requests.HTTPError):
        while True:
            running.publish("s", noise(200_000))
    stage.again(0.3, lambda: running.publish("s", "x"))


@fault("FanfareDiskFull", "FanfareDiskFilling", "FanfareNotReady", "FanfarePublishesRefused")
def full_disk(stage, scraped):
    disk = stage.stack.enter_context(small_disk(256))
    running = stage.hub("--min-free-bytes", "128MiB", folder=disk)
    yield running
    scraped()
    pathlib.Path(disk, "ballast").write_bytes(bytes(160 << 20))
    stage.again(0.3, lambda: running.publish("s", "x"))


@fault("FanfareJournalLoss")
def damaged(stage, scraped):
    folder = stage.folder()
    before = stage.hub(folder=folder)
    for n in range(100):
        before.publish("s", f"event {n}")
    before.kill()
    (wal,) = pathlib.Path(folder, "data/journal").glob("*.jnl")
    content = bytearray(wal.read_bytes())
    content[content.index(b"event 50")] ^= 0x40
    wal.write_bytes(content)
    yield stage.hub(folder=folder)


@fault("FanfareJournalReadFailed")
def damaged_table(stage, scraped):
    folder = stage.folder()
    running = stage.hub("--recent-bytes", "1", folder=folder)
    yield running
    text = noise(200_000)
    for _ in range(120):
        running.publish("s", text)
    for table in pathlib.Path(folder, "data/journal/keyspaces/1/tables").iterdir():
        with table.open("r+b") as file:
            for place in range(0, table.stat().st_size * 9 // 10, 2_000):
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 0x10]))
    with contextlib.suppress(requests.RequestException):
        url = f"{running.url}/streams/s/events?from=start&format=ndjson&follow=false"
        requests.get(url, timeout=PATIENCE)


@fault("FanfareNoDeliveries")
def stuck(stage, scraped):
    running = stage.hub("--write-timeout", "10m", "--max-age", "1h")
    yield running
    for _ in range(3):
        stage.reader(running, "/streams/s/events", takes=False)
    running.until_sessions(3)
    stage.again(0.1, lambda: running.publish("s", noise(100_000)))


@fault("FanfareFanoutSlow", "FanfarePublishSlow")
def starved(stage, scraped):
    """A hub that gets a tenth of the processor, because it is stopped and continued repeatedly."""
    running = stage.hub()
    yield running
    for _ in range(50):
        stage.reader(running, "/streams/s/events")
    running.until_sessions(50)
    for _ in range(4):
        stage.again(0, lambda: running.publish("s", "x"))

    def stop_and_go():
        running.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        running.process.send_signal(signal.SIGCONT)

    stage.again(0.05, stop_and_go)
    stage.stack.callback(lambda: running.process.send_signal(signal.SIGCONT))


@fault("FanfareSubscribersRefused", "FanfareLimitNear")
def limited(stage, scraped):
    running = stage.hub("--max-connections", "5")
    yield running
    for _ in range(5):
        stage.reader(running, "/streams/s/events")
    running.until_sessions(5)
    stage.again(0.3, lambda: Reader(running, "/streams/s/events").close())


@fault("FanfareCredentialsRefused")
def guessed(stage, scraped):
    running = stage.hub("--jwt-secret", noise(40), "--anonymous", "metrics")
    yield running
    bad = {"Authorization": "Bearer not-a-key"}
    stage.again(0.01, lambda: requests.get(f"{running.url}/stats", headers=bad, timeout=PATIENCE))


@fault("FanfareChatsFailing")
def misled(stage, scraped):
    """Nothing listens at the address of its upstream."""
    folder = stage.folder()
    config = f"{folder}/fanfare.toml"
    with open(config, "w") as file:
        file.write(f'[chat.upstream.gone]\nurl = "http://127.0.0.1:{free_port()}/v1"\nmodels = ["m"]\n')
    running = stage.hub("--config", config, folder=folder)
    yield running
    ask = {"message": "hi"}
    stage.again(0.2, lambda: requests.post(f"{running.url}/chats", json=ask, timeout=PATIENCE))


@fault("FanfareGaps")
def forgetful(stage, scraped):
    running = stage.hub("--max-events", "5")
    yield running
    first = running.publish("s", "first")["id"]
    for n in range(20):
        running.publish("s", str(n))
    scraped()
    resume = f"Last-Event-ID: {first}\r\n"
    stage.again(0.5, lambda: Reader(running, "/streams/s/events", headers=resume).close())


@fault("FanfareFilesRunningOut", "FanfareLimitNear")
def out_of_files(stage, scraped):
    running = stage.hub(files=8192)
    yield running
    for _ in range(7250):
        stage.reader(running, "/streams/s/events", takes=False)


@fault("FanfareMemoryRunningOut")
def out_of_memory(stage, scraped):
    usual = stage.hub()
    text = requests.get(f"{usual.url}/metrics", timeout=PATIENCE).text
    resident = int(re.search(r"^process_resident_memory_bytes (\d+)", text, re.M)[1])
    # A hub that is short of memory accepts only connections to its metrics address.
    yield stage.hub("--memory-budget", str(int(resident / 0.9)), "--metrics-listen", "127.0.0.1:0")


@fault("FanfarePublishersLimited")
def impatient(stage, scraped):
    running = stage.hub("--publish-events-per-client", "1")
    yield running
    stage.again(0.02, lambda: publish_together(running, 100))


@fault("FanfareLogLost")
def unread(stage, scraped):
    """The log of this hub is a pipe that nobody reads."""
    running = stage.hub("--log", "trace", log=subprocess.PIPE)
    yield running
    stage.again(0, lambda: running.publish("s", "x"))


def frozen_disk(stage):
    """Mounts a file system on a loop device, which can be frozen so that it stops answering."""
    image, disk = stage.folder(), stage.folder()
    subprocess.run(["truncate", "-s", "1G", f"{image}/disk"], check=True)
    subprocess.run(["mkfs.ext4", "-q", f"{image}/disk"], check=True)
    subprocess.run(["mount", "-o", "loop", f"{image}/disk", disk], check=True)
    stage.stack.callback(lambda: subprocess.run(["umount", "--lazy", disk], check=True))
    return disk


def freeze(stage, disk):
    stage.stack.callback(lambda: subprocess.run(["fsfreeze", "--unfreeze", disk], check=True))
    subprocess.run(["fsfreeze", "--freeze", disk], check=True)


def frozen(stage, scraped):
    disk = frozen_disk(stage)
    running = stage.hub(folder=disk)
    yield running
    scraped()
    freeze(stage, disk)
    stage.again(0.3, lambda: running.publish("s", "x"))


def frozen_and_idle(stage, scraped):
    """Nobody publishes, and the alert fires all the same."""
    disk = frozen_disk(stage)
    running = stage.hub(folder=disk)
    yield running
    running.publish("s", "x")
    scraped()
    freeze(stage, disk)


def cannot_stop(stage, scraped):
    disk = frozen_disk(stage)
    running = stage.hub("--drain", "1s", "--metrics-listen", "127.0.0.1:0", folder=disk)
    yield running
    running.publish("s", "x")
    scraped()
    freeze(stage, disk)
    running.process.terminate()


# The healthy hub.


class Well:
    READERS = 10

    def __init__(self, stage):
        config = pathlib.Path(stage.folder(), "fanfare.toml")
        config.write_text('[job.j]\ncommand = ["true"]\n')
        self.hub = stage.hub("--metrics-streams", "s.*", "--heartbeat", "1s", "--config", config)
        self.readers = [stage.reader(self.hub, "/events?stream=s.*&control=off") for _ in range(self.READERS)]
        self.hub.until_sessions(self.READERS)
        self.published = 0

    def load(self, seconds):
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for kind in ("message", "message", "log", "metric"):
                data = {"log": {"level": "info", "message": "x"}, "metric": {"name": "n", "value": 1}}.get(kind, "x")
                body = {"stream": f"s.{kind}", "type": kind, "data": data}
                requests.post(f"{self.hub.url}/publish", json=body, timeout=PATIENCE).raise_for_status()
                self.published += 1
            time.sleep(0.02)

    def until_read(self):
        began = time.monotonic()
        while any(reader.events < self.published for reader in self.readers):
            assert time.monotonic() - began < PATIENCE, [reader.events for reader in self.readers]
            time.sleep(0.02)
        assert [reader.events for reader in self.readers] == [self.published] * self.READERS


def prometheus_counts_what_the_clients_counted(prometheus, well):
    well.until_read()
    deliveries = well.published * well.READERS
    for query, count in [
        ("fanfare_deliveries_total", deliveries),
        ("fanfare_deliveries_due_total", deliveries),
        ("sum(fanfare_stream_deliveries_total)", deliveries),
        ("sum(fanfare_events_published_total)", well.published),
        ('fanfare_events_published_total{type="log"}', well.published // 4),
        ("fanfare_publish_seconds_count", well.published),
        ("fanfare_sessions", well.READERS),
        ('sum(fanfare_sessions_opened_total{resume="live"})', well.READERS),
        ('fanfare_limit_used{limit="max_connections"}', well.READERS),
        ("sum(fanfare_publishes_refused_total)", 0),
        ("fanfare_session_gaps_total", 0),
    ]:
        query = re.sub(r"(fanfare_\w+)(\{)?", lambda f: f'{f[1]}{{instance="well"{"," if f[2] else "}"}', query)
        is_so = lambda series: [float(one["value"][1]) for one in series] == [count]
        prometheus.until(query, is_so, f"{query} is not {count}")


def every_query_of_every_dashboard_has_an_answer(prometheus):
    for place, query in queries():
        query = query.replace("$job", "fanfare").replace("$instance", "well").replace("$__rate_interval", "10s")
        series = prometheus.ask(query)
        assert series, f"{place}: {query} has no series"


def both_formats_say_the_same_and_are_well_formed(well):
    text = requests.get(f"{well.hub.url}/metrics", timeout=PATIENCE).text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, ""), checked
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
    answer = requests.get(f"{well.hub.url}/metrics", headers=accept, timeout=PATIENCE)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0"), answer.headers
    found = {family.name: family for family in openmetrics.text_string_to_metric_families(answer.text)}
    plain = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    assert {name + ("_total" if family.type == "counter" else "") for name, family in found.items()} == plain


class Scene:
    """The healthy hub and all others, scraped by Prometheus."""

    def __init__(self, stage):
        self.well = Well(stage)
        self.failed = []
        self.going = {name: make(stage, lambda name=name: self.until_scraped(name)) for name, (make, _) in FAULTS.items()}
        hubs = {"well": self.well.hub, **{name: next(going) for name, going in self.going.items()}}
        self.targets = {name: (hub.metrics or hub.url).removeprefix("http://") for name, hub in hubs.items()}
        self.prometheus = Prometheus(pathlib.Path(stage.folder()), self.targets)
        stage.stack.callback(self.prometheus.stop)

    def until_scraped(self, name):
        """Waits until a hub has been scraped after this call."""
        query = f'timestamp(up{{instance="{name}"}} == 1) > {time.time()}'
        self.prometheus.until(query, bool, f"{name} is not scraped")

    def begin(self):
        all_up = lambda series: series and float(series[0]["value"][1]) == len(self.targets)
        self.prometheus.until("count(up == 1)", all_up, "not all are scraped")
        for name, going in self.going.items():
            threading.Thread(target=self.run, args=(name, going), daemon=True).start()
        load = threading.Thread(target=self.well.load, args=(LOAD_SECONDS,), daemon=True)
        load.start()
        return load

    def run(self, name, going):
        try:
            for _ in going:
                pass
        except Exception as error:  # reported by the thread that waits for the alert
            self.failed.append((name, error))


def each_alert_fires_on_its_fault_and_none_where_all_is_well():
    if FULL:
        fault("FanfareCommitHanging", "FanfareNotReady")(frozen)
        fault("FanfareCommitHanging", "FanfareNotReady")(frozen_and_idle)
        fault("FanfareCommitHanging", "FanfareDrainHanging")(cannot_stop)
    expected = {(alert, name) for name, (_, names) in FAULTS.items() for alert in names}
    stage = Stage()
    with stage.stack:
        scene = Scene(stage)
        prometheus, load = scene.prometheus, scene.begin()
        fired, asked, began = set(), False, time.monotonic()
        while expected - fired or load.is_alive():
            fired |= prometheus.firing()
            went_on = time.monotonic() - began
            assert not scene.failed, str(scene.failed)
            assert went_on < LOAD_SECONDS + 2 * PATIENCE, f"never fired: {expected - fired}"
            if not asked and went_on > LOAD_SECONDS / 2:
                every_query_of_every_dashboard_has_an_answer(prometheus)
                asked = True
            time.sleep(0.5)
        assert asked and not {alert for alert, name in fired if name == "well"}, fired
        untested = {rule["alert"] for rule in alerts()} - {alert for alert, _ in fired}
        # Files that stay three times as large as the stored events require a disk that cannot be compacted,
        # and a clock jump would be one of this machine; these rules have unit tests.
        slow = set() if FULL else {"FanfareCommitHanging", "FanfareDrainHanging"}
        assert untested <= slow | {"FanfareClockJumped", "FanfareJournalDiskOverhead"}, untested
        prometheus_counts_what_the_clients_counted(prometheus, scene.well)
        both_formats_say_the_same_and_are_well_formed(scene.well)


def main():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    checks = [
        what_alerts_and_dashboards_ask_for_is_there,
        each_alert_has_a_runbook_and_a_test,
        the_rules_do_as_they_should,
        the_dashboards_are_as_described,
        each_alert_fires_on_its_fault_and_none_where_all_is_well,
    ]
    for check in checks:
        check()
        print(f"ok {check.__name__.replace('_', ' ')}", flush=True)
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
