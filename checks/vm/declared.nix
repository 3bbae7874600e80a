# Two jails as services of a NixOS host, by the module: the scenario that checks/vm/debian.sh runs on Debian.
{ lib, ... }:
let
  # `url` is what this one may read.
  asks = pkgs: url: {
    packages = [
      pkgs.bash
      pkgs.coreutils
      pkgs.curl
      pkgs.gnugrep
    ];
    command = [
      "bash"
      "-c"
      (lib.readFile ./guest/asks.sh)
      "asks"
      url
    ];
    upstream = {
      ca = [ "/run/upstream/ca.pem" ];
      connectTo = [
        "api.example.test:443:127.0.0.1:8443"
        "other.example.test:443:127.0.0.1:8443"
      ];
    };
    service.enable = true;
  };
in
{
  name = "nix-jail-declared";
  globalTimeout = 900;

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ ./guest/host.nix ];
      services.nix-jail.jails = {
        web = asks pkgs "https://api.example.test/read" // {
          rules = [ "GET https://api.example.test" ];
          credentials.TOKEN = {
            sources = [ "systemd:token" ];
            hosts = [ "api.example.test" ];
          };
        };
        two = asks pkgs "https://other.example.test/read" // {
          rules = [ "other.example.test" ];
        };
      };
    };

  # The upstream and the token come with the scenario: at the start of the host there was nothing to begin with.
  testScript = lib.readFile ./guest/scenario.py + ''
    scenario("80-declared")
  '';
}
