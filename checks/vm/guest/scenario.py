machine.wait_for_unit("multi-user.target")
machine.wait_for_unit("user@1000.service")


def scenario(name):
    """Runs it; it has results, and all of them are well."""
    output = machine.succeed(
        "CHECKS=/etc/checks JAIL_VM_NIXOS=yes JAIL_VM_PATH=/run/wrappers/bin:/run/current-system/sw/bin"
        f" bash /etc/checks/scenarios/{name}.sh"
    )
    print(output)
    results = [line.split() for line in output.splitlines() if line.startswith("RESULT ")]
    assert results and all(result[2] in ("ok", "skipped") for result in results), output


