import { readFileSync } from 'node:fs';

/** A process as /proc tells it. Times in clock ticks, of which there are 100 in a second on every architecture we run on. */
export interface ProcessFacts {
  readonly pid: number;
  readonly ppid: number;
  readonly uid: number;
  readonly gid: number;
  readonly command: string;
  readonly argv: string;
  readonly state: string;
  readonly tty: number;
  readonly session: number;
  readonly group: number;
  readonly foreground: number;
  readonly nice: number;
  readonly threads: number;
  readonly cpu: number;
  readonly start: number;
  readonly vsize: number;
  readonly rss: number;
}

/** Undefined for one that has ended meanwhile. */
export function processFacts(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [open, close] = [stat.indexOf('('), stat.lastIndexOf(')')];
    const fields = stat.slice(close + 2).split(' ');
    const number = (n: number): number => Number(fields[n - 3]); // numbered as in proc_pid_stat(5)
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const id = (name: string): number => Number(new RegExp(`^${name}:\\s+\\d+\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    const command = stat.slice(open + 1, close);
    const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return {
      pid,
      command,
      argv: argv === '' ? `[${command}]` : argv,
      state: fields[0] ?? '?',
      ppid: number(4),
      group: number(5),
      session: number(6),
      tty: number(7),
      foreground: number(8),
      cpu: number(14) + number(15),
      nice: number(19),
      threads: number(20),
      start: number(22),
      vsize: number(23),
      rss: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024,
      uid: id('Uid'),
      gid: id('Gid'),
    };
  } catch {
    return undefined;
  }
}

/** Names by id of the host's own passwd or group, which is what `ps` on the host would show. */
export function accountNames(file: '/etc/passwd' | '/etc/group'): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [name, , id] = line.split(':');
      if (name && id && !names.has(Number(id))) names.set(Number(id), name);
    }
  } catch {
    // numbers, then
  }
  return names;
}
