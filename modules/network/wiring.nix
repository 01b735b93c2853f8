# Each instance's place, MAC address, forwards and peers.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  inherit (import ../lib)
    addresses
    cidr
    names
    ports
    ;
  vmOf = instance: cfg.vms.${instance.family};

  subnet = cidr.parse cfg.subnet;
  pool = cidr.parse cfg.network.subnets;

  # Nonsense gets its message from assertions.nix; here it must only not be in the way.
  topology =
    if cfg.network.topology == "bridge-per-vm" then
      addresses.bridgePerVm {
        pool = if pool == null then cidr.parse "10.0.0.0/8" else pool;
      }
    else
      addresses.sharedBridge {
        bridge = cfg.networkBridge;
        subnet = if subnet == null then cidr.parse "192.168.100.0/24" else subnet;
      };

  pins = lib.listToAttrs (
    map (instance: lib.nameValuePair instance.name (vmOf instance).ipAddress) (
      lib.filter (instance: instance.index == 0) cfg.instances
    )
  );
  places = addresses.assign topology cfg.instances pins;

  mac =
    instance:
    let
      vm = vmOf instance;
    in
    if instance.index == 0 && vm.macAddress != null then vm.macAddress else names.mac instance.name;

  # In the order of choice, each with its owner.
  owned = ports.settle cfg.network.autoPorts (
    lib.concatMap (
      instance:
      map (forward: {
        inherit (instance) name;
        forward = ports.ofCopy instance.index forward;
      }) (vmOf instance).forwardPorts
    ) cfg.instances
  );
  forwards = lib.groupBy (entry: entry.name) owned;

  # A family stands for its copies.
  families = lib.groupBy (instance: instance.family) cfg.instances;
  members =
    peer: if families ? ${peer} then map (instance: instance.name) families.${peer} else [ peer ];
  peers =
    instance:
    lib.unique (lib.filter (peer: peer != instance.name) (lib.concatMap members (vmOf instance).peers));
in
{
  config.services.microvm-dev.wiring = lib.listToAttrs (
    map (
      instance:
      lib.nameValuePair instance.name {
        place = places.${instance.name};
        mac = mac instance;
        forwards = map (entry: entry.forward) (forwards.${instance.name} or [ ]);
        peers = peers instance;
      }
    ) cfg.instances
  );
}
