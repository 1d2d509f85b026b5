import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { accountNames, type ProcessFacts } from './process-table.ts';

export interface PsColumn {
  readonly title: string;
  value(process: ProcessFacts, host: HostNow): string;
}

/** What many rows share. */
export interface HostNow {
  readonly uptime: number;
  readonly now: number;
  readonly users: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, string>;
  readonly memory: number;
}

const ticks = 100;

export function hostNow(): HostNow {
  return {
    uptime: Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]),
    now: Date.now(),
    users: accountNames('/etc/passwd'),
    groups: accountNames('/etc/group'),
    memory: totalmem(),
  };
}

const two = (n: number): string => String(Math.floor(n)).padStart(2, '0');
const elapsed = (p: ProcessFacts, h: HostNow): number => Math.max(0, h.uptime - p.start / ticks);
const cpuPercent = (p: ProcessFacts, h: HostNow): number => (100 * p.cpu) / ticks / Math.max(elapsed(p, h), 1 / ticks);

function clock(seconds: number): string {
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function etime(seconds: number): string {
  const days = Math.floor(seconds / 86_400);
  const hours = Math.floor((seconds / 3600) % 24);
  const rest = `${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
  if (days > 0) return `${days}-${two(hours)}:${rest}`;
  return hours > 0 ? `${two(hours)}:${rest}` : rest;
}

/** The time of day for what began today, then the day, as ps(1) prints it. */
function startTime(p: ProcessFacts, h: HostNow): string {
  const at = new Date(h.now - elapsed(p, h) * 1000);
  if (h.now - at.getTime() < 86_400_000) return `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (at.getFullYear() !== new Date(h.now).getFullYear()) return String(at.getFullYear());
  return `${at.toLocaleString('en-US', { month: 'short' })}${two(at.getDate())}`;
}

/** dev_t of a terminal as its name (Documentation/admin-guide/devices.txt). */
function ttyName(device: number): string {
  const [major, minor] = [(device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00)];
  if (major >= 136 && major <= 143) return `pts/${(major - 136) * 256 + minor}`;
  if (major === 4) return minor < 64 ? `tty${minor}` : `ttyS${minor - 64}`;
  return '?';
}

function flags(p: ProcessFacts): string {
  const nice = p.nice < 0 ? '<' : p.nice > 0 ? 'N' : '';
  const leader = p.session === p.pid ? 's' : '';
  return `${p.state}${nice}${leader}${p.threads > 1 ? 'l' : ''}${p.foreground === p.group ? '+' : ''}`;
}

const column = (title: string, value: PsColumn['value']): PsColumn => ({ title, value });
const kib = (bytes: number): string => String(Math.floor(bytes / 1024));

/** By the words that `ps -o` takes. */
export const psColumns: Readonly<Record<string, PsColumn>> = {
  pid: column('PID', (p) => String(p.pid)),
  ppid: column('PPID', (p) => String(p.ppid)),
  pgid: column('PGID', (p) => String(p.group)),
  sid: column('SID', (p) => String(p.session)),
  uid: column('UID', (p) => String(p.uid)),
  gid: column('GID', (p) => String(p.gid)),
  user: column('USER', (p, h) => h.users.get(p.uid) ?? String(p.uid)),
  group: column('GROUP', (p, h) => h.groups.get(p.gid) ?? String(p.gid)),
  comm: column('COMMAND', (p) => p.command),
  args: column('COMMAND', (p) => p.argv),
  cmd: column('CMD', (p) => p.argv),
  c: column('C', (p, h) => String(Math.min(99, Math.floor(cpuPercent(p, h))))),
  pcpu: column('%CPU', (p, h) => cpuPercent(p, h).toFixed(1)),
  pmem: column('%MEM', (p, h) => ((100 * p.rss) / h.memory).toFixed(1)),
  vsz: column('VSZ', (p) => kib(p.vsize)),
  rss: column('RSS', (p) => kib(p.rss)),
  tty: column('TTY', (p) => ttyName(p.tty)),
  stat: column('STAT', flags),
  s: column('S', (p) => p.state),
  ni: column('NI', (p) => String(p.nice)),
  nlwp: column('NLWP', (p) => String(p.threads)),
  stime: column('STIME', startTime),
  start: column('START', startTime),
  time: column('TIME', (p) => clock(p.cpu / ticks)),
  bsdtime: column('TIME', (p) => `${Math.floor(p.cpu / ticks / 60)}:${two((p.cpu / ticks) % 60)}`),
  etime: column('ELAPSED', (p, h) => etime(elapsed(p, h))),
  etimes: column('ELAPSED', (p, h) => String(Math.floor(elapsed(p, h)))),
};

const aliases: Readonly<Record<string, string>> = {
  command: 'args',
  ucmd: 'comm',
  '%cpu': 'pcpu',
  '%mem': 'pmem',
  euser: 'user',
  uname: 'user',
  euid: 'uid',
  egid: 'gid',
  egroup: 'group',
  vsize: 'vsz',
  rssize: 'rss',
  rsz: 'rss',
  tt: 'tty',
  tname: 'tty',
  state: 's',
  nice: 'ni',
  thcount: 'nlwp',
  cputime: 'time',
  start_time: 'stime',
  bsdstart: 'start',
};

const full = ['user', 'pid', 'ppid', 'c', 'stime', 'tty', 'time', 'cmd'];
const bsd = ['user', 'pid', 'pcpu', 'pmem', 'vsz', 'rss', 'tty', 'stat', 'start', 'bsdtime', 'args'];

/** The columns that these arguments of ps(1) ask for; undefined for arguments that only ps itself understands. */
export function columnsFor(args: readonly string[]): readonly PsColumn[] | undefined {
  const words = args.length === 0 ? ['-ef'] : args.flatMap((arg) => arg.split(/\s+/)).filter((w) => w !== '');
  const text = words.join(' ');
  if (/^-(?:e|A|x|ax)?f$|^-e -f$|^-A -f$/.test(text)) {
    return full.map((name) =>
      name === 'user' ? { ...(psColumns['user'] as PsColumn), title: 'UID' } : (psColumns[name] as PsColumn),
    );
  }
  if (/^-?(?:a?u?x?u?)$/.test(text) && text.includes('u')) return bsd.map((name) => psColumns[name] as PsColumn);
  const list = /^(?:-?[eAax]+ )?(?:-[eAax]*o ?|o )([\w%,]+(?: -?o ?[\w%,]+)*)$/.exec(text)?.[1];
  if (list === undefined) return undefined;
  const names = list.split(/ -?o ?|,/).map((name) => aliases[name] ?? name);
  const columns = names.map((name) => psColumns[name]);
  return columns.every((c) => c !== undefined) ? columns : undefined;
}
