{
  imports = [ ../hypervisor/guest ];
  networking.hostName = "vm3";
}
