let
  inherit (import ../../modules/lib) hypervisors;
in
{
  "each says all that is asked of it" = {
    expr = builtins.attrNames (
      builtins.groupBy (name: toString (builtins.attrNames hypervisors.${name})) (
        builtins.attrNames hypervisors
      )
    );
    expected = [ "credentials notify readOnly9p shares" ];
  };
  "firecracker has no shares, kvmtool none by virtiofs" = {
    expr = [
      hypervisors.firecracker.shares
      (builtins.elem "virtiofs" hypervisors.kvmtool.shares)
    ];
    expected = [
      [ ]
      false
    ];
  };
}
