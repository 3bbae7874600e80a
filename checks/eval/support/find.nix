# A library by its name in NIX_PATH, or null.
name:
let
  found = builtins.tryEval (builtins.findFile builtins.nixPath name);
in
if found.success then found.value else null
