{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  cargo-deny,
  clippy,
  rustfmt,
}:
let
  inherit (lib.importTOML ../rust/Cargo.toml) workspace;
in
rustPlatform.buildRustPackage (finalAttrs: {
  pname = "nix-jail";
  inherit (workspace.package) version;

  src = lib.fileset.toSource {
    root = ../rust;
    fileset = lib.fileset.unions (
      [
        ../rust/Cargo.lock
        ../rust/Cargo.toml
        ../rust/clippy.toml
        ../rust/deny.toml
        ../rust/rustfmt.toml
      ]
      ++ map (member: ../rust + "/${member}") workspace.members
    );
  };
  cargoLock.lockFile = ../rust/Cargo.lock;

  # A static program is one for containers: small, and built by any C compiler.
  buildType = if stdenv.hostPlatform.isStatic then "static" else "release";
  buildNoDefaultFeatures = stdenv.hostPlatform.isStatic;
  buildFeatures = lib.optional stdenv.hostPlatform.isStatic "ring";
  # Its relative relocations are a third of a megabyte otherwise.
  env.NIX_LDFLAGS = lib.optionalString stdenv.hostPlatform.isStatic "-z pack-relative-relocs";

  # As .cargo/config.toml has it, which is not in the source: 22 ms at every start, and an abort on a fresh VM.
  env.AWS_LC_SYS_NO_JITTER_ENTROPY = "1";

  # The symbol table too, which is a third of the program: stdenv strips debugging information only, and its build hook
  # turns off the `strip` of the profile in Cargo.toml.
  stripAllList = [ "bin" ];

  nativeBuildInputs = [ installShellFiles ];

  # Unit tests. What starts jails needs namespaces and other programs than a build has.
  checkType = "debug";
  cargoTestFlags = [
    "--workspace"
    "--lib"
    "--bins"
  ];
  # What these modules test needs programs of the machine, and a build has none.
  checkFlags = [ "--skip=on_the_host::" ];

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    mkdir man
    $out/bin/jail man man
    installManPage man/*
    installShellCompletion --cmd jail \
      --bash <($out/bin/jail completions bash) \
      --fish <($out/bin/jail completions fish) \
      --zsh <($out/bin/jail completions zsh)
  '';

  passthru =
    let
      cargo =
        name: tools: command: installPhase:
        finalAttrs.finalPackage.overrideAttrs (old: {
          pname = "nix-jail-${name}";
          nativeBuildInputs = old.nativeBuildInputs ++ tools;
          buildPhase = command;
          doCheck = false;
          inherit installPhase;
        });
      checks =
        name: tool: command:
        cargo name [ tool ] command "mkdir $out";
    in
    {
      tests = {
        clippy = checks "clippy" clippy "cargo clippy --offline --workspace --all-targets -- -D warnings";
        fmt = checks "fmt" rustfmt "cargo fmt --all --check";
        deny = checks "deny" cargo-deny "cargo deny --offline check bans licenses sources";
      };
      # The end-to-end tests as a program, for a machine that can make jails.
      endToEnd =
        cargo "end-to-end" [ ] "cargo test --offline --no-run --package nix-jail --test end_to_end"
          ''
            install -D "$(find target -path '*/deps/end_to_end-*' -type f -executable)" $out/bin/nix-jail-end-to-end
          '';
    };

  meta = {
    description = "Runs a coding agent in a jail whose only way out is its own proxy";
    homepage = "https://github.com/nix-jail/nix-jail";
    license = lib.licenses.mit;
    mainProgram = "jail";
    platforms = lib.platforms.linux ++ lib.platforms.darwin;
  };
})
