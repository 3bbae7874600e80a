def scenario(machine, name, upstream=None):
    """Runs it; it has results, and all of them are well."""
    output = machine.succeed(
        "CHECKS=/etc/checks JAIL_VM_NIXOS=yes JAIL_VM_PATH=/run/wrappers/bin:/run/current-system/sw/bin"
        + (f" JAIL_VM_UPSTREAM={upstream}" if upstream else "")
        + f" bash /etc/checks/scenarios/{name}.sh"
    )
    print(output)
    results = [line.split() for line in output.splitlines() if line.startswith("RESULT ")]
    assert results and all(result[2] in ("ok", "skipped") for result in results), output


def introduce(machine, upstream):
    """Waits for both, and tells the machine which CA to trust."""
    upstream.wait_for_file("/run/upstream/ca.pem")
    certificate = upstream.succeed("cat /run/upstream/ca.pem")
    machine.wait_for_unit("multi-user.target")
    machine.wait_for_unit("user@1000.service")
    machine.succeed(f"mkdir -p /run/upstream && cat >/run/upstream/ca.pem <<'PEM'\n{certificate}PEM")


start_all()
