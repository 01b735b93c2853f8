# Runs the tests of a folder: each file but default.nix gives `{ "sentence" = { expr; expected; }; }`, or is a function
# of `given` that does. Builtins only. Evaluates to what scripts/test-nix prints.
{
  dir,
  given ? { },
  files ? builtins.filter (name: builtins.match ".*\\.nix" name != null && name != "default.nix") (
    builtins.attrNames (builtins.readDir dir)
  ),
}:
let

  load =
    file:
    let
      content = import (dir + "/${file}");
    in
    if builtins.isFunction content then content given else content;

  # A file that is empty, or a test that lacks a side, would pass unseen.
  run =
    file:
    let
      tests = load file;
      names = builtins.attrNames tests;
    in
    if names == [ ] then
      [
        {
          inherit file;
          name = "a file has tests";
          pass = false;
          expected = "at least one";
          actual = "none";
        }
      ]
    else
      map (
        name:
        let
          inherit (tests.${name}) expr expected;
          # A test that throws fails, and the others run on.
          result = builtins.tryEval (builtins.deepSeq expr expr);
          actual = if result.success then result.value else "an error (evaluate it alone to see which)";
          pass = actual == expected;
        in
        {
          inherit file name pass;
        }
        // (if pass then { } else { inherit expected actual; })
      ) names;

  results = builtins.concatMap run files;
  failed = builtins.filter (result: !result.pass) results;
in
{
  count = builtins.length results;
  inherit failed;
}
