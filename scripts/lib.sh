# shellcheck shell=bash
# What the scripts share. They source it and then stand in the project's root.

# shellcheck disable=SC2034  # for those who source this
caller_directory=$PWD
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root" || exit 1
# Debian keeps bpftool, ip and tcpstates in /usr/sbin, which is not on an ordinary user's PATH.
export PATH="$PATH:/usr/sbin:/sbin"

build_packages=(cmake ninja-build pkg-config g++ clang-19 bpftool libbpf-dev libelf-dev libdw-dev zlib1g-dev linux-libc-dev
  libcap-dev libncurses-dev libspdlog-dev libfmt-dev libcli11-dev libzstd-dev nlohmann-json3-dev)
test_packages=("${build_packages[@]}" catch2 clang-format-19 clang-tidy-19 python3 python3-jsonschema
  iproute2 procps util-linux libcap2-bin systemd python3-seccomp libclang-rt-19-dev tmux)
vm_packages=(qemu-system-x86 debian-archive-keyring busybox bpftool python3 python3-jsonschema iproute2 procps util-linux
  mount binutils)
fuzz_packages=("${build_packages[@]}" libclang-rt-19-dev)
# These start services of theirs when they are installed: never installed unasked.
real_software_packages=(nginx-light redis-server redis-tools curl)
keep_alive_packages=(redis-server redis-tools)
bench_packages=("${build_packages[@]}" libbpf-tools python3 iproute2 util-linux)

# The targets of tests/fuzz, by name.
fuzz_targets() {
  sed -nE 's/^closewatch_fuzz\(([a-z]+).*/\1/p' tests/fuzz/CMakeLists.txt
}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# missing_of PACKAGE... leaves those that are not installed in the array `missing`.
missing_of() {
  local package
  missing=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "no Debian package tools here; going on with what is installed. On Debian 12 this needs: $*"
    return
  fi
  for package in "$@"; do
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
}

say_install() {
  say "$1. Run this, then $0 again:"
  printf '  sudo apt-get update && sudo apt-get install -y --no-install-recommends %s\n' "${missing[*]}" >&2
}

# need_packages PACKAGE... installs those that are missing, without a question; where that takes another user, says
# what to run and ends. All of it goes to stderr: stdout belongs to the program that is run afterwards.
need_packages() {
  local missing
  missing_of "$@"
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    say_install "packages are missing, and only root can install them"
    exit 1
  fi
  say "installing ${missing[*]}"
  # One unreachable third-party source must not stop us: the install itself tells whether ours are there.
  apt-get update -qq >&2 </dev/null || say "apt-get update had errors; trying to install all the same"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 \
    "${missing[@]}" >&2 </dev/null || {
    say "could not install ${missing[*]}"
    exit 1
  }
}

# configure DIRECTORY [CMAKE OPTION...]
# A directory that is configured already keeps what it was configured with, except for what is given.
configure() {
  local directory=$1 first=()
  shift
  [[ -f $directory/CMakeCache.txt ]] || first=(-G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo)
  cmake -S . -B "$directory" "${first[@]}" "$@" >&2
}

# build_targets TARGET... in build/. The tests are scripts/test's to switch on: without them nothing but the program
# has to be there. A directory that is configured configures itself anew where that is called for.
build_targets() {
  [[ -f build/build.ninja ]] || configure build -DBUILD_TESTING=OFF
  cmake --build build --target "$@" >&2
}
