# What can't be, about the network. Each message names the VM, the option and the fix.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  inherit (import ../lib) cidr names ports;
  vms = lib.filterAttrs (_: vm: vm.enable) cfg.vms;
  shared = cfg.network.topology == "shared-bridge";

  subnet = cidr.parse cfg.subnet;
  pool = cidr.parse cfg.network.subnets;
  space = if shared then subnet else pool;
  spaceOption = if shared then "subnet" else "network.subnets";

  network = [
    {
      assertion = names.isInterface cfg.networkBridge;
      message = "microvm-dev: `networkBridge` is `${cfg.networkBridge}`: an interface name has 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and `.`. Shorten it.";
    }
    {
      assertion = subnet != null && subnet.address == cidr.network subnet;
      message = "microvm-dev: `subnet` is `${cfg.subnet}`, which is no network; write its first address and prefix, like 192.168.100.0/24.";
    }
    {
      assertion = subnet != null -> cidr.isPrivate subnet && subnet.prefix >= 8 && subnet.prefix <= 29;
      message = "microvm-dev: `subnet` is `${cfg.subnet}`: take a network of /8 to /29 in a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16.";
    }
    {
      assertion = pool != null && pool.address == cidr.network pool;
      message = "microvm-dev: `network.subnets` is `${cfg.network.subnets}`, which is no network; write its first address and prefix, like 10.0.0.0/8.";
    }
    {
      assertion =
        pool != null -> cidr.isPrivate pool && lib.elem pool.prefix (lib.range 8 14 ++ lib.range 16 22);
      message = "microvm-dev: `network.subnets` is `${cfg.network.subnets}`: take a private range with a prefix of /8 to /14 (a network for each second octet) or /16 to /22 (each third).";
    }
    {
      assertion =
        cfg.network.autoPorts.from <= cfg.network.autoPorts.to && cfg.network.autoPorts.from > 0;
      message = "microvm-dev: `network.autoPorts` goes from ${toString cfg.network.autoPorts.from} to ${toString cfg.network.autoPorts.to}; let `from` be the lower port, from 1.";
    }
  ]
  ++ map (server: {
    assertion = cidr.parseAddress server != null;
    message = "microvm-dev: `network.dns` has `${server}`, which is no IPv4 address.";
  }) cfg.network.dns
  ++ lib.optionals (space != null) overlapping;

  # Addresses that the host is declared to have. Others show up when the network starts, which checks again.
  overlapping = lib.concatLists (
    lib.mapAttrsToList (
      interface: settings:
      map (
        { address, prefixLength }:
        let
          theirs = {
            address = cidr.parseAddress address;
            prefix = prefixLength;
          };
        in
        {
          assertion = theirs.address == null || !cidr.overlaps theirs space;
          message = "microvm-dev: `${spaceOption}` (${cidr.show space}) overlaps with `networking.interfaces.${interface}`, which has ${address}/${toString prefixLength}. Choose another private range for one of them.";
        }
      ) settings.ipv4.addresses
    ) (removeAttrs config.networking.interfaces bridges)
  );
  bridges = map (wired: wired.place.bridge) (
    lib.filter (wired: wired.place != null) (lib.attrValues cfg.wiring)
  );

  ofVm =
    name: vm:
    let
      say = option: text: "microvm-dev: VM `${name}`: `${option}` ${text}";
      place = cfg.wiring.${name}.place;
      copies = if vm.copies == null then 1 else vm.copies;
    in
    [
      {
        assertion = vm.copies != null -> vm.ipAddress == null;
        message = say "ipAddress" "is one address for ${toString vm.copies} copies; leave it out, or declare the VMs one by one.";
      }
      {
        assertion = vm.copies != null -> vm.macAddress == null;
        message = say "macAddress" "is one address for ${toString vm.copies} copies; leave it out, or declare the VMs one by one.";
      }
      {
        assertion = vm.ipAddress != null && vm.copies == null -> place != null;
        message = say "ipAddress" (
          if shared then
            "is `${toString vm.ipAddress}`, which no VM can have in `subnet` ${cfg.subnet}: take one between the host's, which is the first, and the last."
          else
            "is `${toString vm.ipAddress}`, which no VM can have in `network.subnets` ${cfg.network.subnets}: a VM is the second address of its network, like 10.3.0.2 of 10.3.0.0/24."
        );
      }
      {
        assertion = vm.macAddress != null -> names.isMac vm.macAddress && names.isUnicast vm.macAddress;
        message = say "macAddress" "is `${toString vm.macAddress}`: write a unicast address in lower case, like 02:00:5e:00:53:01.";
      }
      {
        assertion = vm.egress != [ ];
        message = say "egress" "is an empty list, which allows nothing; write \"none\" if that is meant.";
      }
    ]
    ++ map (peer: {
      assertion = vms ? ${peer} || cfg.wiring ? ${peer};
      message = say "peers" "has `${peer}`, and there is no such VM; the VMs are: ${lib.concatStringsSep ", " (lib.attrNames vms)}.";
    }) vm.peers
    ++ map (peer: {
      assertion = peer == name -> vm.copies != null;
      message = say "peers" "has `${peer}`, which is the VM itself; leave it out.";
    }) vm.peers
    ++ lib.concatMap (forward: [
      {
        assertion = forward.guest != 0;
        message = say "forwardPorts" "leads ${ports.show forward} to the guest's port 0; name the port the service listens on.";
      }
      {
        assertion = forward.address == null || ports.isV4 forward.address || ports.isV6 forward.address;
        message = say "forwardPorts" "listens on `${toString forward.address}`, which is no IP address; leave `address` out for loopback, or write 0.0.0.0 for all of IPv4.";
      }
      {
        assertion = forward.host != 0 -> forward.host + copies - 1 <= 65535;
        message = say "forwardPorts" "gives copy ${toString copies} the host's port ${
          toString (forward.host + copies - 1)
        }; start at ${toString (65536 - copies)} or below.";
      }
    ]) vm.forwardPorts;

  owned = lib.concatLists (
    lib.mapAttrsToList (name: wired: map (forward: { inherit name forward; }) wired.forwards) cfg.wiring
  );
  ownerOf = name: "VM `${name}`";
  portClash =
    { a, b }:
    {
      assertion = false;
      message = "microvm-dev: ${ownerOf a.name} and ${ownerOf b.name} both take the host's port ${ports.show b.forward} (`forwardPorts`${
        lib.optionalString (
          a.forward.address != b.forward.address
        ) "; ${ownerOf a.name} as ${ports.show a.forward}"
      }). Change `host` of one, or set it to 0 for any free port.";
    };
  noAutoPort = map (entry: {
    assertion = false;
    message = "microvm-dev: ${ownerOf entry.name}: no port of `network.autoPorts` is left for its port ${toString entry.forward.guest} (`forwardPorts`). Widen the range.";
  }) (lib.filter (entry: entry.forward.host == 0) owned);

  # Among the wired, those with the same value of `get`.
  twice =
    get: message:
    lib.mapAttrsToList
      (value: wired: {
        assertion = lib.length wired == 1;
        message = message value (lib.concatMapStringsSep " and " (entry: ownerOf entry.name) wired);
      })
      (
        lib.groupBy (entry: get entry.value) (
          lib.filter (entry: entry.value.place != null) (lib.attrsToList cfg.wiring)
        )
      );

  full = lib.mapAttrsToList (name: wired: {
    assertion = wired.place != null || pinned name;
    message = "microvm-dev: VM `${name}`: no address is left for it in `${spaceOption}` ${
      if shared then cfg.subnet else cfg.network.subnets
    }. Choose a larger network, or fewer VMs.";
  }) cfg.wiring;
  pinned = name: vms ? ${name} && vms.${name}.copies == null && vms.${name}.ipAddress != null;
in
{
  config = lib.mkIf cfg.enable {
    assertions =
      network
      ++ lib.concatLists (lib.mapAttrsToList ofVm vms)
      ++ map portClash (ports.conflicts (lib.filter (entry: entry.forward.host != 0) owned))
      ++ noAutoPort
      ++ full
      ++ twice (wired: wired.place.address) (
        address: who:
        "microvm-dev: ${who} both have the address ${address} (`ipAddress`). Change one, or leave it out."
      )
      ++ twice (wired: wired.mac) (
        mac: who:
        "microvm-dev: ${who} both have the MAC address ${mac} (`macAddress`). Change one, or leave it out."
      );
  };
}
