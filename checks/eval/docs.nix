# The manual.
{ lib, ... }:
let
  docs = import ../../nix/docs.nix { inherit lib; };
in
{
  # `bash checks/nix-language.sh evaluation` prints the difference.
  testOptionReference = {
    expr = lib.readFile ../../nix/docs/reference-options.md == docs.options;
    expected = true;
  };
}
