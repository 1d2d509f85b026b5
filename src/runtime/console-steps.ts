/** Handing a terminal's master to whoever listens on `--console-socket`. */
import { AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM } from '../kernel/constants.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Reg } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';

/** connect(2) to a unix socket; `path` in at most 107 bytes. */
export function connectUnix(b: PlanBuilder, path: string, doing: string): Reg {
  const bytes = Buffer.from(path);
  if (bytes.length > 107)
    throw new KeelsonError('invalid-argument', `${doing}: the path ${path} is longer than 107 bytes`);
  const address = Buffer.alloc(110);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  b.group('exec').doing(doing);
  const socket = b.sys('socket', [AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0]);
  b.sys('connect', [socket, b.blob(address, `{AF_UNIX, ${JSON.stringify(path)}}`), 110]);
  return socket;
}
