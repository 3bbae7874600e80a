# A service whose job runs jobs/JOB.sh with curl at hand, and may read api.example.test: guest/declared.sh describes the
# same one elsewhere.
{ nodes, pkgs }:
job: words:
{ lib, ... }:
let
  address = nodes.upstream.networking.primaryIPAddress;
in
{
  service.enable = true;
  packages = [
    pkgs.bash
    pkgs.coreutils
    pkgs.curl
    pkgs.gnugrep
  ];
  command = [
    "bash"
    "-c"
    (lib.readFile (./jobs + "/${job}.sh"))
    job
  ]
  ++ words;
  rules = lib.mkDefault [ "GET https://api.example.test" ];
  upstream = {
    ca = [ "/run/upstream/ca.pem" ];
    connectTo = [
      "api.example.test:443:${address}:8443"
      "other.example.test:443:${address}:8443"
    ];
  };
}
