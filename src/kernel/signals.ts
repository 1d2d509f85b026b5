import { KeelsonError } from '../ground/errors.ts';

/** Names without SIG at the index of their number; the same on x86_64 and arm64 (signal(7)). */
const names = [
  '',
  'HUP',
  'INT',
  'QUIT',
  'ILL',
  'TRAP',
  'ABRT',
  'BUS',
  'FPE',
  'KILL',
  'USR1',
  'SEGV',
  'USR2',
  'PIPE',
  'ALRM',
  'TERM',
  'STKFLT',
  'CHLD',
  'CONT',
  'STOP',
  'TSTP',
  'TTIN',
  'TTOU',
  'URG',
  'XCPU',
  'XFSZ',
  'VTALRM',
  'PROF',
  'WINCH',
  'IO',
  'PWR',
  'SYS',
] as const;

const aliases: Readonly<Record<string, number>> = { IOT: 6, CLD: 17, POLL: 29, UNUSED: 31 };

/** As the C library counts: the two below are its own. */
const rtMin = 34;
const rtMax = 64;

/**
 * The number of a signal given as `TERM`, `SIGTERM`, `15`, `RTMIN+3`, `RTMAX-1`, in any case, as docker's clients write it;
 * `invalid-argument` for anything else.
 */
export function signalNumber(signal: string): number {
  const word = signal.trim().toUpperCase();
  if (/^\d+$/.test(word)) {
    const number = Number(word);
    if (number >= 1 && number <= rtMax) return number;
  }
  const name = word.startsWith('SIG') ? word.slice(3) : word;
  const plain = (names as readonly string[]).indexOf(name);
  if (plain > 0) return plain;
  if (Object.hasOwn(aliases, name)) return aliases[name] as number;
  const realTime = /^(?:RTMIN(?:\+(\d{1,2}))?|RTMAX(?:-(\d{1,2}))?)$/.exec(name);
  if (realTime) {
    const number = name.startsWith('RTMIN') ? rtMin + Number(realTime[1] ?? 0) : rtMax - Number(realTime[2] ?? 0);
    if (number >= rtMin && number <= rtMax) return number;
  }
  throw new KeelsonError('invalid-argument', `invalid signal: ${signal}`);
}

/** `SIGTERM`; real-time ones as `SIGRTMIN+n`; a number outside of all as the number itself. */
export function signalName(number: number): string {
  const name = names[number];
  if (name) return `SIG${name}`;
  if (number === rtMin) return 'SIGRTMIN';
  return number > rtMin && number <= rtMax ? `SIGRTMIN+${number - rtMin}` : String(number);
}
