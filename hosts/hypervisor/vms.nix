# The VMs, a line each; a new line is a new VM. The number gives its network, 10.NUMBER.0.0/24: each has its own, and a
# number that was once used stays with its VM.
{
  vm1 = 1;
  vm2 = 2;
  vm3 = 3;
  vm4 = 4;
}
