# What NixOS and nix-darwin have in common: commands for all users, files in /etc.
{ config, lib, ... }:
let
  cfg = config.services.nix-jail;
in
{
  imports = [ ./common.nix ];

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ] ++ lib.attrValues cfg.packages;
    environment.etc = lib.mapAttrs' (name: package: {
      name = "nix-jail/${name}.json";
      value.source = "${package}/share/nix-jail/${name}.json";
    }) cfg.packages;
  };
}
