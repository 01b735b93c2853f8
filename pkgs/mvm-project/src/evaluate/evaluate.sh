# DIR DEVENV PATH...: for each option, a record separator with its path, and its value as JSON or an error.
cd "$1" || exit
devenv=$2
shift 2
if command -v "$devenv" >/dev/null 2>&1; then
  evaluate() { "$devenv" eval "$1"; }
elif nix-instantiate --eval -E '<nixpkgs/lib>' >/dev/null 2>&1; then
  # What the project itself defines, by NixOS' module system; devenv's own options have no defaults here.
  evaluate() {
    nix-instantiate --eval --strict --json -E "
      let
        lib = import <nixpkgs/lib>;
        project = lib.evalModules {
          modules = [ ./devenv.nix { _module.freeformType = lib.types.attrsOf lib.types.anything; } ];
          specialArgs = { pkgs = import <nixpkgs> { }; inputs = { }; };
        };
      in
      project.config.$1"
  }
else
  echo 'nothing that evaluates'
  exit
fi
errors=$(mktemp) || exit
for path; do
  printf '\036%s\n' "$path"
  evaluate "$path" 2>"$errors" || cat "$errors"
done
rm -f "$errors"
