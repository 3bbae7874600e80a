{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/opencode.json) ];

  packages = [
    pkgs.opencode
    pkgs.git
    pkgs.ripgrep
  ];
}
