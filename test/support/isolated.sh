#!/bin/sh
# Runs a command as root in a machine of its own as far as tests can see: own mounts, processes, network (loopback only), IPC, host
# name and cgroup tree, on this kernel. Whatever the command leaves behind ends with it, and what other work on the machine does
# is not seen, so that leak checks are exact.   usage: isolated.sh COMMAND [ARGUMENT…]
set -eu

cgroup_mounts() { grep -E '^[^ ]+ [^ ]+ cgroup2? ' /proc/mounts; }

if [ "${KEELSON_ISOLATED:-}" = inner ]; then
  export KEELSON_ISOLATED=yes
  # Each hierarchy again, as seen from the new cgroup namespace.
  cgroup_mounts | while read -r _ target type options _; do
    umount "$target"
    if [ "$type" = cgroup2 ]; then
      mount -t cgroup2 cgroup2 "$target"
    else
      # What is left of the options is the controllers, or a name.
      v1=$(echo "$options" | tr , '\n' | grep -vE '^(rw|ro|relatime|noatime|nosuid|nodev|noexec|xattr|clone_children|.*agent=.*)$' | paste -sd,)
      case $v1 in name=*) v1=none,$v1 ;; esac
      mount -t cgroup -o "$v1" cgroup "$target"
    fi
  done
  # A cgroup of v2 that has children with controllers may hold no process itself.
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir /sys/fs/cgroup/init
    echo 0 > /sys/fs/cgroup/init/cgroup.procs
    sed 's/[^ ]*/+&/g' /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
  fi
  ip link set lo up
  # Not exec: this shell is process 1 and reaps what loses its parent.
  status=0
  "$@" || status=$?
  exit $status
fi

seed_cpuset() { # a cpuset of v1 without processors or memory nodes takes no process
  for file in cpuset.cpus cpuset.mems; do
    if [ -e "$1/$file" ] && [ ! -e "$1/cgroup.controllers" ] && [ -z "$(cat "$1/$2/$file")" ]; then
      cat "$1/$file" > "$1/$2/$file"
    fi
  done
}

clean() { # removes the groups of tests that have ended, this one among them
  for top in $tops; do
    for group in "$top"/keelson/test-*; do
      [ -d "$group" ] || continue
      pid=${group##*/test-}
      if [ "$pid" != $$ ] && kill -0 "$pid" 2>/dev/null; then continue; fi
      find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  done
}

tops=$(cgroup_mounts | cut -d' ' -f2)
clean
groups=
for top in $tops; do
  mkdir -p "$top/keelson"
  seed_cpuset "$top" keelson
  mkdir -p "$top/keelson/test-$$"
  seed_cpuset "$top" "keelson/test-$$"
  groups="$groups $top/keelson/test-$$"
done
trap clean EXIT
trap 'exit 130' INT TERM

status=0
KEELSON_ISOLATED=inner sh -c '
  for group in $1; do echo 0 > "$group/cgroup.procs"; done
  shift
  exec unshare --mount --propagation private --net --ipc --uts --cgroup --pid --fork --kill-child --mount-proc "$@"
' sh "$groups" "$0" "$@" || status=$?
exit $status
