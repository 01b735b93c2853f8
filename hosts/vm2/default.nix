{
  imports = [ ../hypervisor/guest ];
  networking.hostName = "vm2";
}
