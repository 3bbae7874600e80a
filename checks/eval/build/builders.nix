# The toy with as much of nixpkgs' builders, in small, as a jail and the flake take.
{
  lib,
  toy,
  # A directory with `bin/jail`.
  package,
}:
let
  agents =
    lib.genAttrs
      [
        "claude-code"
        "codex"
        "gemini-cli"
        "github-copilot-cli"
        "opencode"
        "pi-coding-agent"
        "qwen-code"
      ]
      (
        name:
        pkgs.runCommandLocal name { passthru.pname = name; } ''
          mkdir -p $out/bin
          printf '#!%s\necho "this is ${name} $*"\n' ${toy.bash}/bin/sh > $out/bin/${lib.removePrefix "github-" (lib.removeSuffix "-cli" (lib.removeSuffix "-code" (lib.removeSuffix "-coding-agent" name)))}
          chmod +x $out/bin/*
        ''
      );

  # Busybox is all of them.
  shellTools =
    lib.genAttrs [
      "coreutils"
      "curl"
      "diffutils"
      "file"
      "findutils"
      "gawk"
      "git"
      "gnugrep"
      "gnupatch"
      "gnused"
      "gnutar"
      "gzip"
      "less"
      "ncurses"
      "nodejs"
      "procps"
      "python3"
      "ripgrep"
      "unzip"
      "which"
      "xz"
      "zip"
    ] (_: toy.busybox)
    // {
      bashInteractive = toy.bash;
    };

  pkgs =
    toy
    // shellTools
    // agents
    // {
      runtimeShell = "${toy.bash}/bin/sh";

      runCommandLocal =
        name: attributes: script:
        derivation (
          {
            inherit name script;
            inherit (toy.busybox) system;
            builder = "${toy.bash}/bin/bash";
            args = [
              "-euc"
              "source \"$scriptPath\""
            ];
            PATH = "${toy.busybox}/bin";
          }
          // removeAttrs attributes [
            "meta"
            "passthru"
          ]
          // {
            passAsFile = attributes.passAsFile or [ ] ++ [ "script" ];
          }
        )
        // attributes.passthru or { };

      stdenv = {
        buildPlatform.canExecute = _: true;
        hostPlatform.isLinux = true;
      };
      pkgsStatic = pkgs;
      # The one package that is called is ours.
      callPackage =
        _: _:
        pkgs.runCommandLocal "nix-jail" { passthru.tests = { }; } ''
          mkdir -p $out/bin
          cp ${package}/bin/jail $out/bin/jail
        '';

      writeTextFile =
        {
          name,
          text,
          destination,
          executable,
        }:
        assert executable;
        pkgs.runCommandLocal name
          {
            inherit text;
            passAsFile = [ "text" ];
          }
          ''
            mkdir -p $(dirname $out${destination})
            cp $textPath $out${destination}
            chmod +x $out${destination}
          '';

      closureInfo =
        { rootPaths }:
        let
          graphs = lib.imap0 (position: root: [
            "graph-${toString position}"
            root
          ]) rootPaths;
        in
        pkgs.runCommandLocal "closure-info"
          {
            exportReferencesGraph = lib.flatten graphs;
          }
          ''
            mkdir $out
            cat graph-* | grep '^/' | grep -v '\.drv$' | sort -u > $out/store-paths
            du -bcs $(cat $out/store-paths) | tail -n 1 | cut -f 1 > $out/total-nar-size
          '';

      writeText =
        name: text:
        pkgs.runCommandLocal name {
          inherit text;
          passAsFile = [ "text" ];
        } "cp $textPath $out";
    };
in
pkgs
