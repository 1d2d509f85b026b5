/** Standard streams of a container's process: pipes or a new pseudo-terminal of the container's own devpts. */
import {
  AF_UNIX,
  O_CLOEXEC,
  O_NOCTTY,
  O_RDWR,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  TIOCGPTPEER,
  TIOCSCTTY,
  TIOCSPTLCK,
  TIOCSWINSZ,
} from '../kernel/constants.ts';
import type { BlobRef, Reg, Value } from '../kernel/plan.ts';
import type { PlanBuilder } from '../kernel/plan-builder.ts';
import { attach, cloneTree } from './filesystem.ts';
import { ensureFile } from './in-root.ts';

/** Both ends of something, as registers. */
export interface Ends {
  readonly read: Reg;
  readonly write: Reg;
}

export function pipe(b: PlanBuilder, name: string): Ends {
  const pair = b.blob(8, `${name}[2]`);
  b.sys('pipe2', [pair, O_CLOEXEC]);
  return { read: b.peek(pair, 4, `${name}_read`), write: b.peek({ ...pair, offset: 4 }, 4, `${name}_write`) };
}

export function socketPair(b: PlanBuilder, name: string): { parent: Reg; child: Reg } {
  const pair = b.blob(8, `${name}[2]`);
  b.sys('socketpair', [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair]);
  return { parent: b.peek(pair, 4, `${name}_parent`), child: b.peek({ ...pair, offset: 4 }, 4, `${name}_child`) };
}

/** The streams before the clone: made by the parent, used by both. `null` standard input is opened by the child. */
export interface Pipes {
  readonly stdin: Ends | undefined;
  readonly stdout: Ends;
  readonly stderr: Ends;
}

export function makePipes(b: PlanBuilder, withStdin: boolean): Pipes {
  b.group('exec').doing('making the standard streams');
  return { stdin: withStdin ? pipe(b, 'stdin') : undefined, stdout: pipe(b, 'stdout'), stderr: pipe(b, 'stderr') };
}

/** In the child: puts the streams on 0, 1 and 2; they belong to the user, so that /dev/stdout can be opened again. */
export function usePipes(b: PlanBuilder, pipes: Pipes, devNull: Reg, uid: number): void {
  b.group('exec').doing('connecting the standard streams');
  const streams: [Reg, number][] = [
    [pipes.stdin ? pipes.stdin.read : devNull, 0],
    [pipes.stdout.write, 1],
    [pipes.stderr.write, 2],
  ];
  for (const [fd, number] of streams) {
    if (fd !== devNull && uid !== 0) b.sys('fchown', [fd, uid, -1], { on: { any: 'continue' } });
    b.sys('dup3', [fd, number, 0]);
  }
}

/** In the child: a new pty from the devpts at `devpts`; returns both ends. `TIOCGPTPEER` needs no path (CVE-2025-52565). */
export function openTerminal(b: PlanBuilder, ptmx: Reg): { master: Reg; slave: Reg } {
  b.group('exec').doing('opening a terminal');
  const unlock = b.blob(4, '[0]');
  b.sys('ioctl', [ptmx, TIOCSPTLCK, unlock]);
  const slave = b.sys('ioctl', [ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC]);
  return { master: ptmx, slave };
}

/** In the child: makes the slave the controlling terminal and standard streams; also bind-mounted on /dev/console. */
export function useTerminal(
  b: PlanBuilder,
  slave: Reg,
  options: { uid: number; size?: { width: number; height: number } },
): void {
  b.group('exec').doing('connecting the terminal');
  if (options.size) {
    const { width, height } = options.size;
    const winsize = b.struct(`{ws_row=${height}, ws_col=${width}}`, 8, [
      [0, 2, height],
      [2, 2, width],
    ]);
    b.sys('ioctl', [slave, TIOCSWINSZ, winsize]);
  }
  if (options.uid !== 0) b.sys('fchown', [slave, options.uid, -1], { on: { any: 'continue' } });
  b.sys('setsid', [], { on: { EPERM: 'continue' } });
  b.sys('ioctl', [slave, TIOCSCTTY, 0]);
  for (const number of [0, 1, 2]) b.sys('dup3', [slave, number, 0]);
}

/** No carriage returns for whoever relays the terminal's output to something that is none: of the output modes only OPOST stays. */
export function plainOutput(b: PlanBuilder, terminal: Reg): void {
  const TCGETS = 0x5401;
  const TCSETS = 0x5402;
  const OPOST = 1;
  const termios = b.blob(64, 'struct termios');
  b.sys('ioctl', [terminal, TCGETS, termios]);
  b.poke({ ...termios, offset: 4 }, 4, OPOST);
  b.sys('ioctl', [terminal, TCSETS, termios]);
}

export function mountConsole(b: PlanBuilder, root: Value, slave: Reg): void {
  b.group('devices').doing('mounting the terminal on /dev/console');
  const target = ensureFile(b, root, '/dev/console');
  const tree = cloneTree(b, slave, '');
  attach(b, tree, target);
  b.sys('close', [tree]);
  b.sys('close', [target]);
}

/** struct msghdr with some data and room for one descriptor (sendmsg(2), cmsg(3)); the same layout on both architectures. */
function message(b: PlanBuilder, fd: Value | undefined, text: string = 'f'): { header: BlobRef; control: BlobRef } {
  const bytes = Buffer.from(text);
  const data = b.blob(bytes, JSON.stringify(text));
  const iov = b.struct(`[{…, ${bytes.length}}]`, 16, [
    [0, 8, data],
    [8, 8, bytes.length],
  ]);
  const control = b.struct('{cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS}', 24, [
    [0, 8, 20],
    [8, 4, 1],
    [12, 4, 1],
    ...(fd === undefined ? [] : ([[16, 4, fd]] as const)),
  ]);
  const header = b.struct('{msg_iov=…, msg_control=SCM_RIGHTS}', 56, [
    [16, 8, iov],
    [24, 8, 1],
    [32, 8, control],
    [40, 8, 24],
  ]);
  return { header, control };
}

/** `text` goes with it, for a receiver that reads what it is told. */
export function sendDescriptor(b: PlanBuilder, socket: Value, fd: Value, text?: string): void {
  b.sys('sendmsg', [socket, message(b, fd, text).header, 0]);
}

/** The descriptor is in the register; `received` is 0 when the other side has gone. */
export function receiveDescriptor(b: PlanBuilder, socket: Value): { received: Reg; fd: Reg } {
  const { header, control } = message(b, undefined);
  const MSG_CMSG_CLOEXEC = 0x40000000;
  const received = b.sys('recvmsg', [socket, header, MSG_CMSG_CLOEXEC]);
  return { received, fd: b.peek({ ...control, offset: 16 }, 4, 'terminal') };
}
