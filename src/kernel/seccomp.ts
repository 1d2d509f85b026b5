import { KeelsonError } from '../ground/errors.ts';
import type {
  LinuxSeccomp,
  LinuxSeccompAction,
  LinuxSeccompArch,
  LinuxSeccompArg,
  LinuxSyscall,
} from '../spec/runtime.ts';
import { BpfAssembler, instructionSize, maxInstructions, type Place } from './bpf.ts';
import { multiplexed } from './seccomp-multiplexed.ts';
import { type Arch, findSyscall, type SyscallArch, x32Bit } from './syscalls.ts';

// struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}
const offsetNumber = 0;
const offsetArch = 4;
const offsetArguments = 16;

/** What a filter returns for each action (linux/seccomp.h); the low 16 bits hold an errno where the action has one. */
const returnValues: Readonly<Record<LinuxSeccompAction, number>> = {
  SCMP_ACT_KILL: 0x00000000,
  SCMP_ACT_KILL_THREAD: 0x00000000,
  SCMP_ACT_KILL_PROCESS: 0x80000000,
  SCMP_ACT_TRAP: 0x00030000,
  SCMP_ACT_ERRNO: 0x00050000,
  SCMP_ACT_NOTIFY: 0x7fc00000,
  SCMP_ACT_TRACE: 0x7ff00000,
  SCMP_ACT_LOG: 0x7ffc0000,
  SCMP_ACT_ALLOW: 0x7fff0000,
};
const EPERM = 1;
const ENOSYS = 38;
/** For calls of an architecture that the profile doesn't list; libseccomp's choice. */
const badArchitecture = returnValues.SCMP_ACT_KILL_THREAD;

/** AUDIT_ARCH_* (linux/audit.h) and the tables whose calls come under it, with the profile's name of each. */
interface Machine {
  readonly audit: number;
  readonly tables: readonly { readonly name: LinuxSeccompArch; readonly table: SyscallArch; readonly wide: boolean }[];
}

const machines: Readonly<Record<Arch, readonly Machine[]>> = {
  x86_64: [
    {
      audit: 0xc000003e,
      tables: [
        { name: 'SCMP_ARCH_X86_64', table: 'x86_64', wide: true },
        { name: 'SCMP_ARCH_X32', table: 'x32', wide: false },
      ],
    },
    { audit: 0x40000003, tables: [{ name: 'SCMP_ARCH_X86', table: 'i386', wide: false }] },
  ],
  aarch64: [
    { audit: 0xc00000b7, tables: [{ name: 'SCMP_ARCH_AARCH64', table: 'aarch64', wide: true }] },
    { audit: 0x40000028, tables: [{ name: 'SCMP_ARCH_ARM', table: 'arm', wide: false }] },
  ],
};

const nativeName: Readonly<Record<Arch, LinuxSeccompArch>> = {
  x86_64: 'SCMP_ARCH_X86_64',
  aarch64: 'SCMP_ARCH_AARCH64',
};

/** One rule about one call, ready to be judged: all conditions must hold. */
interface Judgement {
  readonly conditions: readonly LinuxSeccompArg[];
  readonly returns: number;
}

/** What becomes of a call: the first judgement whose conditions hold, else `otherwise`. */
interface Verdict {
  readonly judgements: readonly Judgement[];
  readonly otherwise: number;
}

/** All verdicts of a table, and what becomes of numbers without one: below and above the highest that has one. */
interface TableVerdicts {
  readonly table: SyscallArch;
  /** Arguments have 64 bits; else the lower 32 count, as libseccomp has it. */
  readonly wide: boolean;
  readonly verdicts: ReadonlyMap<number, Verdict>;
  readonly unknown: number;
  readonly beyond: number;
}

/**
 * Compiles `linux.seccomp` to a seccomp filter: struct sock_filter[], at most 4096 of them.
 *
 * As runc and libseccomp have it: names that an architecture doesn't know are left out; a rule with the default action says nothing;
 * a rule without conditions counts before all with conditions on the same call, whatever their order, and of two the first counts;
 * several conditions on one argument are alternatives. Calls newer than every one the profile names return ENOSYS instead of the
 * default action, so that C libraries fall back (glibc's clone3, 2021), unless the default lets calls pass.
 */
export function compileSeccomp(seccomp: LinuxSeccomp, arch: Arch): Uint8Array {
  checkProfile(seccomp);
  const b = new BpfAssembler();
  b.load(offsetArch);
  for (const machine of machines[arch]) {
    const wanted = tableVerdicts(seccomp, arch, machine);
    if (wanted.length === 0) continue;
    const next = b.place();
    b.test('==', machine.audit, { no: next });
    b.load(offsetNumber);
    emitTree(b, intervals(wanted));
    b.put(next);
    // Whoever jumps here comes from the test of the architecture, which is still loaded.
  }
  b.ret(badArchitecture);
  const program = b.assemble();
  if (program.length / instructionSize > maxInstructions) {
    throw new KeelsonError(
      'unsupported',
      `the seccomp profile compiles to ${program.length / instructionSize} instructions; the kernel takes ${maxInstructions}`,
    );
  }
  return program;
}

/** Flags for seccomp(2). Without any in the profile: no slowing mitigation of Speculative Store Bypass, as runc. */
export function seccompFlags(seccomp: LinuxSeccomp): number {
  const bits = {
    SECCOMP_FILTER_FLAG_TSYNC: 0, // there is one thread only when the filter is set
    SECCOMP_FILTER_FLAG_LOG: 2,
    SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 32,
  };
  const newListener = 8;
  const flags = (seccomp.flags ?? ['SECCOMP_FILTER_FLAG_SPEC_ALLOW']).reduce((all, flag) => all | bits[flag], 0);
  // The kernel takes the flag about its listener only with one.
  return notifies(seccomp) ? flags | newListener : flags & ~bits.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
}

/** Names in the profile that no architecture it is for has. */
export function unknownCalls(seccomp: LinuxSeccomp, arch: Arch): readonly string[] {
  const listed = new Set<LinuxSeccompArch>([...(seccomp.architectures ?? []), nativeName[arch]]);
  const tables = machines[arch].flatMap((m) => m.tables).filter(({ name }) => listed.has(name));
  const names = new Set(seccomp.syscalls?.flatMap((rule) => rule.names));
  return [...names].filter((name) => !tables.some(({ table }) => findSyscall(table, name) !== undefined));
}

/** True when some call is to be judged by an agent behind `listenerPath`. */
export function notifies(seccomp: LinuxSeccomp): boolean {
  return seccomp.syscalls?.some((rule) => rule.action === 'SCMP_ACT_NOTIFY') ?? false;
}

function checkProfile(seccomp: LinuxSeccomp): void {
  const refuse = (message: string): never => {
    throw new KeelsonError('invalid-argument', `seccomp profile: ${message}`);
  };
  if (seccomp.defaultAction === 'SCMP_ACT_NOTIFY') refuse('SCMP_ACT_NOTIFY cannot be the default action');
  for (const rule of seccomp.syscalls ?? []) {
    // The filter's listener has to be handed over after the filter is in force.
    if (rule.action === 'SCMP_ACT_NOTIFY' && rule.names.includes('write'))
      refuse('SCMP_ACT_NOTIFY cannot be used for the write syscall');
    for (const { index } of rule.args ?? []) {
      if (!Number.isInteger(index) || index < 0 || index > 5)
        refuse(`a system call has arguments 0 to 5, not ${index}`);
    }
  }
  if (notifies(seccomp) && seccomp.listenerPath === undefined) refuse('SCMP_ACT_NOTIFY needs listenerPath');
}

function returnValue(action: LinuxSeccompAction, errno: number | undefined): number {
  const takesErrno = action === 'SCMP_ACT_ERRNO' || action === 'SCMP_ACT_TRACE';
  return (returnValues[action] | (takesErrno ? (errno ?? EPERM) & 0xffff : 0)) >>> 0;
}

/** The verdicts on a machine's calls, for the architectures that the profile lists; the native one always counts as listed. */
function tableVerdicts(seccomp: LinuxSeccomp, arch: Arch, { tables }: Machine): readonly TableVerdicts[] {
  const listed = new Set<LinuxSeccompArch>([...(seccomp.architectures ?? []), nativeName[arch]]);
  return tables
    .filter(({ name }) => listed.has(name))
    .map(({ table, wide }) => {
      const unknown = returnValue(seccomp.defaultAction, seccomp.defaultErrnoRet);
      const lets = ['SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_TRACE'].includes(seccomp.defaultAction);
      const beyond = lets ? unknown : returnValue('SCMP_ACT_ERRNO', ENOSYS);
      return { table, wide, verdicts: verdictsOf(seccomp, table, unknown), unknown, beyond };
    });
}

function verdictsOf(seccomp: LinuxSeccomp, table: SyscallArch, fallback: number): ReadonlyMap<number, Verdict> {
  const found = new Map<number, { judgements: Judgement[]; always: number | undefined }>();
  for (const { name, alternatives, returns } of flatten(seccomp.syscalls ?? [], table)) {
    const number = findSyscall(table, name);
    if (number === undefined) continue;
    let entry = found.get(number);
    if (!entry) found.set(number, (entry = { judgements: [], always: undefined }));
    if (returns === fallback) continue;
    for (const conditions of alternatives) {
      if (conditions.length === 0) entry.always ??= returns;
      else entry.judgements.push({ conditions, returns });
    }
  }
  const verdicts = new Map<number, Verdict>();
  for (const [number, { judgements, always }] of found) {
    verdicts.set(
      number,
      always === undefined ? { judgements, otherwise: fallback } : { judgements: [], otherwise: always },
    );
  }
  return verdicts;
}

interface FlatRule {
  readonly name: string;
  /** Lists of conditions, each list enough on its own; one empty list for none. */
  readonly alternatives: readonly (readonly LinuxSeccompArg[])[];
  readonly returns: number;
}

/** Rules one name each. On i386, sockets and System V IPC can be reached by socketcall(2) and ipc(2) as well. */
function* flatten(rules: readonly LinuxSyscall[], table: SyscallArch): Generator<FlatRule> {
  for (const rule of rules) {
    const args = rule.args ?? [];
    const shared = new Set(args.map((arg) => arg.index)).size < args.length;
    const alternatives = shared ? args.map((arg) => [arg]) : [args];
    const returns = returnValue(rule.action, rule.errnoRet);
    for (const name of rule.names) {
      yield { name, alternatives, returns };
      const through = table === 'i386' ? multiplexed(name) : undefined;
      // Arguments lie in memory there, where a filter can't look: what is forbidden under a condition is forbidden altogether,
      // and what is allowed under one is not.
      const lets = rule.action === 'SCMP_ACT_ALLOW' || rule.action === 'SCMP_ACT_LOG';
      if (through && (args.length === 0 || !lets)) {
        yield { name: through.call, alternatives: [[through.condition]], returns };
      }
    }
  }
}

/** From a number on, up to the next interval's: one verdict. */
interface Interval {
  readonly from: number;
  readonly verdict: Verdict;
  readonly wide: boolean;
}

/** The whole range of numbers, 0 to 2^32-1, without two neighbours that are the same. */
function intervals(tables: readonly TableVerdicts[]): readonly Interval[] {
  const result: Interval[] = [];
  const add = (from: number, verdict: Verdict, wide: boolean) => {
    const last = result.at(-1);
    const same = last && last.verdict.otherwise === verdict.otherwise;
    if (same && last.verdict.judgements.length === 0 && verdict.judgements.length === 0) return;
    if (last?.from === from) result.pop();
    result.push({ from, verdict, wide });
  };
  const plain = (otherwise: number): Verdict => ({ judgements: [], otherwise });
  const hasX32 = tables.some((t) => t.table === 'x32');
  const x86 = tables.some((t) => t.table === 'x86_64');
  for (const { table, wide, verdicts, unknown, beyond } of tables) {
    const base = table === 'x32' ? x32Bit : 0;
    const numbers = [...verdicts.keys()].sort((a, b) => a - b);
    add(base, plain(unknown), wide);
    let next = base;
    for (const number of numbers) {
      if (number > next) add(next, plain(unknown), wide);
      add(number, verdicts.get(number) as Verdict, wide);
      next = number + 1;
    }
    // A profile that names none of this table's calls was not written with it in mind.
    if (numbers.length > 0) add(next, plain(beyond), wide);
    // Calls of x32 look like x86_64's but for one bit of the number. A tracer that makes a call be skipped sets -1.
    if (x86 && !hasX32) add(x32Bit, plain(badArchitecture), wide);
    if (x86 && !hasX32) add(0xffffffff, plain(beyond), wide);
  }
  return result;
}

/** Binary search; the number is loaded. */
function emitTree(b: BpfAssembler, list: readonly Interval[]): void {
  const [first] = list;
  if (list.length === 1 && first) {
    emitVerdict(b, first);
    return;
  }
  const middle = list.length >> 1;
  const right = b.place();
  b.test('>=', (list[middle] as Interval).from, { yes: right });
  emitTree(b, list.slice(0, middle));
  b.put(right);
  emitTree(b, list.slice(middle));
}

function emitVerdict(b: BpfAssembler, { verdict, wide }: Interval): void {
  for (const { conditions, returns } of verdict.judgements) {
    const fail = b.place();
    for (const condition of conditions) emitCondition(b, condition, wide, fail);
    b.ret(returns);
    b.put(fail);
  }
  b.ret(verdict.otherwise);
}

/** Goes on when the condition holds, else to `fail`. Little endian; 64 bits are compared half by half. */
function emitCondition(
  b: BpfAssembler,
  { index, value, valueTwo, op }: LinuxSeccompArg,
  wide: boolean,
  fail: Place,
): void {
  const offset = offsetArguments + 8 * index;
  const [high, low] = halves(BigInt(value));
  const pass = b.place();
  const loadLow = () => b.load(offset);
  const loadHigh = () => b.load(offset + 4);
  switch (op) {
    case 'SCMP_CMP_MASKED_EQ': {
      const [wantHigh, wantLow] = halves(BigInt(valueTwo ?? 0) & BigInt(value));
      if (wide && high !== 0) {
        loadHigh();
        b.and(high);
        b.test('==', wantHigh, { no: fail });
      }
      loadLow();
      b.and(low);
      b.test('==', wantLow, { no: fail });
      break;
    }
    case 'SCMP_CMP_EQ':
      if (wide) {
        loadHigh();
        b.test('==', high, { no: fail });
      }
      loadLow();
      b.test('==', low, { no: fail });
      break;
    case 'SCMP_CMP_NE':
      if (wide) {
        loadHigh();
        b.test('==', high, { no: pass });
      }
      loadLow();
      b.test('==', low, { yes: fail });
      break;
    case 'SCMP_CMP_GT':
    case 'SCMP_CMP_GE':
      if (wide) {
        loadHigh();
        b.test('>', high, { yes: pass });
        b.test('==', high, { no: fail });
      }
      loadLow();
      b.test(op === 'SCMP_CMP_GT' ? '>' : '>=', low, { no: fail });
      break;
    case 'SCMP_CMP_LT':
    case 'SCMP_CMP_LE':
      if (wide) {
        loadHigh();
        b.test('>', high, { yes: fail });
        b.test('==', high, { no: pass });
      }
      loadLow();
      b.test(op === 'SCMP_CMP_LT' ? '>=' : '>', low, { yes: fail });
      break;
  }
  b.put(pass);
}

function halves(value: bigint): [high: number, low: number] {
  return [Number((value >> 32n) & 0xffffffffn), Number(value & 0xffffffffn)];
}
