import { SOCK_CLOEXEC } from '../kernel/constants.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP_RUNNING = 0x41;

/** In the child: a new network namespace has nothing but its loopback device, and that one down (netdevice(7), struct ifreq). */
export function loopbackUp(b: PlanBuilder): void {
  b.group('network').doing('bringing up the loopback device');
  const request = Buffer.alloc(40);
  request.write('lo', 0);
  request.writeUInt16LE(IFF_UP_RUNNING, 16);
  const socket = b.sys('socket', [AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0]);
  b.sys('ioctl', [socket, SIOCSIFFLAGS, b.blob(request, '{ifr_name="lo", ifr_flags=IFF_UP}')]);
  b.sys('close', [socket]);
}
