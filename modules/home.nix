{ config, lib, ... }:
let
  cfg = config.services.nix-jail;
in
{
  _class = "homeManager";
  imports = [ ./common.nix ];

  config = lib.mkIf cfg.enable {
    home.packages = [ cfg.package ] ++ lib.attrValues cfg.packages;
    xdg.configFile = lib.mapAttrs' (name: package: {
      name = "nix-jail/${name}.json";
      value.source = "${package}/share/nix-jail/${name}.json";
    }) cfg.packages;

    assertions = lib.mapAttrsToList (name: jail: {
      assertion = !jail.service.enable;
      message = "services.nix-jail.jails.${name}.service.enable: home-manager starts no jails; declare it on NixOS or nix-darwin, or write a unit that runs `${name}`.";
    }) cfg.jails;
  };
}
