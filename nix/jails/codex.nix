{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/codex.json) ];

  packages = [
    pkgs.codex
    pkgs.git
    pkgs.ripgrep
  ];
}
