# shellcheck shell=bash disable=SC2016 # scripts in single quotes are for the shells in the jails
# What checks/nix.sh asks of one Nix, used in one way.

# in_store root|user|daemon|moved PROGRAMS: makes the store and runs every case in it.
in_store() {
  set -u
  way=$1 programs=$2 folder=${place:?}/$1
  mkdir -p "$folder"/{conf,home,projects}
  export store=/nix/store
  local as=() variables=()
  settings >"$folder/conf/nix.conf"
  rm -rf "$folder/toy" && cp -r checks/toy-nixpkgs "$folder/toy" && mkdir "$folder/toy/static" || return 1
  cp "$(command -v busybox)" "$folder/toy/static/busybox"
  cp "$(command -v bash-static)" "$folder/toy/static/bash-static"
  case $way in
    moved) store=$folder/store variables=(NIX_STORE_DIR="$store" NIX_STATE_DIR="$folder/var" NIX_LOG_DIR="$folder/log") ;;
    *) mount -t tmpfs -o mode=0755 tmpfs /nix || return 1 ;;
  esac
  case $way in
    user | daemon)
      # A number without a name: nothing of a real user's is touched.
      as=(setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all --bounding-set=-all)
      chown -R 54321:54321 "$folder"
      ;;
  esac
  case $way in
    # Without it newer ones would make a store in the home directory.
    user) mkdir -p /nix/var/nix && chown -R 54321:54321 /nix ;;
    daemon)
      daemons=()
      start_daemon "$folder/conf" /nix/var/nix/daemon-socket/socket || return 1
      cp -r "$folder/conf" "$folder/refusing"
      echo "allowed-users = root" >>"$folder/refusing/nix.conf"
      start_daemon "$folder/refusing" /nix/var/nix/refusing-socket/socket || return 1
      variables=(NIX_REMOTE=daemon)
      ;;
  esac
  local status=0
  "${as[@]}" env -i PATH="$programs:/usr/bin:/bin" HOME="$folder/home" USER=somebody TERM=dumb JAIL="$JAIL" \
    NIX_CONF_DIR="$folder/conf" place="$place" folder="$folder" store="$store" way="$way" "${variables[@]}" \
    bash -c 'source checks/nix/jails.sh; cases' || status=1
  [ "$way" != daemon ] || kill "${daemons[@]}"
  return "$status"
}

settings() {
  cat <<'CONF'
substituters =
build-users-group =
builders =
sandbox-paths = /bin/sh=/usr/bin/busybox
CONF
}

# start_daemon SETTINGS SOCKET
start_daemon() {
  env -i PATH="$programs:/usr/bin:/bin" HOME=/root NIX_CONF_DIR="$1" NIX_DAEMON_SOCKET_PATH="$2" \
    nix-daemon >>"$folder/daemon.log" 2>&1 &
  daemons+=($!)
  # Nothing tells that a socket has come.
  timeout 20 sh -c 'until [ -S "$1" ]; do sleep 0.05; done' - "$2"
}

cases() {
  failures=0
  flakes=(nix --extra-experimental-features 'nix-command flakes')
  toy=$PWD/checks/toy-nixpkgs
  listed="for path in $store/*; do echo \"\$path\"; done"
  cd "$folder/projects" || exit 1
  exact_closure
  nothing_else
  warm
  collected
  of_flakes
  dev_shell
  foreign_settings
  foreign_repository
  declared
  mistakes
  injections
  figure
  [ "$way" != daemon ] || refusing_daemon
  [ "$way" != user ] || elsewhere
  [ "$failures" = 0 ] && echo "all passed"
}

# jail ARGUMENTS…: `jail run` without a summary, its progress kept away; by $search as its PATH.
jail() { PATH=${search-$PATH} "$JAIL" run --quiet "$@" 2>"$folder/errors"; }

is() {
  if [ "$2" = "$3" ]; then echo "ok    $1"; else
    echo "FAIL  $1"
    diff <(echo "$3") <(echo "$2") | sed 's/^/      /'
    sed 's/^/      | /' "$folder/errors"
    failures=$((failures + 1))
  fi
}

holds() {
  local what=$1
  shift
  if "$@"; then is "$what" yes yes; else is "$what" no yes; fi
}

# refused CODE TEXT ARGUMENTS…: no job, this code, and one clear error with this text.
refused() {
  local code=$1 text=$2 status lines
  shift 2
  jail "$@" -- sh -c 'echo a job ran' >"$folder/output"
  status=$?
  lines=$(grep -c '^jail: ' "$folder/errors")
  if [ "$status" = "$code" ] && [ ! -s "$folder/output" ] && [ "$lines" -ge 1 ] && grep -qF -- "$text" "$folder/errors" &&
    ! grep -q 'panicked' "$folder/errors"; then
    echo "ok    refused: $(printf '%q ' "$@" | cut -c 1-90)"
  else
    is "refused: $*" "exit code $status: $(cat "$folder/errors" "$folder/output")" "exit code $code: …$text…"
  fi
}

requisites() {
  local package attributes=()
  for package in "$@"; do attributes+=(-A "$package"); done
  nix-instantiate "$toy" "${attributes[@]}" 2>/dev/null | xargs nix-store --realise 2>/dev/null | xargs nix-store --query --requisites | sort
}

out() { nix-build --no-out-link "$toy" -A "$1" 2>/dev/null; }

exact_closure() {
  is "ls of the store is the closure of bash and busybox" \
    "$(jail -p bash -p busybox --nixpkgs "$toy" -- sh -c "$listed" | sort)" "$(requisites bash busybox)"
  is "files and links of the store, and what they lead to" \
    "$(jail -p hello -p busybox --nixpkgs "$toy" -- sh -c "hello; $listed" | sort)" \
    "$( (echo hello from the store; requisites hello busybox) | sort)"
  is "the output with the programs" "$(jail -p split --nixpkgs "$toy" -- split-tool)" split
  is "no other output, though it is meant to be installed" \
    "$(jail -p split -p busybox --nixpkgs "$toy" -- sh -c "$listed" | sort)" "$(requisites split.bin busybox)"
  is "an output by its name, and a set in a set" \
    "$(jail -p split.doc -p tools.hello -p bash --nixpkgs "$toy" -- sh -c "$listed" | sort)" \
    "$( (requisites hello bash; nix-store --query --outputs "$(nix-instantiate "$toy" -A split.doc 2>/dev/null | sed 's/!.*//')" | grep -- '-doc$') | sort)"
  is "sh and env where scripts look for them" \
    "$(jail -p busybox --nixpkgs "$toy" -- sh -c 'printf "#!/usr/bin/env sh\necho env" >/tmp/a; printf "#!/bin/sh\necho sh" >/tmp/b; chmod +x /tmp/a /tmp/b; /tmp/a; /tmp/b' | xargs)" "env sh"
  is "with a program of the host beside" \
    "$(jail --host env -p bash --nixpkgs "$toy" -- bash -c 'env >/tmp/x && echo host $BASH')" "host $(out bash)/bin/bash"
}

nothing_else() {
  local stranger
  stranger=$(out stranger)
  holds "the stranger is there on the host" test -r "$stranger/secret"
  is "another store path cannot be read" \
    "$(jail -p busybox --nixpkgs "$toy" -- sh -c "cat $stranger/secret || echo no")" no
  is "nor the store's database, nor the daemon's socket" \
    "$(jail -p busybox --nixpkgs "$toy" -- sh -c 'ls -A /nix/var /nix 2>/dev/null; find / -xdev -name "*daemon-socket*" 2>/dev/null')" \
    "$([ "$way" = moved ] || printf '/nix:\nstore')"
  is "the store cannot be written to" \
    "$(jail -p busybox --nixpkgs "$toy" -- sh -c "for path in $store/*; do touch \$path/x 2>/dev/null && echo written; done; echo no")" no
  is "no variable of Nix but the certificates'" \
    "$(NIX_PATH=x=/y NIX_SSHOPTS=z jail -p busybox --nixpkgs "$toy" -- env | grep -o '^NIX_[A-Z_]*')" NIX_SSL_CERT_FILE
  is "nothing of the host's programs" \
    "$(jail -p busybox --nixpkgs "$toy" -- sh -c 'echo /bin/* /usr/bin/* /sbin/* /lib*')" '/bin/sh /usr/bin/env /sbin/* /lib*'
}

warm() {
  local run=(-p bash -p busybox --nixpkgs "$toy")
  is "the second time there need be no Nix" \
    "$(search=/nonexistent jail "${run[@]}" -- sh -c "$listed" | sort)" "$(requisites bash busybox)"
  search=/nonexistent refused 125 "there is no Nix" -p greeting -p bash --nixpkgs "$toy"
  grep -q -- '--host' "$folder/errors" || is "how to go on without Nix" "$(cat "$folder/errors")" "--host"
  search=/nonexistent refused 125 "there is no Nix" "${run[@]}" --refresh
  # One that has a name of Nix's and would leave a mark.
  mkdir -p "$folder/fake"
  printf '#!/bin/sh\necho asked >>%s/asked\n' "$folder" | tee "$folder/fake/nix" "$folder/fake/nix-store" >"$folder/fake/nix-instantiate"
  chmod +x "$folder"/fake/*
  is "nor is it asked" "$(search=$folder/fake jail "${run[@]}" -- sh -c 'echo fine'; cat "$folder/asked" 2>/dev/null)" fine
}

collected() {
  local hello cached
  hello=$(out hello)
  nix-store --gc >/dev/null 2>&1
  holds "garbage collection leaves what a jail was made of" test -e "$hello"
  is "and the jail" "$(search=/nonexistent jail -p hello -p busybox --nixpkgs "$toy" -- hello)" "hello from the store"
  cached=$folder/home/.cache/nix-jail/closures
  rm -f "$cached"/*-root*
  nix-store --gc >/dev/null 2>&1
  holds "without the links it is collected" test ! -e "$hello"
  is "and made again when it is asked for" "$(jail -p hello -p busybox --nixpkgs "$toy" -- hello)" "hello from the store"
}

of_flakes() {
  is "packages of a flake" "$(jail -p "path:$folder/toy#hello" -p "path:$folder/toy#busybox" -- sh -c "hello; $listed" | sort)" \
    "$( (echo hello from the store; requisites hello busybox) | sort)"
  is "the output that is meant to be installed, of a flake" "$(jail -p "path:$folder/toy#split" -- split-tool)" split
  is "a flake as nixpkgs" "$(jail -p hello --nixpkgs "path:$folder/toy" -- hello)" "hello from the store"
  is "the wrapper's nixpkgs" "$(JAIL_NIXPKGS=$folder/toy jail -p hello -- hello)" "hello from the store"
  is "the search path's nixpkgs" "$(NIX_PATH=x=/y:nixpkgs=$folder/toy jail -p hello -- hello)" "hello from the store"
  tar -czf "$folder/toy.tar.gz" -C "$folder" toy
  is "a nixpkgs to download" "$(NIX_PATH=nixpkgs=file://$folder/toy.tar.gz jail -p hello -- hello)" "hello from the store"
}

dev_shell() {
  local mark=/tmp/nix-jail-hook-mark project=$folder/projects/shell
  cp -r "$folder/toy" "$project"
  rm -f "$mark"
  (
    cd "$project" || exit 1
    is "the hook runs inside" "$(jail --develop -- sh -c "cat $mark; echo \"\$FROM_HOOK\"; hello")" \
      "$(printf '%s\n' "good 'morning' \"\$HOME\"" 'a function of the shell' 'hello from the store')"
    holds "and not outside" test ! -e "$mark"
    is "the same by --flake, without Nix the second time" "$(search=/nonexistent jail --develop -- hello; jail --flake . -- hello)" \
      "$(printf 'hello from the store\nhello from the store')"
    is "the jail's own variables stay" "$(jail --develop -- sh -c 'echo "$HOME $TMPDIR $HTTPS_PROXY ${NIX_BUILD_TOP-none} ${TEMP-none}"')" \
      "/home/agent /tmp http://127.0.0.1:3128 none none"
    is "its closure is the shell's" "$(jail --develop -- sh -c "$listed" | sort)" \
      "$(nix-store --query --requisites "$(readlink -f "$("${flakes[@]}" print-dev-env --profile "$folder/profile" . >/dev/null 2>&1; echo "$folder/profile")")" | sort)"
    is "arguments arrive as they are" "$(jail --develop -- printf '%s|' 'a  b' "c'd" '$HOME' -n)" "a  b|c'd|\$HOME|-n|"
    is "its exit code too" "$(jail --develop -- sh -c 'exit 7'; echo $?)" 7
    echo "broken" >>flake.nix
    refused 125 "cannot get the dev shell of ." --develop
    exit "$failures"
  )
  failures=$?
  refused 125 "no such dev shell" --flake "path:$folder/toy#nothing"
  refused 125 "there is no flake.nix" --develop
}

# A flake may name programs that Nix runs outside: neither now nor because they were accepted once.
foreign_settings() {
  local project=$folder/projects/foreign mark=$folder/mark data=$folder/home/.local/share/nix
  [ "$way" != daemon ] || return 0 # there the daemon does not take such settings from users anyway
  cp -r "$folder/toy" "$project"
  printf '#!/bin/sh\necho ran >>%s\n' "$mark" >"$folder/hook"
  chmod +x "$folder/hook"
  sed -i "s|^{\$|{\n  nixConfig.post-build-hook = \"$folder/hook\";|" "$project/flake.nix"
  sed -i 's/name = "toy-shell"/name = "foreign-shell"/' "$project/default.nix"
  mkdir -p "$data"
  printf '{"post-build-hook":{"%s":true}}' "$folder/hook" >"$data/trusted-settings.json"
  is "a flake's settings are not accepted" "$(cd "$project" && jail --develop -- hello; cat "$mark" 2>/dev/null)" "hello from the store"
  sed -i 's/name = "foreign-shell"/name = "accepted-shell"/' "$project/default.nix"
  "${flakes[@]}" print-dev-env "path:$project" >/dev/null 2>&1
  holds "while Nix by itself takes them" test -s "$mark"
}

# Nix asks git about a workspace, and a repository may name programs that git runs.
foreign_repository() {
  local project=$folder/projects/repository mark=$folder/git-mark
  command -v git >/dev/null || { echo "not asked: git is not installed"; return 0; }
  cp -r "$folder/toy" "$project"
  printf '#!/bin/sh\necho ran >>%s\n' "$mark" >"$folder/monitor"
  chmod +x "$folder/monitor"
  (
    cd "$project" || exit 1
    git init --quiet && git add --all && git -c user.name=x -c user.email=x@example.com commit --quiet --message=x
    git config core.fsmonitor "$folder/monitor"
    touch default.nix
  )
  rm -f "$mark"
  is "the programs of a repository do not run" "$(cd "$project" && jail --develop -- hello; cat "$mark" 2>/dev/null)" "hello from the store"
  git -C "$project" status >/dev/null 2>&1
  holds "while git by itself runs them" test -s "$mark"
}

# What lib.mkJail renders.
declared() {
  local configuration=$folder/home/.config/nix-jail
  mkdir -p "$configuration"
  requisites hello busybox >"$folder/store-paths"
  rendered() {
    printf '{"version":1,"name":"mine","command":["sh"],"closure":{"storePaths":"%s","path":["%s"],"environment":{"A":"1","HOME":"/x"}}}' \
      "$folder/store-paths" "$1" >"$configuration/mine.json"
  }
  rendered "$(out busybox)/bin"
  is "a declared closure" "$(jail mine -- -c "echo \$A \$HOME; $listed" | sort)" "$( (echo 1 /home/agent; requisites hello busybox) | sort)"
  rendered /usr/bin
  refused_spec "is in none of the closure's store paths"
  rendered "$(out busybox)/bin"
  echo "$store/../../etc" >>"$folder/store-paths"
  refused_spec "is not a store path"
  echo "$store/00000000000000000000000000000000-gone" >"$folder/store-paths"
  rendered "$store/00000000000000000000000000000000-gone/bin"
  refused_spec "is not in this host's store any more"
  : >"$folder/store-paths"
  refused_spec "holds no store paths"
  rm "$folder/store-paths"
  refused_spec "cannot read the closure"
}

refused_spec() {
  local status
  jail mine --host sh -- -c 'echo a job ran' >"$folder/output"
  status=$?
  is "a broken closure: $1" "$status $(cat "$folder/output")$(grep -oF -- "$1" "$folder/errors")" "125 $1"
}

mistakes() {
  refused 125 "did you mean hello?" -p helo --nixpkgs "$toy"
  refused 125 "did you mean tools.hello?" -p tools.hallo --nixpkgs "$toy"
  refused 125 "it is not a package" -p tools --nixpkgs "$toy"
  refused 125 "it is not a package" -p tools.version --nixpkgs "$toy"
  refused 125 "the compiler does not like line 7" -p fails --nixpkgs "$toy"
  refused 125 "the compiler does not like line 7" -p "path:$folder/toy#fails"
  refused 125 "does not provide attribute" -p "path:$folder/toy#nothing"
  refused 125 "there is no default.nix" -p bash --nixpkgs "$folder/home"
  refused 125 "No such file" -p bash --nixpkgs /nonexistent
  NIX_PATH='' refused 125 "--nixpkgs" -p bash
  mkdir -p "$folder/bad"
  echo '{ bash = throw "bash was removed, use zsh"; zsh = 1 +; }' >"$folder/bad/default.nix"
  refused 125 "syntax error" -p bash --nixpkgs "$folder/bad"
  echo '{ bash = throw "bash was removed, use zsh"; }' >"$folder/bad/default.nix"
  refused 125 "bash was removed, use zsh" -p bash --nixpkgs "$folder/bad"
  is "a command that no package has" "$(jail -p busybox --nixpkgs "$toy" -- curl; echo $?; grep -o 'with -p PACKAGE' "$folder/errors")" "$(printf '127\nwith -p PACKAGE')"
}

injections() {
  local name mark=/tmp/nix-jail-injected
  rm -f "$mark"
  for name in "bash; touch $mark" "\${builtins.readFile \"/etc/passwd\"}" "bash\" + (builtins.trace \"$mark\" \"\") + \"" "\$(touch $mark)" \
    $'bash\nbusybox' "--option" "-E1" "(import /etc/passwd)" "../toy" "bash or 1" '"bash"' "bash.\"out\"" "ba sh" "" "bash#" "#bash" \
    "--expr#bash" "path:$folder/toy#a\"b" "path:$folder/toy#hello^*" "path:$folder/toy#(x)"; do
    refused 2 "not the name of a package" --package="$name" --nixpkgs "$toy"
  done
  for name in "--option" "-I" "path:/x y" "\$(touch $mark)" "\`touch $mark\`" $'path:/x\n--impure' "x#y#z"; do
    refused 2 "is not a flake reference" --flake="$name"
  done
  for name in "--option" "\$(touch $mark)" "a b" "x#y"; do
    refused 125 "is not a flake reference" -p bash --nixpkgs="$name"
  done
  holds "nothing of it ran" test ! -e "$mark"
}

refusing_daemon() {
  local socket
  for socket in /nix/var/nix/refusing-socket/socket /nix/var/nix/nobody-listens; do
    NIX_DAEMON_SOCKET_PATH=$socket refused 125 "the Nix daemon does not serve this user" -p greeting -p bash --nixpkgs "$toy"
  done
}

elsewhere() {
  cp -r "$folder/toy" "$folder/other"
  sed -i 's/name = "greeting"/name = "other-greeting"/' "$folder/other/default.nix"
  NIX_REMOTE=$folder/elsewhere refused 125 "keeps its store elsewhere" -p greeting -p bash --nixpkgs "$folder/other"
}

# Twenty runs of each, in turn; the middle one of each kind.
figure() {
  local turn start kinds=(host package)
  declare -A times=()
  for turn in $(seq 20); do
    for kind in "${kinds[@]}"; do
      start=${EPOCHREALTIME/./}
      case $kind in
        host) jail --host true -- true ;;
        package) jail -p busybox -p bash --nixpkgs "$toy" -- true ;;
      esac
      times[$kind]+="$((${EPOCHREALTIME/./} - start))"$'\n'
    done
  done
  local host package
  host=$(sort -n <<<"${times[host]}" | sed -n 11p) package=$(sort -n <<<"${times[package]}" | sed -n 11p)
  echo "      start to exit of true, middle of $turn: --host $host µs, -p warm $package µs"
  holds "a warm start with packages takes at most 20 ms more" test "$((package - host))" -le 20000
}
