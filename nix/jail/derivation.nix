{ lib }:
let
  render = import ./spec.nix { inherit lib; };
  shellInputs = import ./shell.nix { inherit lib; };
in
# The package of one jail: its specification, checked by the program itself, and a command that runs it.
{
  pkgs,
  # The program `jail`.
  package,
  config,
  passthru ? { },
}:
let
  inherit (config) name;
  checker = import ./build-program.nix { inherit package pkgs; };
  shell = shellInputs config.shell;

  # The outputs with the programs are what is asked for; they bring the others that they need.
  programs = lib.unique (map lib.getBin (config.packages ++ shell.packages));

  words = builtins.toJSON [
    config.command
    config.environment
  ];
  rootPaths =
    programs
    ++ shell.rootPaths
    # Store paths that only the command or a variable names are in the jail too: this file refers to them.
    ++ lib.optional (builtins.hasContext words) (pkgs.writeText "${name}-words" words);
  closure = pkgs.closureInfo { inherit rootPaths; };

  spec = render config (
    lib.optionalAttrs (rootPaths != [ ]) {
      storePaths = "${closure}/store-paths";
      path = map (program: "${program}/bin") programs;
      inherit (shell) environment;
    }
  );

  # null is no limit; the option's type has let nothing else through than digits and a unit.
  byteCount =
    text:
    let
      parts = builtins.match "([0-9]+)([KMGT]?)" text;
      factors = {
        "" = 1;
        K = 1024;
        M = 1024 * factors.K;
        G = 1024 * factors.M;
        T = 1024 * factors.G;
      };
    in
    lib.toIntBase10 (lib.head parts) * factors.${lib.last parts};
  isUnfree = package: lib.any (licence: !(licence.free or true)) (licencesOf package);
  licencesOf = package: lib.filter lib.isAttrs (lib.toList (package.meta.license or [ ]));
  describe =
    package:
    "jail ${name} holds ${lib.getName package}, which is not free software: ${
      lib.concatMapStringsSep ", " (
        licence: licence.url or licence.fullName or licence.spdxId or "unknown licence"
      ) (licencesOf package)
    }";
  notices = map describe (lib.filter isUnfree config.packages);

  maxSize = lib.mapNullable byteCount config.closure.maxSize;

  failed = lib.filter (assertion: !assertion.assertion) config.assertions;
  checked = lib.throwIf (failed != [ ]) ''
    jail ${name} cannot be made:
    ${lib.concatMapStringsSep "\n" (assertion: "- ${assertion.message}") failed}'';
in
checked (
  pkgs.runCommandLocal name
    {
      spec = builtins.toJSON spec;
      passAsFile = [ "spec" ];
      # Its path alone: what is forbidden is not built in order to be forbidden.
      forbidden = map (
        package: builtins.unsafeDiscardStringContext package.outPath
      ) config.closure.forbid;
      passthru = {
        inherit closure config spec;
      }
      // passthru;
      meta = {
        description = if config.description == "" then "The jail ${name}" else config.description;
        mainProgram = name;
      };
    }
    ''
      ${lib.concatMapStringsSep "\n" (notice: "echo ${lib.escapeShellArg notice} >&2") notices}
      size=$(cat ${closure}/total-nar-size)
      limit=${toString maxSize}
      if [ -n "$limit" ] && [ "$size" -gt "$limit" ]; then
        echo "the closure of jail ${name} takes up $size bytes, more than closure.maxSize ($limit): leave packages out, or raise it" >&2
        exit 1
      fi
      for path in $forbidden; do
        if grep -qxF "$path" ${closure}/store-paths; then
          echo "the closure of jail ${name} holds $path, which closure.forbid names: nix why-depends says what brings it" >&2
          exit 1
        fi
      done

      mkdir -p $out/bin $out/share/nix-jail
      cp "$specPath" $out/share/nix-jail/${name}.json
      ${checker}/bin/jail check $out/share/nix-jail/${name}.json

      cat > $out/bin/${name} <<EOF
      #!${pkgs.runtimeShell}
      export JAIL_PATH=$out/share/nix-jail
      exec ${package}/bin/jail run ${name} -- "\$@"
      EOF
      chmod +x $out/bin/${name}
    ''
)
