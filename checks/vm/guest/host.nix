# A NixOS host on which the scenarios run.
{ pkgs, ... }:
{
  imports = [ ../../../modules/nixos.nix ];

  users.users = {
    # With a user manager of its own, without logging in, and without one.
    agent = {
      isNormalUser = true;
      uid = 1000;
      linger = true;
    };
    loner = {
      isNormalUser = true;
      uid = 1001;
    };
  };

  environment.systemPackages = [
    pkgs.curl
    pkgs.openssl
    pkgs.procps
    pkgs.python3
  ];
  environment.etc.checks.source = ../.;
  virtualisation.memorySize = 1536;
}
