#!/usr/bin/env bash
# Runs real agents in their jails, against a local server that imitates their APIs: each without a terminal, and in one,
# where its screen is compared (checks/agents/agents.py). Then clients of package registries with the named rule sets
# (checks/agents/registries.py), and Claude Code again, with a look into the memory of the job.
#   checks/agents.sh [AGENT…]
# Keeps what it installs in $NIX_JAIL_CACHE/agents. Exit code 77: it cannot run here.
set -u
cd "$(dirname "$0")/.." || exit 1
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}
export AGENTS=$cache/agents PYTHONDONTWRITEBYTECODE=1
export JAIL=${JAIL:-${CARGO_TARGET_DIR:-$PWD/rust/target}/release/jail}
# Not here: amp (its server has no public API), crush and others whose npm packages download their program from elsewhere.
packages="claude=@anthropic-ai/claude-code codex=@openai/codex copilot=@github/copilot gemini=@google/gemini-cli
  opencode=opencode-ai pi=@mariozechner/pi-coding-agent qwen=@qwen-code/qwen-code"
sessions="claude claude-login claude-gateway claude-bedrock claude-vertex codex copilot gemini opencode pi qwen"

main() {
  local program
  for program in npm node git openssl python3; do
    command -v "$program" >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
  done
  [ -x "$JAIL" ] || { echo "there is no $JAIL; build it first: cargo build --release --manifest-path rust/Cargo.toml"; exit 1; }
  mkdir -p "$AGENTS" && install_emulator && install_agents || exit
  chmod -R a+rX "$AGENTS"
  local wanted=("$@") status=0 name
  [ "${#wanted[@]}" -gt 0 ] || read -ra wanted <<<"$(tr '\n' ' ' <<<"$sessions")"
  as_user
  for name in "${wanted[@]}"; do
    if [ -e "$AGENTS/${name%%-*}/installed" ]; then echo "$name"; else skip "$name"; fi
  done | xargs --no-run-if-empty --max-procs=2 --max-args=1 timeout --kill-after=10 600 "${user[@]}" "$AGENTS/python/bin/python" checks/agents/agents.py || status=1
  [ "$#" -gt 0 ] || "${user[@]}" timeout --kill-after=10 300 "$AGENTS/python/bin/python" checks/agents/registries.py || status=1
  [ "$#" -gt 0 ] || [ ! -e "$AGENTS/claude/installed" ] || memory || status=1
  exit "$status"
}

skip() {
  local why="npm cannot install the package of ${1%%-*}"
  echo "skipped: $1: $why" >&2
  [ -z "${NIX_JAIL_SKIPPED:-}" ] || echo "agents::$1: $why" >>"$NIX_JAIL_SKIPPED"
}

# The terminal emulator.
install_emulator() {
  [ -x "$AGENTS/python/bin/python" ] && "$AGENTS/python/bin/python" -c 'import pyte' 2>/dev/null && return
  rm -rf "$AGENTS/python"
  # A Python of the system, which other users can run too.
  if ! { PATH=/usr/bin:/bin:$PATH python3 -m venv "$AGENTS/python" && "$AGENTS/python/bin/pip" install --quiet --disable-pip-version-check pyte; }; then
    echo "skipped: the Python package pyte, a terminal emulator, cannot be installed"
    exit 77
  fi
}

install_agents() {
  local pair directory
  for pair in $packages; do
    directory=$AGENTS/${pair%%=*}
    [ -e "$directory/installed" ] && continue
    mkdir -p "$directory"
    timeout 600 npm install --silent --no-fund --no-audit --no-update-notifier --prefix "$directory" "${pair#*=}" >"$directory/install.log" 2>&1 &&
      ln -sfn node_modules/.bin "$directory/bin" && touch "$directory/installed"
  done
  return 0
}

# Root runs the agents as an ordinary user, as most operators are.
as_user() {
  user=()
  [ "$(id -u)" = 0 ] || return 0
  id jailcheck >/dev/null 2>&1 || useradd --system --shell /bin/bash jailcheck || return 0
  user=(setpriv --reuid jailcheck --regid jailcheck --init-groups --inh-caps=-all --bounding-set=-all env -i
    PATH=/usr/local/bin:/usr/bin:/bin TMPDIR=/tmp JAIL="$JAIL" AGENTS="$AGENTS" PYTHONDONTWRITEBYTECODE=1)
}

# The real token is in no process of the jail.
memory() {
  JAIL_TEST_CLAUDE=$AGENTS/claude/bin/claude \
    cargo test --manifest-path rust/Cargo.toml --locked -p nix-jail --test end_to_end claude_code -- --ignored --nocapture
}

main "$@"
