# The project, at the same place as in the guests of `mvm create`.
{ lib, vmSpec, ... }:
{
  # The files belong to their owner on the host; git would refuse to look at them as anybody else (git-config(1),
  # safe.directory).
  environment.variables = lib.mkIf (vmSpec ? project) {
    GIT_CONFIG_COUNT = lib.mkDefault "1";
    GIT_CONFIG_KEY_0 = lib.mkDefault "safe.directory";
    GIT_CONFIG_VALUE_0 = lib.mkDefault "/project";
  };
}
