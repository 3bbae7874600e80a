# The outside of the scenarios as a machine of its own.
{ pkgs, ... }:
{
  environment.etc.checks.source = ../.;
  networking.firewall.allowedTCPPorts = [ 8443 ];
  systemd.services.upstream = {
    wantedBy = [ "multi-user.target" ];
    path = [
      pkgs.bash
      pkgs.openssl
      pkgs.python3
    ];
    script = "exec bash /etc/checks/guest/upstream.sh /run/upstream 0.0.0.0";
  };
}
