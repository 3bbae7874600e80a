# Options to JSON.
{
  examples,
  jail,
  lib,
  pkgs,
  withoutHashes,
  ...
}:
let
  golden = name: {
    expr = withoutHashes examples.${name}.spec;
    expected = lib.importJSON (./golden + "/${name}.json");
  };

  roots = module: (jail module).closure.rootPaths;

  presets = lib.mapAttrs' (file: kind: {
    name = lib.removeSuffix ".json" file;
    value = kind;
  }) (builtins.readDir ../../rust/jail/presets);

  # The data of a ready-made jail, in the order in which attributes are.
  preset =
    name:
    let
      data = lib.importJSON (../../rust/jail/presets + "/${name}.json");
    in
    removeAttrs data [ "programs" ]
    // {
      credentials = lib.sort (a: b: a.variable < b.variable) data.credentials or [ ];
    };
  asPreset =
    name:
    let
      inherit (examples.${name}) spec;
    in
    {
      expr =
        removeAttrs spec [
          "backend"
          "closure"
          "workspaceMode"
        ]
        // {
          credentials = spec.credentials or [ ];
        };
      expected = preset name;
    };
in
{
  testLeast = golden "least";
  testMost = golden "most";
  # An option that `most` leaves at its default is in no golden file.
  testMostSetsEveryOption = {
    expr =
      let
        inherit
          (lib.evalModules {
            class = "nixJail";
            modules = [ ../../nix/jail/options.nix ];
          })
          options
          ;
        paths = map (option: option.loc) (
          lib.filter (
            option:
            option.visible
            && !option.internal
            && lib.all (part: part != "*" && !lib.hasPrefix "<" part) option.loc
          ) (lib.optionAttrSetToDocList (removeAttrs options [ "_module" ]))
        );
        values = name: map (path: lib.getAttrFromPath path examples.${name}.config) paths;
        unset = lib.filter (pair: pair.most == pair.least) (
          lib.zipListsWith (path: pair: pair // { inherit path; }) paths (
            lib.zipListsWith (most: least: { inherit most least; }) (values "most") (values "least")
          )
        );
      in
      map (pair: lib.concatStringsSep "." pair.path) unset;
    # A package starts nothing.
    expected = [ "service.enable" ];
  };

  testClaude = asPreset "claude";
  testCodex = asPreset "codex";
  testGemini = asPreset "gemini";
  testCopilot = asPreset "copilot";
  testOpencode = asPreset "opencode";
  testPi = asPreset "pi";
  testQwen = asPreset "qwen";
  testShell = asPreset "shell";

  # The credentials of a group are tried in the order of the file: it must be the order that attributes keep.
  testGroupsKeepTheirOrder = {
    expr = map (credential: credential.variable) examples.claude.spec.credentials;
    expected = map (
      credential: credential.variable
    ) (lib.importJSON ../../rust/jail/presets/claude.json).credentials;
  };

  testEveryPresetIsAJail = {
    expr = lib.attrNames (lib.filterAttrs (name: _: !examples ? ${name}) presets);
    expected = [ ];
  };

  # Paths that only a variable names are in the closure; without such there is no file that names them.
  testWordsAreRoots = {
    expr = map (root: root.name) (roots {
      name = "words";
      packages = [ pkgs.bash ];
      environment.GREETING = "${pkgs.hello}/share/greeting";
    });
    expected = [
      "bash"
      "words-words"
    ];
  };
  testPackagesAreRoots = {
    expr = map (root: root.name) (roots {
      name = "plain";
      packages = [ pkgs.bash ];
    });
    expected = [ "bash" ];
  };
  testShellIsARoot = {
    expr = map (root: root.name) (roots {
      name = "dev";
      shell = pkgs.mkShell { packages = [ pkgs.cargo ]; };
    });
    expected = [
      "cargo"
      "cc-wrapper"
      "coreutils"
      "input-nix-shell"
    ];
  };

  # The program is no part of the jail.
  testJailIsOutside = {
    expr = lib.elem pkgs.nix-jail (roots {
      name = "plain";
    });
    expected = false;
  };
}
