import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Proportional set size of the processes whose executable or command line matches, in MB: shared pages are counted once in all. */
export function memoryOf(pattern: RegExp): number {
  let kilobytes = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const executable = readlinkSync(`/proc/${pid}/exe`);
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (!pattern.test(executable) && !pattern.test(command)) continue;
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
    } catch {
      // Ended in between.
    }
  }
  return kilobytes / 1024;
}
