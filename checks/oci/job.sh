# shellcheck shell=bash
# In the job's container.
set -u
echo "dummy: $API_TOKEN"
say() { echo "$1: $(curl --silent --show-error --max-time 20 -H "authorization: Bearer $API_TOKEN" "${@:2}" 2>&1)"; }
say explicit https://api.pod.test/
say transparent --noproxy '*' https://api.pod.test/
say denied --noproxy '*' https://denied.test/
say by-address --noproxy '*' --insecure https://93.184.216.34/
say plain --noproxy '*' http://93.184.216.34/
say no-listener --noproxy '*' https://93.184.216.34:2222/
echo "rights: $(grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\t\n' ' ')"
touch /usr/x /nix-jail/x /run/nix-jail/x 2>/dev/null && echo "written: a read-only place"
touch "$HOME/x" /workspace/x /tmp/x && echo "writable: home, workspace, tmp"
perl /workspace/escape.pl "$POD_ADDRESS"
