{ lib, pkgs, ... }:
{
  imports = [ (lib.modules.importApply ../jail/preset.nix ../../rust/jail/presets/gemini.json) ];

  packages = [
    pkgs.gemini-cli
    pkgs.git
    pkgs.ripgrep
  ];
}
