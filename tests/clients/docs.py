"""Runs the examples of README.md and docs/, each page with a hub of its own.

A block ```sh is run by bash, in the order of the page and in one directory. A block ```text right after it is
the expected output, in which `…` stands for any text of a line. A command that does not end, such as `curl -N`, is
stopped when it has shown this; without a block of output it continues beside the next blocks, and the next
block ```text that no command of these blocks prints must be part of its output.

A block ```toml that begins with `# fanfare.toml` must be a valid configuration. The hub is started again with it if
a block ```sh follows before the next heading of the second level. Relative links must lead to a file and a heading.

Blocks ```console are run by tests/newcomer and deploy/test, those with `docker` by nobody.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import requests

from running import TIMEOUT_S

ROOT = pathlib.Path(__file__).parents[2]
BINARY = pathlib.Path(sys.argv[1]).resolve()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# Paths of the pages, which are made in the directory of the test.
PATHS = re.compile(r"(?<![\w.])/(?:etc/fanfare|var/lib/fanfare|var/log|srv|usr/local/bin)\b")
# Last lines of blocks that do not end.
ENDLESS = re.compile(r"fanfare|fanfare --listen \S+|fanfare tail (?!.*--(last|no-follow)).*|curl -N http\S+")
# Pages with blocks ```console.
RUN_ELSEWHERE = {"README.md", "docs/getting-started.md", "docs/deployment.md"}
SECRET = "a-secret-of-32-bytes-for-examples"
HASH = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

# Does for the hub of a page what systemd does for that of a machine.
SYSTEMCTL = """#!/bin/bash
set -eu
cd "$PAGE"
case $2 in
  fanfare) address=$HUB arguments=(--config etc/fanfare/fanfare.toml --data-dir var/lib/fanfare --system 2s) ;;
  other) address=$OTHER arguments=(--data-dir other) ;;
esac
case $1 in
  start)
    fanfare serve --listen "$address" "${arguments[@]}" > "$2.log" 2>&1 < /dev/null &
    echo $! > "$2.pid"
    until curl -q -s -o ready "http://$address/readyz"; do
      [ -n "$(jobs -rp)" ] || { cat "$2.log" >&2; exit 1; }
      sleep 0.05
    done
    ;;
  stop)
    pid=$(cat "$2.pid")
    kill "$pid"
    while [ -e "/proc/$pid/exe" ]; do sleep 0.05; done
    ;;
esac
"""


class Block:
    def __init__(self, page, match):
        self.language, self.text = match.group(1, 2)
        self.place = f"{page.relative_to(ROOT)}:{match.string.count(chr(10), 0, match.start()) + 1}"
        self.start, self.end = match.span()
        # Position after the last heading of the second level.
        self.section = max((found.end() for found in re.finditer(r"^## ", match.string[: self.start], re.M)), default=0)
        # Text that follows the block, up to the next one.
        self.after = match.string[self.end :].partition("\n```")[0]

    def is_endless(self):
        return self.language == "sh" and ENDLESS.fullmatch(self.text.rstrip("\n").split("\n")[-1]) is not None


def pattern(text):
    """Returns the pattern of expected output. A line that is only `…` stands for any lines."""
    line_pattern = lambda line: r"(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
    return re.compile("".join(map(line_pattern, text.strip("\n").split("\n"))))


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Page:
    """The directory and the hubs of a page: one at port 8080 of the page, one at 8081."""

    def __init__(self, folder, text):
        self.folder = pathlib.Path(folder)
        self.hub, self.other = free_address(), free_address()
        self.configuration = ""
        self.background = None
        self.environment = os.environ | {
            "PATH": f"{folder}/usr/local/bin:{folder}/bin:{BINARY.parent}:{os.environ['PATH']}",
            "FANFARE_URL": f"http://{self.hub}",
            "HOME": folder,
            "PAGE": folder,
            "HUB": self.hub,
            "OTHER": self.other,
            "SECRET": SECRET,
        }
        for name in ("bin", "etc/fanfare", "var/log/nginx", "srv/v42", "usr/local/bin", "target/release"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "etc/fanfare/fanfare.toml").write_text("")
        (self.folder / "var/log/nginx/error.log").write_text("")
        (self.folder / "srv/v42/app.tar.gz").write_bytes(bytes(3 << 20))
        (self.folder / "static").symlink_to(ROOT / "static")
        (self.folder / "target/release/fanfare").symlink_to(BINARY)
        systemctl = self.folder / "bin/systemctl"
        systemctl.write_text(SYSTEMCTL)
        systemctl.chmod(0o755)
        # On a terminal curl shows no progress.
        (self.folder / ".curlrc").write_text("silent\nshow-error\n")
        self.systemctl("start", "fanfare")
        if "--url http://127.0.0.1:8081" in text:
            self.systemctl("start", "other")

    def systemctl(self, verb, unit):
        subprocess.run([self.folder / "bin/systemctl", verb, unit], env=self.environment, check=True, timeout=60)

    def close(self):
        self.stop_background()
        for file in self.folder.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    def local(self, text):
        """Returns the text with the paths and addresses of the page's directory and hubs."""
        text = PATHS.sub(lambda path: f"{self.folder}{path.group()}", text)
        for name, address in (("8080", self.hub), ("8081", self.other)):
            text = re.sub(rf"(localhost|127\.0\.0\.1):{name}\b", address, text)
            text = re.sub(rf"0\.0\.0\.0:{name}\b", address.replace("127.0.0.1", "0.0.0.0"), text)
        return text.replace(HASH, hashlib.sha256(SECRET.encode()).hexdigest())

    def shown(self, output):
        """Returns output with the paths and ports of the page."""
        for name, address in (("8080", self.hub), ("8081", self.other)):
            output = output.replace(address.rpartition(":")[2], name)
        return output.replace(str(self.folder), "").replace("\r\n", "\n").strip("\n") + "\n"

    def configure(self, text):
        """Starts the hub again if the configuration changes."""
        text = self.local(text)
        if text == self.configuration:
            return
        self.configuration = text
        (self.folder / "etc/fanfare/fanfare.toml").write_text(text)
        self.systemctl("stop", "fanfare")
        self.systemctl("start", "fanfare")
        if "[[source.tail]]" in text:
            # Lines that were written before a file is found are not published.
            self.wait(lambda: "fanfare_tail_files 1" in requests.get(f"http://{self.hub}/metrics").text, "no file is followed")

    def wait(self, condition, failure):
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < TIMEOUT_S, failure
            time.sleep(0.05)

    def start(self, block):
        with open(self.folder / "output", "w") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", self.local(block.text)], cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=output, start_new_session=True,
            )
        self.background = (block, process)

    def output(self):
        return self.shown((self.folder / "output").read_text())

    def stop_background(self):
        if self.background:
            os.killpg(self.background[1].pid, signal.SIGKILL)
            self.background[1].wait(TIMEOUT_S)
            self.background = None

    def run_endless(self, block, expected):
        self.stop_background()
        self.start(block)
        if expected is None:
            # It continues beside the next blocks once it is connected.
            self.wait(lambda: self.output() != "\n", f"{block.place}: no output")
            return
        self.expect_in_background(expected, expected.fullmatch)

    def expect_in_background(self, expected, match):
        assert self.background, f"no command shows\n{expected.pattern}"
        place = self.background[0].place
        self.wait(lambda: match(self.output()), f"{place}: expected output\n{expected.pattern}\nin\n{self.output()}")
        self.stop_background()

    def run(self, block, expected):
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.local(block.text)], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S,
        )
        assert result.returncode == 0, f"{block.place}: exit status {result.returncode}\n{block.text}\n{result.stderr}"
        if expected is not None:
            shown = [*map(self.shown, (result.stdout, result.stdout + result.stderr, result.stderr, result.stderr + result.stdout))]
            assert any(map(expected.fullmatch, shown)), f"{block.place}: the output is\n{shown[1]}\nexpected\n{expected.pattern}"


def create_certificate(folder):
    """Creates the files that the pages name."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
               "-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    subprocess.run(command, check=True, capture_output=True)


def check_configuration(block, folder):
    file = pathlib.Path(folder) / "checked.toml"
    file.write_text(block.text.replace("/etc/fanfare/", f"{folder}/"))
    if ".pem" in block.text:
        create_certificate(folder)
    command = [BINARY, "config", "check", "--config", file]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, f"{block.place}: {result.stderr}"


def headings(path):
    """Returns the anchors of a page."""
    text = FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
    return set(plain)


def check_links(page):
    text = FENCE.sub("", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.relative_to(ROOT)}: dead link {link}"
        if anchor and target.suffix == ".md":
            assert anchor in headings(target), f"{page.relative_to(ROOT)}: dead link {link}"


def check_page(path):
    check_links(path)
    text = path.read_text()
    blocks = [Block(path, match) for match in FENCE.finditer(text)]
    name = str(path.relative_to(ROOT))
    assert name in RUN_ELSEWHERE or all(block.language not in ("console", "bash") for block in blocks), f"{name}: not run"
    if not any(block.language in ("sh", "toml") for block in blocks):
        return 0
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        page = Page(folder, text)
        try:
            count = run_blocks(page, blocks)
        finally:
            page.close()
    return count


def run_blocks(page, blocks):
    """Runs the blocks of a page, and returns the number of those that are commands."""
    count = 0
    configuration = None
    is_output = False
    for block, following in zip(blocks, [*blocks[1:], None]):
        if block.language == "toml" and block.text.startswith("# fanfare.toml"):
            check_configuration(block, page.folder)
            configuration = block
        elif block.language == "text" and not is_output and page.background:
            page.expect_in_background(pattern(block.text), pattern(block.text).search)
        elif block.language == "sh":
            in_section = configuration is not None and configuration.section == block.section
            page.configure(configuration.text if in_section else "")
            has_output = following is not None and following.language == "text" and not block.after.strip()
            expected = pattern(following.text) if has_output else None
            page.run_endless(block, expected) if block.is_endless() else page.run(block, expected)
            is_output = has_output
            count += 1
            continue
        is_output = False
    assert page.background is None, f"{page.background[0].place}: nothing says what it shows"
    return count


failed = []
total = 0
for page in PAGES if len(sys.argv) < 3 else [ROOT / name for name in sys.argv[2:]]:
    try:
        count = check_page(page)
        total += count
        print("ok", page.relative_to(ROOT), f"({count} commands)", flush=True)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        failed.append(page)
        print("FAILED", error, flush=True)
# A page without its examples must not pass unnoticed.
assert len(sys.argv) > 2 or total >= 100, f"only {total} commands found"
print(f"{len(failed)} failed")
sys.exit(bool(failed))
