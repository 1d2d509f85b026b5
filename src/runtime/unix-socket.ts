/** Unix sockets of others that a caller names: of a console, of a pidfd's receiver, of a seccomp agent, of a service manager. */
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_STREAM } from '../kernel/constants.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { BlobRef, Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

const types: Readonly<Record<'stream' | 'datagram', number>> = { stream: SOCK_STREAM, datagram: SOCK_DGRAM };

/** socket(2) and connect(2); `path` in at most 107 bytes, one that starts with `@` is of the abstract namespace. */
export function connectUnix(b: PlanBuilder, path: string, doing: string, type: keyof typeof types = 'stream'): Reg {
  const socket = openUnix(b, doing, type);
  const address = unixAddress(b, path, doing);
  b.sys('connect', [socket, address.at, address.size]);
  return socket;
}

/** A socket at a path that nobody has yet. */
export function bindUnix(b: PlanBuilder, path: string, doing: string, type: keyof typeof types): Reg {
  const socket = openUnix(b, doing, type);
  const address = unixAddress(b, path, doing);
  b.sys('bind', [socket, address.at, address.size]);
  return socket;
}

function openUnix(b: PlanBuilder, doing: string, type: keyof typeof types): Reg {
  b.group('exec').doing(doing);
  return b.sys('socket', [AF_UNIX, types[type] | SOCK_CLOEXEC, 0]);
}

/** struct sockaddr_un (unix(7)). */
function unixAddress(b: PlanBuilder, path: string, doing: string): { at: BlobRef; size: number } {
  const bytes = Buffer.from(path);
  if (bytes.length > 107)
    throw new KeelsonError('invalid-argument', `${doing}: the path ${path} is longer than 107 bytes`);
  const address = Buffer.alloc(110);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  const abstract = path.startsWith('@');
  if (abstract) address[2] = 0;
  return { at: b.blob(address, `{AF_UNIX, ${JSON.stringify(path)}}`), size: abstract ? 2 + bytes.length : 110 };
}
