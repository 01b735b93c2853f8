# The pure part of the modules: builtins only, so that it runs (and is tested) without nixpkgs.
{
  addresses = import ./addresses.nix;
  cidr = import ./cidr.nix;
  hypervisors = import ./hypervisors.nix;
  instances = import ./instances.nix;
  names = import ./names.nix;
  ports = import ./ports.nix;
  quote = import ./quote.nix;
  spec = import ./spec.nix;
}
