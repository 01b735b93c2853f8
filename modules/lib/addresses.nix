# Places of VMs in the network. The same places as pkgs/mvm-host/src/net/topology.rs allows, chosen otherwise: by the
# name's hash, so that another VM's coming or going does not move one, unless the two want the same.
let
  cidr = import ./cidr.nix;
  names = import ./names.nix;

  # Gives each of `wanting` (names, in the order of choice) a number of `first` to `last` that is in no one's hands.
  # null: all are taken.
  choose =
    {
      wanting,
      first,
      last,
      taken,
    }:
    let
      size = last - first + 1;
      free =
        taken: start: tries:
        if tries == size then
          null
        else
          let
            offset = start + tries;
            number = first + (if offset >= size then offset - size else offset);
          in
          if taken ? ${toString number} then free taken start (tries + 1) else number;
      next =
        state: name:
        let
          number = free state.taken (names.slot "microvm-dev place ${name}" size) 0;
        in
        {
          taken = if number == null then state.taken else state.taken // { ${toString number} = name; };
          chosen = state.chosen // {
            ${name} = number;
          };
        };
    in
    if size < 1 then
      builtins.listToAttrs (
        map (name: {
          inherit name;
          value = null;
        }) wanting
      )
    else
      (builtins.foldl' next {
        inherit taken;
        chosen = { };
      } wanting).chosen;

  # VMs with an address of their own come first; those who choose keep off.
  assign =
    topology: instances: pins:
    let
      isPinned = instance: pins.${instance.name} or null != null;
      pinned = builtins.filter isPinned instances;
      pinnedNumber = instance: topology.number (cidr.parseAddress pins.${instance.name});
      chosen = choose {
        inherit (topology) first last;
        wanting = map (instance: instance.name) (builtins.filter (instance: !isPinned instance) instances);
        taken =
          topology.reserved
          // builtins.listToAttrs (
            builtins.concatMap (
              instance:
              let
                number = pinnedNumber instance;
              in
              if number == null then
                [ ]
              else
                [
                  {
                    name = toString number;
                    value = instance.name;
                  }
                ]
            ) pinned
          );
      };
      place =
        instance:
        let
          number = if isPinned instance then pinnedNumber instance else chosen.${instance.name};
        in
        {
          inherit (instance) name;
          value = if number == null then null else topology.place instance.name number;
        };
    in
    builtins.listToAttrs (map place instances);

  # One bridge; a number is an offset in the subnet. Subnets too small for it don't leave the first ten out.
  sharedBridge =
    { bridge, subnet }:
    let
      base = cidr.network subnet;
      gateway = base + 1;
    in
    {
      first = if cidr.size subnet > 17 then 10 else 2;
      last = cidr.size subnet - 2;
      reserved = {
        "1" = "the gateway";
      };
      number =
        address:
        if
          address != null
          && cidr.contains subnet address
          && address != gateway
          && address != base
          && address != cidr.last subnet
        then
          address - base
        else
          null;
      place = _name: number: {
        inherit bridge;
        address = cidr.show {
          address = base + number;
          inherit (subnet) prefix;
        };
        gateway = cidr.showAddress gateway;
      };
    };

  # A bridge and a /24 for each; a number is N of network N, 10.N.0.0/24 of 10.0.0.0/8, 192.168.N.0/24 of
  # 192.168.0.0/16.
  bridgePerVm =
    { pool }:
    let
      step = if pool.prefix < 16 then 65536 else 256;
      base = cidr.network pool;
    in
    rec {
      first = 1;
      last = cidr.size pool / step - 1;
      reserved = { };
      # The VM is the second address of its network.
      number =
        address:
        let
          candidate = (address - base - 2) / step;
        in
        if
          address != null
          && address > base
          && address - 2 == base + candidate * step
          && candidate >= first
          && candidate <= last
        then
          candidate
        else
          null;
      place = name: number: {
        bridge = names.bridge name;
        address = cidr.show {
          address = base + number * step + 2;
          prefix = 24;
        };
        gateway = cidr.showAddress (base + number * step + 1);
      };
    };
in
{
  inherit
    assign
    bridgePerVm
    choose
    sharedBridge
    ;
}
