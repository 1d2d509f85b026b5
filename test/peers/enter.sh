#!/bin/sh
# Goes on in a Debian root directory, with the checkout at /keelson in it and a network that leads nowhere. The root stays as it is: changes
# go to memory, and so does what the engines store (/data). To be called inside test/support/isolated.sh.
# usage: enter.sh ROOT CHECKOUT COMMAND [ARGUMENT…]
set -eu
root=$1 checkout=$2
shift 2
# Container engines ask for a default route and an address of the host.
ip link add out0 type veth peer name out1
ip address add 192.0.2.1/24 dev out0
ip link set out0 up
ip link set out1 up
ip route add default via 192.0.2.254
echo 1 > /proc/sys/net/ipv4/ip_forward

# crun refuses a hybrid hierarchy in which version 2 has a controller; one that is mounted as version 1 is gone from there. It must lie with
# the others, or containerd finds none of them: in a directory of our own, the machine's stays as it is.
if [ "$(cat /sys/fs/cgroup/unified/cgroup.controllers 2>/dev/null)" = hugetlb ] || grep -q '^hugetlb.[1-9]' /proc/cgroups; then
  mount -t tmpfs -o mode=755 cgroup /mnt
  for group in /sys/fs/cgroup/*; do
    if [ -L "$group" ]; then cp -P "$group" /mnt; fi
    mountpoint -q "$group" || continue
    mkdir "/mnt/${group##*/}"
    mount --move "$group" "/mnt/${group##*/}"
  done
  mkdir -p /mnt/hugetlb
  mountpoint -q /mnt/hugetlb || mount -t cgroup -o hugetlb cgroup /mnt/hugetlb
  mount --move /mnt /sys/fs/cgroup
fi

# The tmpfs is mounted where this machine has a directory anyway, in our own mount namespace.
mount -t tmpfs -o mode=755 peers /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/data
mount -t overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mount --make-shared tmp
mkdir -p keelson data run/lock run/oldroot
mount --bind "$checkout" keelson
mount --bind /mnt/data data
pivot_root . run/oldroot
cd /
umount -l /run/oldroot
export HOME=/root TMPDIR=/tmp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@"
