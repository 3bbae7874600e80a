#!/usr/bin/env bash
# Runs the real Claude Code (npm package @anthropic-ai/claude-code) in a jail, against a local server that imitates its API.
# Keeps the package in $NIX_JAIL_CACHE between runs. Exit code 77: it cannot run here.
set -eu
cd "$(dirname "$0")/.."
cache=${NIX_JAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nix-jail-checks}
claude=$cache/claude-code/node_modules/.bin/claude

if [ ! -e "$claude" ]; then
  command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
  mkdir -p "$cache/claude-code"
  npm install --silent --no-fund --no-audit --prefix "$cache/claude-code" @anthropic-ai/claude-code ||
    { echo "skipped: the npm package @anthropic-ai/claude-code could not be installed"; exit 77; }
fi
chmod -R a+rX "$cache/claude-code"
export JAIL_TEST_CLAUDE=$claude
exec cargo test --manifest-path rust/Cargo.toml --locked -p nix-jail --test end_to_end claude_code -- --ignored --nocapture
