# A ready-made jail of the binary as a module: its JSON is the one place where it is written down.
file:
{ lib, pkgs, ... }:
let
  preset = lib.importJSON file;

  # A user's own value takes the place of these …
  default = lib.mapAttrsRecursive (_: lib.mkDefault);

  # … and is added to these.
  added = [
    "binds"
    "passEnvironment"
    "protect"
    "rules"
  ];

  # Names of host programs mean nothing here: the module that imports this one says which packages they are.
  fields = removeAttrs preset [
    "credentials"
    "programs"
    "version"
  ];
in
{
  config =
    lib.getAttrs (lib.filter (field: fields ? ${field}) added) fields
    // default (removeAttrs fields added)
    // {
      credentials = lib.listToAttrs (
        map (credential: {
          name = credential.variable;
          value = default (removeAttrs credential [ "variable" ]);
        }) preset.credentials or [ ]
      );

      packages =
        lib.optionals (lib.intersectLists [ "@shell" "@system" ] (preset.programs or [ ]) != [ ])
          [
            pkgs.bashInteractive
            pkgs.coreutils
            pkgs.diffutils
            pkgs.file
            pkgs.findutils
            pkgs.gawk
            pkgs.gnugrep
            pkgs.gnupatch
            pkgs.gnused
            pkgs.gnutar
            pkgs.gzip
            pkgs.less
            pkgs.ncurses
            pkgs.procps
            pkgs.unzip
            pkgs.which
            pkgs.xz
            pkgs.zip
          ];
    };
}
