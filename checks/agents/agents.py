"""Runs one real agent in its jail, against a stand-in of its API: once without a terminal, once in one.

usage: agents.py NAME    with JAIL (the program), AGENTS (the directory of the installed agents), and as an ordinary user
Exit code 0: everything is as it must be. 1: the message says what is not, with the screen.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from standin import Standin
from terminal import Terminal

# Screens that a jail must spare the operator: the jail has the login, and the operator chose the directory.
DIALOGUES = r"select login|sign in with|log ?in to|how would you like to (?:authenticate|connect)|do you trust|trust this folder|choose .{0,20}(?:theme|style)|api key detected|connect a provider"
PROMPT = "outside%"


@dataclasses.dataclass
class Agent:
    """What differs between agents."""

    # The host that gets the token, and the variable of the operator that holds it.
    host: str
    variable: str
    token: str
    # The words of a run without a terminal, before the prompt.
    words: list
    # The screen on which the agent waits for a prompt.
    ready: str
    # The keys that leave the agent, one after the other.
    leave: list
    # The keys that interrupt an answer that is under way (Ctrl-C where the agent takes it), and leave an empty prompt.
    interrupt: tuple = ("\x03",)
    # The keys that suspend the agent; none where it cannot be suspended, in a jail or without one.
    suspend: tuple = ("\x1a",)
    # Files of the operator's home, by path.
    files: dict = dataclasses.field(default_factory=dict)
    options: list = dataclasses.field(default_factory=list)
    # Other variables of the operator.
    environment: dict = dataclasses.field(default_factory=dict)
    # Whether it also runs in a terminal.
    in_terminal: bool = True
    # The jail, where its name is not that of the agent.
    jail: str = None


def random_token(start, length, end=""):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return start + "".join(alphabet[byte % len(alphabet)] for byte in os.urandom(length)) + end


OAUTH = random_token("sk-ant-oat01-", 90, "AA")
CLAUDE = Agent(
    host="api.anthropic.com", variable="ANTHROPIC_API_KEY", token=random_token("sk-ant-api03-", 90, "AA"),
    words=["-p"], ready=r"\? for shortcuts", leave=["/exit", "\r"], interrupt=("\x03", "\x15"),
)
LOGIN = {"claudeAiOauth": {"accessToken": OAUTH, "refreshToken": random_token("sk-ant-ort01-", 90, "AA"),
                           "expiresAt": int(time.time() + 7200) * 1000, "scopes": ["user:inference", "user:profile"],
                           "subscriptionType": "max"}}
AGENTS = {
    "claude": CLAUDE,
    "claude-login": dataclasses.replace(
        CLAUDE, variable="", token=OAUTH, files={".claude/.credentials.json": json.dumps(LOGIN)}, jail="claude"),
    "claude-gateway": dataclasses.replace(
        CLAUDE, host="gateway.example.com", variable="ANTHROPIC_AUTH_TOKEN", token=random_token("gw-", 40), jail="claude",
        environment={"ANTHROPIC_BASE_URL": "https://gateway.example.com/anthropic"}),
    "claude-bedrock": dataclasses.replace(
        CLAUDE, host="bedrock-runtime.eu-central-1.amazonaws.com", variable="AWS_BEARER_TOKEN_BEDROCK", jail="claude",
        token=random_token("bedrock-", 40), environment={"CLAUDE_CODE_USE_BEDROCK": "1", "AWS_REGION": "eu-central-1"},
        in_terminal=False),
    "claude-vertex": dataclasses.replace(
        CLAUDE, host="europe-west1-aiplatform.googleapis.com", variable="ANTHROPIC_AUTH_TOKEN", token=random_token("ya29.", 60),
        environment={"CLAUDE_CODE_USE_VERTEX": "1", "CLOUD_ML_REGION": "europe-west1", "ANTHROPIC_VERTEX_PROJECT_ID": "project"},
        jail="claude", in_terminal=False),
    "codex": Agent(
        host="api.openai.com", variable="OPENAI_API_KEY", token=random_token("sk-proj-", 60),
        words=["exec"], ready=r"Ask Codex|\? for shortcuts", leave=["/quit", "\r"],
        # It asks what is to become of the task; the first answer is to end it.
        interrupt=("\x03", "\r")),
    "copilot": Agent(
        host="api.github.com", variable="GITHUB_TOKEN", token=random_token("gho_", 36),
        words=["--allow-all-tools", "-p"], ready=r"Manual Approval", leave=["/exit", "\r"],
        interrupt=("\x03",)),
    "gemini": Agent(
        host="generativelanguage.googleapis.com", variable="GEMINI_API_KEY", token=random_token("AIzaSy", 33),
        words=["--yolo", "-p"], ready=r"Type your message", leave=["/quit", "\r"],
        suspend=("\x1a", "\x1a")),
    "opencode": Agent(
        host="api.anthropic.com", variable="ANTHROPIC_API_KEY", token=random_token("sk-ant-api03-", 90, "AA"),
        words=["run"], ready=r"ctrl\+p commands", leave=["\x03"], interrupt=("\x1b", "\x1b")),
    "pi": Agent(
        host="api.anthropic.com", variable="ANTHROPIC_API_KEY", token=random_token("sk-ant-api03-", 90, "AA"),
        words=["-p"], ready=r"\(auto\) ", leave=["\x04"], interrupt=("\x1b",)),
    "qwen": Agent(
        host="api.openai.com", variable="OPENAI_API_KEY", token=random_token("sk-proj-", 60),
        words=["--yolo", "-p"], ready=r"\? for shortcuts", suspend=(),
        # The first Enter takes the suggestion.
        leave=["/quit", "\r", "\r"]),
}


class Session:
    """An agent with a home, a workspace and a stand-in of their own."""

    def __init__(self, name, directory):
        self.name, self.agent = name, AGENTS[name]
        self.directory = Path(directory)
        for part in ("standin", "home", "workspace", "runtime"):
            (self.directory / part).mkdir(mode=0o700)
        self.home, self.workspace = self.directory / "home", self.directory / "workspace"
        self.standin = Standin(self.directory / "standin")
        programs = Path(os.environ["AGENTS"]) / name.split("-")[0] / "bin"
        self.environment = {
            "HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.directory / "runtime"), "USER": "operator",
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8", "PS1": PROMPT + " ",
        }
        self.environment.update(self.agent.environment)
        if self.agent.variable:
            self.environment[self.agent.variable] = self.agent.token
        for path, text in self.agent.files.items():
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).touch(mode=0o600)
            (self.home / path).write_text(text)
        self.mark = random_token("mark", 8)
        (self.workspace / "mark").write_text(self.mark + "\n")
        subprocess.run(["git", "init", "--quiet", str(self.workspace)], env=self.environment, check=True, timeout=30)

    def command(self, words):
        standin = ["--upstream-ca", f"{self.directory}/standin/ca.pem", "--upstream-proxy", f"127.0.0.1:{self.standin.port}"]
        return [os.environ["JAIL"], "run", self.agent.jail or self.name, "-q", *standin, *self.agent.options, "--", *words]

    def without_terminal(self):
        """A prompt on the command line: the tool runs in the workspace, and the answer is printed."""
        words = [*self.agent.words, "please run: cat mark"]
        ran = subprocess.run(self.command(words), env=self.environment, cwd=self.workspace, stdin=subprocess.DEVNULL,
                             capture_output=True, text=True, timeout=120, check=False)
        output = ran.stdout + ran.stderr
        assert ran.returncode == 0 and re.search(rf"the command said:[\s\S]*{self.mark}", output), (
            f"exit code {ran.returncode}:\n{output[-3000:]}\n{self.log()}")
        self.token_went_out(output.encode())

    def in_terminal(self):
        """The same on its screen, from a shell with job control."""
        terminal = Terminal(["bash", "--norc", "-i"], self.environment, self.workspace)
        try:
            self.work(terminal)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        finally:
            terminal.close()
        written = re.sub(rb"\s|\x1b\[[0-9;?]*[A-Za-z]", b"", terminal.written)
        found = re.search(rb"(?i)" + DIALOGUES.replace(" ", "").encode(), written)
        assert not found, f"a dialogue stands before the prompt: {found[0].decode()}"
        self.token_went_out(terminal.written)

    def work(self, terminal):
        agent = self.agent
        terminal.wait_for(PROMPT).type("stty -g >before\r")
        terminal.settle().type(" ".join(f"'{word}'" for word in self.command([])) + "\r")
        terminal.wait_for(agent.ready, 120).settle()
        step("the first screen is the prompt")

        if agent.suspend:
            for keys in agent.suspend:
                # One that wants the key twice wants it within a second.
                terminal.settle(0.2, 0.5).type(keys)
            terminal.wait_for(r"stopped[\s\S]*outside%").type("echo outside-$((40 + 2))\r")
            terminal.wait_for("outside-42").screen.reset()
            terminal.type("fg\r")
            terminal.wait_for(agent.ready).settle()
            step("Ctrl-Z suspends it, fg goes on")

        self.ask(terminal, "please run: cat mark")
        terminal.wait_for(rf"the command said:[\s\S]*{self.mark}")
        step("a tool runs, and the answer is on the screen")

        # What the screen shows now is gone; the agent must draw it again for the new size.
        terminal.settle().screen.reset()
        terminal.resize(84, 30)
        terminal.wait_for(agent.ready)
        step("a new size of the window is drawn")

        count = len(self.standin.prompts())
        terminal.settle().paste("first of two lines\nsay pasted")
        terminal.settle()
        assert len(self.standin.prompts()) == count, "a pasted line was sent before Enter"
        terminal.type("\r")
        terminal.wait_for(r"echo of: pasted")
        step("two pasted lines are one prompt")

        self.standin.held.clear()
        self.ask(terminal, "say never")
        # Agents ask models more than the operator does.
        wait_until(lambda: any(b"say never" in body for *_, body in self.standin.prompts()), terminal)
        for keys in agent.interrupt:
            terminal.settle(0.3, 1.5).type(keys)
        terminal.settle(0.5, 3)
        self.standin.held.set()
        self.ask(terminal.settle(), "say after")
        terminal.wait_for(r"echo of: after")
        assert "echo of: never" not in terminal.text(), f"the answer was not interrupted:\n{terminal.text()}"
        step("an answer is interrupted, and the agent goes on")

        for keys in agent.leave:
            terminal.settle().type(keys)
        terminal.wait_for(PROMPT).settle().screen.reset()
        terminal.type('echo "code=$?"; stty -g | cmp - before && echo "as-$((1 + 1))-before"\r')
        terminal.wait_for("code=(?:0|130)").wait_for("as-2-before")
        terminal.type("exit 0\r")
        assert terminal.end() == 0
        step("it ends, and the terminal is as before")

    def ask(self, terminal, prompt):
        terminal.type(prompt)
        # Some agents take an Enter that follows too fast for a part of pasted text.
        terminal.wait_for(re.escape(prompt)).settle(0.4, 3).type("\r")

    def token_went_out(self, shown):
        """The server got the real token; neither the screen nor anything that the job could write has it."""
        token = self.agent.token
        sent = [host for host, _, _, headers, _ in self.standin.requests if any(token in value for value in headers.values())]
        assert self.agent.host in sent, f"{self.agent.host} did not get the token, only {sorted(set(sent))}"
        assert token.encode() not in shown, "the token is on the screen"
        for path in [*self.home.rglob("*"), *self.workspace.rglob("*")]:
            is_own = str(path.relative_to(self.home)) in self.agent.files if path.is_relative_to(self.home) else False
            if path.is_file() and not path.is_symlink() and not is_own:
                assert token.encode() not in path.read_bytes(), f"the token is in {path}"

    def log(self):
        log = subprocess.run([os.environ["JAIL"], "log"], env=self.environment, capture_output=True, text=True, timeout=30, check=False)
        return "the job's log:\n" + "\n".join(log.stdout.splitlines()[-15:])


def wait_until(condition, terminal, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing happened for {seconds} seconds:\n{terminal.text()}"
        terminal.read(time.monotonic() + 0.1)


started = time.monotonic()


def step(text):
    print(f"  {time.monotonic() - started:5.1f} s  {sys.argv[1]}: {text}", flush=True)


def main():
    name = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="jail-agent-") as directory:
        session = Session(name, directory)
        try:
            session.without_terminal()
            step("without a terminal: the tool runs, and the answer is printed")
            if session.agent.in_terminal:
                session.in_terminal()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            sys.exit(f"FAILED {name}: {error}")
    step("ok")


if __name__ == "__main__":
    main()
