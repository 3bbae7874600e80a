# What a dev shell brings into a jail: packages for its PATH, roots of its closure, plain variables.
{ lib }:
shell:
let
  stdenv = shell.stdenv or { };

  inputs = lib.concatMap (list: shell.${list} or [ ]) [
    "nativeBuildInputs"
    "propagatedNativeBuildInputs"
    "buildInputs"
    "propagatedBuildInputs"
  ];
  compiler = lib.optional (stdenv.hasCC or false) stdenv.cc;

  # With structured attributes a derivation's variables are in `env`. What belongs to the jail (`PATH`, `HOME`, proxies)
  # the program leaves as it is.
  attributes = shell.drvAttrs // shell.drvAttrs.env or { };
  isVariable = name: builtins.match "[A-Z][A-Z0-9_]*" name != null;
in
if shell == null then
  {
    packages = [ ];
    rootPaths = [ ];
    environment = { };
  }
else
  {
    packages = lib.filter lib.isDerivation (
      lib.flatten (inputs ++ compiler ++ stdenv.initialPath or [ ])
    );
    # stdenv makes it for this use: a derivation that refers to everything that the shell is built from.
    rootPaths = [ shell.inputDerivation ];
    environment = lib.filterAttrs (name: value: isVariable name && lib.isString value) attributes;
  }
