"""Real clients of package registries with the rule sets: they read, and publishing is denied.

usage: registries.py    with JAIL (the program), as an ordinary user
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from standin import Request, Standin


def archive(files):
    """Returns a gzipped tar archive of the files, by name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def host_of(rule_set):
    """Returns the host of the first rule of a set."""
    listing = subprocess.run([os.environ["JAIL"], "rules", rule_set], capture_output=True, text=True, timeout=60, check=True).stdout
    return next(line.split()[-1] for line in listing.splitlines() if line.startswith("allow "))


NPM_HOST = host_of("@npm")
NPM = archive({"package/package.json": json.dumps({"name": "left-standin", "version": "1.0.0", "main": "index.js"}),
               "package/index.js": "module.exports = 'from npm'\n"})
PYPI = archive({"standin-1.0/setup.py": "from setuptools import setup\nsetup(name='standin', version='1.0')\n",
                "standin-1.0/PKG-INFO": "Metadata-Version: 2.1\nName: standin\nVersion: 1.0\n"})
CRATE = archive({"standin-1.0.0/Cargo.toml": '[package]\nname = "standin"\nversion = "1.0.0"\nedition = "2021"\n',
                 "standin-1.0.0/src/lib.rs": "pub fn answer() -> u8 { 42 }\n"})
CRATE_LINE = {"name": "standin", "vers": "1.0.0", "deps": [], "features": {}, "yanked": False,
              "cksum": hashlib.sha256(CRATE).hexdigest()}
NPM_DOCUMENT = {"name": "left-standin", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {
    "name": "left-standin", "version": "1.0.0", "dist": {
        "tarball": f"https://{NPM_HOST}/left-standin/-/left-standin-1.0.0.tgz",
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(NPM).digest()).decode()}}}}
LINK = f'<a href="https://files.pythonhosted.org/packages/standin-1.0.tar.gz#sha256={hashlib.sha256(PYPI).hexdigest()}">standin-1.0.tar.gz</a>'
CONTENTS = {
    (NPM_HOST, "/left-standin"): json.dumps(NPM_DOCUMENT).encode(),
    (NPM_HOST, "/left-standin/-/left-standin-1.0.0.tgz"): NPM,
    ("pypi.org", "/simple/standin/"): f"<!doctype html><html><body>{LINK}</body></html>".encode(),
    ("files.pythonhosted.org", "/packages/standin-1.0.tar.gz"): PYPI,
    ("index.crates.io", "/config.json"): json.dumps({"dl": "https://static.crates.io/crates", "api": "https://crates.io"}).encode(),
    ("index.crates.io", "/st/an/standin"): json.dumps(CRATE_LINE).encode() + b"\n",
    ("static.crates.io", "/crates/standin/1.0.0/download"): CRATE,
}


class Registry(Request):
    """Answers with the contents above."""

    def handle_any(self):
        self.read_body()
        path = self.path.split("?")[0]
        self.server_side.requests.append((self.host, self.command, path, {}, b""))
        body = CONTENTS.get((self.host, path))
        self.send_response(200 if body else 404)
        if path.startswith("/simple/"):
            self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body or b"")))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body or b"")

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = handle_any


def main():
    with tempfile.TemporaryDirectory(prefix="jail-registries-") as directory:
        directory = Path(directory)
        for part in ("standin", "home", "workspace", "runtime"):
            (directory / part).mkdir(mode=0o700)
        standin = Standin(directory / "standin", Registry)
        environment = {"HOME": str(directory / "home"), "XDG_RUNTIME_DIR": str(directory / "runtime"),
                       "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        way = ["--upstream-ca", f"{directory}/standin/ca.pem", "--upstream-proxy", f"127.0.0.1:{standin.port}"]

        def job(script, *rules):
            rules = [word for rule in rules for word in ("--allow", rule)]
            command = [os.environ["JAIL"], "run", "shell", "-q", *way, *rules, "--", "bash", "-c", script]
            ran = subprocess.run(command, env=environment, cwd=directory / "workspace", capture_output=True, text=True,
                                 stdin=subprocess.DEVNULL, timeout=120, check=False)
            return ran.returncode, ran.stdout + ran.stderr

        def expect(client, script, texts, *rules, succeeds=True):
            code, output = job(script, *rules)
            assert (code == 0) == succeeds and all(text in output for text in texts), f"{client}: code {code}\n{output}"
            if os.environ.get("SHOW"):
                print(output)
            print(f"  {client}: {'ok' if succeeds else 'denied'}", flush=True)

        expect("npm install", "mkdir -p n && cd n && npm init -y >/dev/null && npm install --no-audit --no-fund left-standin && node -p 'require(\"left-standin\")'",
               ["from npm"], "@npm")
        expect("npm publish", f"cd n && npm publish --//{NPM_HOST}/:_authToken=own", ["403"], "@npm", succeeds=False)
        expect("npm install without rules", "mkdir -p m && cd m && npm install --no-audit left-standin", ["403"], succeeds=False)
        expect("pip download", "python3 -m pip download --no-deps --no-build-isolation --no-binary :all: -d p standin 2>&1; ls p", ["standin-1.0.tar.gz"], "@pypi")
        # pip takes a refused index for an empty one and hides the reason; the summary of the job has it.
        expect("pip without rules", "python3 -m pip download --no-deps --retries 0 -d q standin", ["No matching distribution"], succeeds=False)
        if shutil.which("cargo"):
            manifest = '[package]\nname = "user"\nversion = "1.0.0"\nedition = "2021"\n[dependencies]\nstandin = "1"\n'
            (directory / "workspace" / "Cargo.toml").write_text(manifest)
            (directory / "workspace" / "src").mkdir()
            (directory / "workspace" / "src" / "lib.rs").touch()
            expect("cargo fetch", "cargo fetch && cargo metadata --format-version 1 --offline", ["standin-1.0.0"], "@crates")
            expect("cargo without rules", "rm -rf ~/.cargo && cargo fetch --config net.retry=0", ["403"], succeeds=False)
        else:
            print("  skipped: cargo: it is not in /usr/bin")
        expect("curl without rules", "curl -sS -i https://pypi.org/simple/", ["x-jail-deny: host-not-allowed", "hint"])
        expect("git without rules", "git ls-remote https://github.com/me/x", ["denied by jail: host-not-allowed", "--allow"], succeeds=False)
        writes = [request for request in standin.requests if request[1] not in ("GET", "HEAD")]
        assert not writes, f"these went out: {writes}"


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        sys.exit(f"FAILED registries: {error}")
