# The options of one jail as the JSON that `jail` reads; what says nothing is left out.
{ lib }:
config: closure:
let
  says = lib.filterAttrs (_: value: value != null && value != [ ] && value != { } && value != "");
  sayTrue = lib.filterAttrs (_: value: value != false);

  rule =
    rule:
    if lib.isString rule then
      rule
    else
      lib.mapAttrs (field: value: if field == "git" then unusual value else value) (unusual rule);
  unusual = fields: lib.filterAttrs (field: value: value != usual.${field} or null) (says fields);
  usual = {
    action = "allow";
    scheme = "https";
    fetch = true;
    force = false;
    delete = false;
  };

  credential =
    variable: credential:
    {
      inherit variable;
    }
    // sayTrue (
      says (
        removeAttrs credential [
          "oauth"
          "redact"
        ]
      )
    )
    // lib.optionalAttrs (credential.oauth != null) { oauth = says credential.oauth; }
    // lib.optionalAttrs (!credential.redact) { redact = false; };

  # One with nothing in it is its kind alone.
  home =
    home:
    if home.seed == [ ] && home.import == [ ] then
      home.kind
    else
      says (home // { seed = map seed home.seed; });
  # A member may be empty and still say something.
  seed = seed: sayTrue (lib.filterAttrs (_: value: value != null) seed);
in
says {
  version = 1;
  inherit (config)
    name
    description
    command
    environment
    passEnvironment
    workspaceMode
    protect
    backend
    gateways
    ;
  home = home config.home;
  rules = map rule config.rules;
  credentials = lib.mapAttrsToList credential config.credentials;
  binds = map (bind: sayTrue (says bind)) config.binds;
  limits = says config.limits;
  hardening = says config.hardening;
  upstream = says config.upstream;
  # `enable` is the system's to know.
  service = says (removeAttrs config.service [ "enable" ]);
  closure = says closure;
}
