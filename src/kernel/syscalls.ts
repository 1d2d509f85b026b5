import { KeelsonError } from '../ground/errors.ts';
import { syscallTables } from './syscall-tables.ts';

/** The machines plans are made for. */
export type Arch = 'x86_64' | 'aarch64';

/** Every table there is: the machines, and what else their kernels accept system calls of. */
export type SyscallArch = Arch | 'i386' | 'x32' | 'arm';

/** Set in the number of every x32 system call; the table has it. */
export const x32Bit = 0x40000000;

interface Table {
  readonly byName: ReadonlyMap<string, number>;
  readonly byNumber: ReadonlyMap<number, string>;
}

const tables = new Map<SyscallArch, Table>();

function table(arch: SyscallArch): Table {
  let found = tables.get(arch);
  if (found) return found;
  const byName = new Map<string, number>();
  const byNumber = new Map<number, string>();
  const base = arch === 'x32' ? x32Bit : 0;
  let number = base;
  for (const word of syscallTables[arch].trim().split(/\s+/)) {
    const first = word.charCodeAt(0);
    if (first >= 0x30 && first <= 0x39) {
      number = base + Number(word);
      continue;
    }
    byName.set(word, number);
    byNumber.set(number, word);
    number++;
  }
  // asm/unistd.h of arm defines it as another name.
  const armCall = arch === 'arm' ? byName.get('arm_sync_file_range') : undefined;
  if (armCall !== undefined) byName.set('sync_file_range2', armCall);
  found = { byName, byNumber };
  tables.set(arch, found);
  return found;
}

/** The number of a system call, as of Linux 7.2; `unsupported` when this architecture has none of that name. */
export function syscallNumber(arch: SyscallArch, name: string): number {
  const number = findSyscall(arch, name);
  if (number === undefined) throw new KeelsonError('unsupported', `${arch} has no system call named ${name}`);
  return number;
}

/** The same, undefined for an unknown name. */
export function findSyscall(arch: SyscallArch, name: string): number | undefined {
  return table(arch).byName.get(name);
}

/** The name of a system call number (x32's with `x32Bit` set), undefined for a hole in the table. */
export function syscallName(arch: SyscallArch, number: number): string | undefined {
  return table(arch).byNumber.get(number);
}

/** All names of an architecture in the order of their numbers, each once. */
export function syscallNames(arch: SyscallArch): readonly string[] {
  return [...table(arch).byNumber.values()];
}

/** The architecture of this machine; `unsupported` for one that no plan can be made for. */
export function hostArch(machine: string = process.arch): Arch {
  if (machine === 'x64' || machine === 'x86_64') return 'x86_64';
  if (machine === 'arm64' || machine === 'aarch64') return 'aarch64';
  throw new KeelsonError('unsupported', `no system-call table for the architecture ${machine}`);
}
