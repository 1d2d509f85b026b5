import { fstatSync } from 'node:fs';

/** The major number of /dev/null, /dev/zero and their kind. */
const memory = 1;

/**
 * Whether a descriptor is a terminal. Asks node:tty only where that can be: it loads Node's network and streams, 5 ms that a command in a
 * script doesn't need.
 */
export function isTerminal(fd: number): boolean {
  try {
    const info = fstatSync(fd);
    if (!info.isCharacterDevice() || ((info.rdev >> 8) & 0xfff) === memory) return false;
  } catch {
    return false;
  }
  return process.getBuiltinModule('node:tty').isatty(fd);
}
