# `nix run`: the command line; `nix run .#mvm-spec` and so on: the other programs.
pkgs:
let
  app = program: {
    type = "app";
    program = "${pkgs.microvm-dev}/bin/${program}";
    meta.description = descriptions.${program};
  };
  descriptions = {
    create-microvm-env = "Write an .envrc that gives shells the VM of a project";
    mvm = "Make, start and enter VMs for a project directory";
    mvm-devenv = "Find out what a project needs, and plan a VM for it";
    mvm-ports = "Bring port forwards to what is stored";
    mvm-spec = "Check VM specs and print their schema";
  };
in
{
  default = app "mvm";
}
// builtins.mapAttrs (program: _: app program) descriptions
