"""Runs the examples of README.md and docs/, each page on a hub of its own.

A block ```sh is run by bash, in the order of the page and in one directory. A block ```text right after
it is the expected output, in which `…` stands for any text of a line. A block ```toml that begins with
`# fanfare.toml` must be a valid configuration. Relative links must lead to a file and a heading.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from running import TIMEOUT_S, running_hub

ROOT = pathlib.Path(__file__).parents[2]
BINARY = pathlib.Path(sys.argv[1]).resolve()
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


class Block:
    def __init__(self, match):
        self.language, self.text = match.groups()
        self.line = match.string.count("\n", 0, match.start()) + 1
        self.start, self.end = match.span()


def blocks(page):
    return [Block(match) for match in FENCE.finditer(page.read_text())]


def expected_output(page, block, following):
    """Returns the pattern of the block of output right after a block, if there is one."""
    if following is None or following.language != "text":
        return None
    if page.read_text()[block.end:following.start].strip():
        return None
    # A line that is only `…` stands for any lines.
    pattern = lambda line: r"(?s:.*)" if line == "…" else ".*".join(map(re.escape, line.split("…")))
    return re.compile("\n".join(map(pattern, following.text.rstrip("\n").split("\n"))))


def run(page, block, pattern, folder, hub):
    text = block.text.replace("localhost:8080", "127.0.0.1:8080")
    text = text.replace("127.0.0.1:8080", hub.url.removeprefix("http://"))
    environment = os.environ | {
        "PATH": f"{BINARY.parent}:{os.environ['PATH']}",
        "FANFARE_URL": hub.url,
        "HOME": folder,
    }
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S,
    )
    place = f"{page.relative_to(ROOT)}:{block.line}"
    assert result.returncode == 0, f"{place}: exit status {result.returncode}\n{block.text}\n{result.stderr}"
    if pattern is not None:
        shown = [result.stdout, result.stdout + result.stderr, result.stderr]
        shown = [output.replace(hub.url.removeprefix("http://"), "127.0.0.1:8080").strip("\n") for output in shown]
        assert any(map(pattern.fullmatch, shown)), f"{place}: the output is\n{shown[1]}\nexpected\n{pattern.pattern}"


def create_certificate(folder):
    """Creates the files that the pages name."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
               "-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    subprocess.run(command, check=True, capture_output=True)


def check_configuration(page, block, folder):
    if not block.text.startswith("# fanfare.toml"):
        return
    file = pathlib.Path(folder) / "checked.toml"
    file.write_text(block.text.replace("/etc/fanfare/", f"{folder}/"))
    if ".pem" in block.text:
        create_certificate(folder)
    command = [BINARY, "config", "check", "--config", file]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0, f"{page.relative_to(ROOT)}:{block.line}: {result.stderr}"


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


def check_page(page):
    check_links(page)
    all_blocks = blocks(page)
    if not any(block.language in ("sh", "toml") for block in all_blocks):
        return 0
    count = 0
    with tempfile.TemporaryDirectory() as folder, running_hub("--system", "2s") as hub:
        # On a terminal curl shows no progress.
        (pathlib.Path(folder) / ".curlrc").write_text("silent\nshow-error\n")
        for block, following in zip(all_blocks, [*all_blocks[1:], None]):
            if block.language == "sh":
                run(page, block, expected_output(page, block, following), folder, hub)
                count += 1
            elif block.language == "toml":
                check_configuration(page, block, folder)
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
assert len(sys.argv) > 2 or total >= 60, f"only {total} commands found"
print(f"{len(failed)} failed")
sys.exit(bool(failed))
