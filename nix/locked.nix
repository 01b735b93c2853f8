# NAME: the path of that flake input, of the revision in flake.lock.
name:
let
  lock = builtins.fromJSON (builtins.readFile ../flake.lock);
  inherit (lock.nodes.${name}) locked;
in
# The hash of an unpacked tarball is the NAR hash that the lock file has.
fetchTarball {
  url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
  sha256 = locked.narHash;
}
