# The program `jail` that a builder can run: for another platform than the builder's, one of the builder's own.
{ package, pkgs }:
if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
  package
else
  pkgs.buildPackages.nix-jail or (pkgs.buildPackages.callPackage ../package.nix { })
