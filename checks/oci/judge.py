"""Whether what was seen in the pod and outside of it is what should have been: judge.py JOB PROXY LOG TOKEN"""

import json
import re
import sys

job, proxy, log, token = (open(path).read() for path in sys.argv[1:])
token = token.strip()
said = dict(re.findall(r"^([a-z-]+): (.*)$", job, re.MULTILINE))
outside = [json.loads(line) for line in log.splitlines()]
dummy = said.get("dummy", "")
failed = 0


def check(what: str, holds: object) -> None:
    global failed
    failed += not holds
    print("ok   " if holds else "FAIL ", what)


check("the job holds a dummy", dummy and dummy != token)
for way in ["explicit", "transparent"]:
    check(f"an allowed host answers, and the answer is redacted ({way})", said.get(way) == f"you sent Bearer {dummy}")
requests = [line["authorization"] for line in outside if "request" in line]
check("the real token arrives there", requests == [f"Bearer {token}"] * 2)
check("another host is denied, by name", "host-not-allowed" in said.get("denied", ""))
check("and by address", "host-not-allowed" in said.get("by-address", "") + said.get("plain", ""))
check("a port that nobody listens on is refused", "Couldn't connect" in said.get("no-listener", ""))
rights = said.get("rights", "")
check("the job has no right left", all(part in rights for part in ["Uid: 10001 10001", "CapEff: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"]))
check("and writes where it may only", "writable" in said and "written" not in said)
check("the token is nowhere in the pod but in the proxy", token not in job and token not in proxy)
check("the proxy says what was denied", "host-not-allowed" in proxy and "api.pod.test" in proxy)
check("no listener is reached from outside", "reached from outside" not in job)
check("the proxy ends when it is told to", "stopped: 0" in job)

tried = [line for line in job.splitlines() if line.startswith("tried: ")]
check(f"{len(tried)} ways out were tried", len(tried) == 50)
check("nobody became another user", sum("to be user" in line and "refused" in line for line in tried) == 2)
expected = 0
for line in outside:
    if "packet" in line:
        kind, protocol, source, target, source_port, port = line["packet"]
        question = (protocol, target, port) == (17, "10.99.0.1", 53)
        request = (protocol, target, port) == (6, "93.184.216.34", 443)
        neighbours = protocol == 58 and port in ["85", "86", "87", "88"]
        if neighbours:
            continue
        if source == "10.99.0.2" and (question or request) and source_port not in [53, 80, 443, 3128]:
            expected += 1
        else:
            check(f"a packet left the pod: {line['packet']}", False)
check("the proxy's packets were seen", expected > 10)
asked = {line["asked"] for line in outside if "asked" in line}
check("no name but the allowed one was asked for", asked == {b"\x03api\x03pod\x04test\x00".hex()})
if failed:
    print(job, proxy, sep="\n")
sys.exit(failed > 0)
