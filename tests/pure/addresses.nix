let
  inherit (import ../../modules/lib) addresses cidr instances;
  shared = addresses.sharedBridge {
    bridge = "virbr-mvm";
    subnet = cidr.parse "192.168.100.0/24";
  };
  perVm = addresses.bridgePerVm { pool = cidr.parse "10.0.0.0/8"; };
  of = families: instances.all families;
  assign = topology: families: addresses.assign topology (of families) { };
  many = builtins.listToAttrs (
    builtins.genList (n: {
      name = "vm${toString n}";
      value = null;
    }) 100
  );
  addressesOf = places: map (name: places.${name}.address) (builtins.attrNames places);
  distinct =
    list: builtins.length (builtins.attrNames (builtins.groupBy toString list)) == builtins.length list;
  # Those of `before` that are elsewhere in `after`.
  moved =
    before: after: builtins.filter (name: before.${name} != after.${name}) (builtins.attrNames before);
in
{
  "a place on the shared bridge has bridge, address and gateway" = {
    expr = (assign shared { shop = null; }).shop;
    expected = {
      bridge = "virbr-mvm";
      address = "192.168.100.68/24";
      gateway = "192.168.100.1";
    };
  };
  "a place of its own is a network, with the host at .1 and the VM at .2" = {
    expr = addresses.assign perVm (of { vm3 = null; }) { vm3 = "10.3.0.2"; };
    expected.vm3 = {
      bridge = "br-vm3";
      address = "10.3.0.2/24";
      gateway = "10.3.0.1";
    };
  };
  "networks of a /16 differ in the third octet" = {
    expr =
      (addresses.assign (addresses.bridgePerVm { pool = cidr.parse "192.168.0.0/16"; }) (of { a = null; })
        {
          a = "192.168.7.2";
        }
      ).a.gateway;
    expected = "192.168.7.1";
  };
  "no two VMs share an address" = {
    expr = distinct (addressesOf (assign shared many));
    expected = true;
  };
  "a further VM moves none, or the few that wanted its place" = {
    expr =
      let
        few = {
          api = null;
          db = null;
          shop = null;
          worker = null;
        };
      in
      map (name: moved (assign shared few) (assign shared (few // { ${name} = null; }))) [
        "a"
        "cache"
        "mail"
        "zz"
      ];
    expected = [
      [ ]
      [ ]
      [ ]
      [ ]
    ];
  };
  "more copies move nobody" = {
    expr =
      moved
        (assign shared {
          job = 8;
          shop = null;
          web = 8;
        })
        (
          assign shared {
            job = 64;
            shop = null;
            web = 8;
          }
        );
    expected = [ ];
  };
  "a pinned address is kept, and others keep off" = {
    expr =
      let
        wanted = cidr.showAddress (cidr.parse (assign shared { shop = null; }).shop.address).address;
        places = addresses.assign shared (of {
          shop = null;
          other = null;
        }) { other = wanted; };
      in
      {
        other = places.other.address == "${wanted}/24";
        shop = places.shop.address != places.other.address;
      };
    expected = {
      other = true;
      shop = true;
    };
  };
  "addresses that no VM can have give no place" = {
    expr =
      map (pin: (addresses.assign shared (of { a = null; }) { a = pin; }).a) [
        "192.168.100.0"
        "192.168.100.1"
        "192.168.100.255"
        "192.168.101.7"
        "nonsense"
      ]
      ++ map (pin: (addresses.assign perVm (of { a = null; }) { a = pin; }).a) [
        "10.3.0.1"
        "10.3.0.3"
        "10.0.0.2"
        "11.3.0.2"
      ];
    expected = builtins.genList (_: null) 9;
  };
  "a full subnet gives no place to the last" = {
    expr =
      let
        small = addresses.sharedBridge {
          bridge = "b";
          subnet = cidr.parse "192.168.0.0/29";
        };
        places = assign small { vm = 6; };
      in
      {
        placed = builtins.length (
          builtins.filter (name: places.${name} != null) (builtins.attrNames places)
        );
        last = places.vm-6;
      };
    expected = {
      placed = 5;
      last = null;
    };
  };
}
