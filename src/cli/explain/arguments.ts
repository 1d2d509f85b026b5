import { capabilityNames } from '../../kernel/capabilities.ts';
import { signalName } from '../../kernel/signals.ts';
import type { Plan, Value } from '../../kernel/plan.ts';
import * as words from './flag-words.ts';

/** How a number in a place of a system call is shown. */
type Place =
  | 'int'
  | 'descriptor'
  | 'pointer'
  | 'mode'
  | 'open'
  | 'device'
  | 'socket'
  | 'signal'
  | { readonly bits: words.Words }
  | { readonly name: Readonly<Record<number, string>> | readonly string[] };

const named = (table: Readonly<Record<number, string>> | readonly string[]): Place => ({ name: table });
const flags = (table: words.Words): Place => ({ bits: table });
const path = 'pointer';

/** The places of the system calls that plans are made of; others are shown as they are. */
const calls: Readonly<Record<string, readonly Place[]>> = {
  bind: ['descriptor', path],
  capset: [path, path],
  chdir: [path],
  chroot: [path],
  close: ['descriptor'],
  close_range: ['int', 'int', flags(words.closeRangeWords)],
  connect: ['descriptor', path],
  dup3: ['descriptor', 'descriptor', 'open'],
  execve: [path, path, path],
  execveat: ['descriptor', path, path, path, flags(words.atWords)],
  fchdir: ['descriptor'],
  fchmodat: ['descriptor', path, 'mode'],
  fchown: ['descriptor'],
  fchownat: ['descriptor', path, 'int', 'int', flags(words.atWords)],
  fcntl: ['descriptor', named(words.named.fcntl)],
  fsconfig: ['descriptor', named(words.named.fsconfig), path, path, 'int'],
  fsmount: ['descriptor', flags(words.fsmountWords), flags(words.mountAttributeWords)],
  fsopen: [path, flags(words.fsopenWords)],
  ioctl: ['descriptor', named(words.named.ioctl)],
  keyctl: [named(words.named.keyctl), path],
  kill: ['int', 'signal'],
  mkdirat: ['descriptor', path, 'mode'],
  mknodat: ['descriptor', path, 'mode', 'device'],
  mount: [path, path, path, flags(words.mountWords), path],
  mount_setattr: ['descriptor', path, flags(words.atWords)],
  move_mount: ['descriptor', path, 'descriptor', path, flags(words.moveMountWords)],
  open_tree: ['descriptor', path, flags(words.openTreeWords)],
  openat: ['descriptor', path, 'open', 'mode'],
  openat2: ['descriptor', path, path],
  pipe2: [path, 'open'],
  pivot_root: [path, path],
  prctl: [named(words.named.prctl)],
  prlimit64: ['int', named(words.named.rlimit), path, path],
  read: ['descriptor', path],
  recvmsg: ['descriptor', path],
  seccomp: [named(words.named.seccomp), flags(words.seccompFlagWords), path],
  sendmsg: ['descriptor', path],
  setdomainname: [path],
  setgroups: ['int', path],
  sethostname: [path],
  setns: ['descriptor', flags(words.cloneWords)],
  setsockopt: ['descriptor'],
  socket: [named(words.named.family), 'socket'],
  socketpair: [named(words.named.family), 'socket', 'int', path],
  symlinkat: [path, 'descriptor', path],
  umask: ['mode'],
  umount2: [path, flags(words.umountWords)],
  unlinkat: ['descriptor', path, flags(words.atWords)],
  unshare: [flags(words.cloneWords)],
  wait4: ['int', path],
  writev: ['descriptor', path],
};

const fileTypes: Readonly<Record<number, string>> = {
  0o010000: 'S_IFIFO',
  0o020000: 'S_IFCHR',
  0o040000: 'S_IFDIR',
  0o060000: 'S_IFBLK',
  0o100000: 'S_IFREG',
  0o120000: 'S_IFLNK',
  0o140000: 'S_IFSOCK',
};

function octal(mode: number): string {
  return mode === 0 ? '0' : `0${mode.toString(8)}`;
}

/** What prctl's second argument means depends on the first. */
function prctlArgument(option: unknown, value: number): string | undefined {
  switch (option) {
    case 1:
      return signalName(value);
    case 23:
    case 24:
      return capabilityNames[value];
    case 47:
      return ['', 'PR_CAP_AMBIENT_IS_SET', 'PR_CAP_AMBIENT_RAISE', 'PR_CAP_AMBIENT_LOWER', 'PR_CAP_AMBIENT_CLEAR_ALL'][
        value
      ];
    default:
      return undefined;
  }
}

/** A number, as the `index`th argument of a system call. */
export function argumentText(
  arch: Plan['arch'],
  { name: call, args }: { readonly name: string; readonly args: readonly Value[] },
  index: number,
  value: number | bigint,
): string {
  const number = BigInt.asIntN(64, BigInt(value));
  if (call === 'prctl' && index === 1) return prctlArgument(args[0], Number(number)) ?? String(number);
  if (call === 'prctl' && index === 2 && args[0] === 47) return capabilityNames[Number(number)] ?? String(number);
  const place = calls[call]?.[index] ?? 'int';
  if (typeof place === 'object') {
    if ('bits' in place) return words.bits(number, place.bits);
    const table: Readonly<Record<number, string>> = place.name;
    return table[Number(number)] ?? String(number);
  }
  switch (place) {
    case 'descriptor':
      return number === -100n ? 'AT_FDCWD' : String(number);
    case 'pointer':
      return number === 0n ? 'NULL' : `0x${BigInt.asUintN(64, number).toString(16)}`;
    case 'mode': {
      const type = fileTypes[Number(number) & 0o170000];
      return type === undefined ? octal(Number(number)) : `${type}|${octal(Number(number) & 0o7777)}`;
    }
    case 'open': {
      const access = (number & 3n) === 0n && call === 'openat' && (number & 0o10000000n) === 0n ? 'O_RDONLY' : '';
      const rest = words.bits(number, words.openWords[arch], '');
      return [access, rest].filter((part) => part !== '').join('|') || '0';
    }
    case 'device': {
      const major = Number((number >> 8n) & 0xfffn);
      const minor = Number((number & 0xffn) | ((number >> 12n) & 0xfff00n));
      return `makedev(${major}, ${minor})`;
    }
    case 'socket': {
      const sockets: Readonly<Record<number, string>> = words.named.socket;
      const extra = words.bits(number & ~0xfn, words.socketTypeWords, '');
      return [sockets[Number(number & 0xfn)] ?? String(number & 0xfn), extra].filter((part) => part !== '').join('|');
    }
    default:
      return String(number);
  }
}
