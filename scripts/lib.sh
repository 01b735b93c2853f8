# shellcheck shell=bash disable=SC2034
# (SC2034: the variables here are read by the scripts that source this file.)
# Functions that the scripts here share. Sourced, not run: `. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"`.

# Absolute path of the checkout.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Where cargo puts what it builds.
target=${CARGO_TARGET_DIR:-$root/target}
# Build machines may start us without one.
export HOME=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
# What `mvm` keeps that can be made again: the same rule as `Realm::resolve` in pkgs/mvm-host/src/realm.rs.
cache=${MVM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/microvm-dev}

# Debian packages by purpose. Lists, so that each script names what it needs and nothing more.
packages_build=(gcc libc6-dev make pkg-config libseccomp-dev libcap-ng-dev git ca-certificates)
packages_run=(qemu-system-x86 passt nftables iproute2 dnsmasq-base e2fsprogs openssh-client)
packages_test=(openssh-sftp-server rsync attr kmod xz-utils shellcheck tmux python3 procps util-linux systemd systemd-container dbus nix-bin direnv zsh fish nodejs polkitd)
packages_bench=(python3 python3-venv kmod busybox-static)
packages_bench_network=(python3 socat iptables util-linux)
packages_bench_project=(python3 direnv util-linux)

say() { printf '%s\n' "$*" >&2; }
heading() { printf '\n== %s\n' "$*" >&2; }
die() {
  printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Those of the named packages that are not installed, one a line.
missing_packages() {
  local package
  for package; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s\n' "$package"
  done
}

# install_packages PACKAGE…: installs the missing ones from the distribution. Silent if none is missing.
install_packages() {
  local missing removed yes=(-y)
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "This is no Debian or Ubuntu: install by your package manager what these packages hold: $*"
    say "(docs/how-to/use-on-other-distributions.md has the names elsewhere.) Going on with what is installed."
    return 0
  fi
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  say "Installing from the distribution's packages: ${missing[*]}"
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      die "these packages are missing and there is no sudo; run this as root: apt-get install ${missing[*]}"
    say "This, and only this, needs root: sudo may ask for your password."
  fi
  as_root apt-get update -qq || say "apt-get update failed; trying with the package lists there are."
  # A package of another origin can stand in the way (qemu-utils of backports does); apt must then remove it.
  removed=$(LC_ALL=C as_root apt-get -s install --no-install-recommends "${missing[@]}" |
    awk '$1 == "Remv" { print $2 }' | paste -sd' ') || die "apt can't install ${missing[*]}; its message is above"
  if [ -n "$removed" ]; then
    say "To install them, apt will remove: $removed"
    if [ -t 0 ]; then yes=(); fi
  fi
  # Its progress is for terminals; its errors are for everyone.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq "${yes[@]}" --no-install-recommends "${missing[@]}" \
    >"$([ -t 2 ] && echo /dev/stderr || echo /dev/null)" || die "apt could not install ${missing[*]}; its message is above"
}

# Installs PostgreSQL's programs, for guests to run, without the server that Debian's package otherwise makes and starts.
install_postgres() {
  local without=/etc/postgresql-common/createcluster.d/microvm-dev.conf
  command -v dpkg-query >/dev/null || return 0
  [ -n "$(missing_packages postgresql)" ] || return 0
  install_packages postgresql-common
  as_root mkdir -p "$(dirname "$without")"
  echo 'create_main_cluster = false' | as_root tee "$without" >/dev/null
  install_packages postgresql
  as_root rm "$without"
}

# Fails early, and with the remedy, where there is no Rust toolchain new enough.
need_rust() {
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
  if ! command -v cargo >/dev/null; then
    [ -x "$HOME/.cargo/bin/cargo" ] || die "there is no cargo; install Rust $wanted or newer with rustup"
    PATH=$HOME/.cargo/bin:$PATH
  fi
  found=$(cargo --version | awk '{ print $2 }') || die "cargo does not run; its message is above"
  [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n1)" = "$wanted" ] ||
    die "cargo is $found; Rust $wanted or newer is needed (\`rustup update\`)"
  link_statically
}

# Has cargo link all programs statically, if the libraries for it are there (`static=yes`): without libraries to load and
# relocate they start in half the time, and one build runs on every distribution. The target is named for it, so that
# what runs while building (macros, build scripts) is not meant; $built is where cargo then puts the programs.
link_statically() {
  local triple directory library
  triple=$(rustc -vV | sed -n 's/^host: //p')
  static=no built=$target/release
  for library in seccomp cap-ng; do
    directory=$(pkg-config --variable=libdir "lib$library" 2>/dev/null) || return 0
    [ -e "$directory/lib$library.a" ] || return 0
    case $library in
      seccomp) export LIBSECCOMP_LINK_TYPE=static LIBSECCOMP_LIB_PATH=$directory ;;
      cap-ng) export LIBCAPNG_LINK_TYPE=static LIBCAPNG_LIB_PATH=$directory ;;
    esac
  done
  static=yes built=$target/$triple/release
  export CARGO_BUILD_TARGET=$triple
  triple=${triple//-/_}
  # A loop for SHA-2, not the same code written out 80 times: QEMU translates it in each guest anew. Processors with
  # instructions for it use those.
  export "CARGO_TARGET_${triple^^}_RUSTFLAGS=-C target-feature=+crt-static --cfg sha2_backend_soft=\"compact\""
}

# need_component NAME COMMAND…: a rustup component that COMMAND shows to be there.
need_component() {
  local component=$1
  shift
  "$@" >/dev/null 2>&1 && return 0
  command -v rustup >/dev/null || die "Rust's $component is missing; install it with your toolchain"
  say "Adding Rust's $component."
  rustup component add "$component" >&2 || die "rustup could not add $component; its message is above"
}
