# A whole nixpkgs as the flake input that it is for others: `path` holds its flake.nix.
path:
let
  self = (import (path + "/flake.nix")).outputs { inherit self; } // {
    outPath = toString path;
  };
in
self
