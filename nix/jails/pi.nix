{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/pi.json) ];

  packages = [
    pkgs.pi-coding-agent
    pkgs.git
    pkgs.ripgrep
  ];
}
