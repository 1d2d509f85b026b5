#!/bin/sh
# Goes on in a Debian root directory, with the checkout at /keelson in it, and a network that has a default route but leads nowhere.
# To be called inside test/support/isolated.sh.   usage: enter.sh ROOT CHECKOUT COMMAND [ARGUMENT…]
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

mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
mkdir -p keelson run/lock tmp/oldroot
mount --bind "$checkout" keelson
pivot_root . tmp/oldroot
cd /
umount -l /tmp/oldroot
export HOME=/root TMPDIR=/tmp PATH=/keelson/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec "$@"
