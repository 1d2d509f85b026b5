/** The last steps of a process, in order: streams, working directory, limits, user, gate, seccomp, capabilities, exec. */
import {
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  makedev,
  O_CLOEXEC,
  O_NOCTTY,
  O_RDWR,
  O_WRONLY,
  openFlags,
  PR_SET_DUMPABLE,
  PR_SET_PDEATHSIG,
  SIGKILL,
} from '../kernel/constants.ts';
import type { BlobRef, Label, Reg } from '../kernel/plan.ts';
import type { PlanBuilder, Rules } from '../kernel/plan-builder.ts';
import {
  becomeUser,
  capset,
  dropBounding,
  installSeccomp,
  newKeyring,
  noNewPrivileges,
  setCapabilities,
  type CapabilityNumbers,
} from './security.ts';
import { execWords } from './start-error.ts';
import { type Scheduling, setScheduling } from './scheduling-steps.ts';
import { usePipes, useTerminal, type Pipes } from './stdio.ts';

export interface ProcessInput {
  readonly args: readonly string[];
  /** `KEY=value`; PATH in it is where a bare command is looked for. */
  readonly env: readonly string[];
  readonly cwd: string;
  /** Make the working directory where it is missing, as docker does. */
  readonly createCwd: boolean;
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids: readonly number[] };
  readonly umask: number;
  readonly capabilities: CapabilityNumbers;
  /** The last capability that this kernel has, and those that the executor holds: no others can be given. */
  readonly lastCapability: number;
  readonly heldCapabilities: readonly number[];
  readonly rlimits: readonly {
    readonly resource: number;
    readonly name: string;
    readonly soft: bigint;
    readonly hard: bigint;
  }[];
  readonly noNewPrivileges: boolean;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
  readonly oomScoreAdj?: number;
  readonly consoleSize?: { readonly width: number; readonly height: number };
  /** setgroups(2) is denied in a user namespace mapped without newgidmap. */
  readonly setgroups: boolean;
  /** Run under keel as init: it reaps and forwards signals. */
  readonly init?: boolean;
}

/** Entries as in `env`, or blobs that hold one when the plan runs. */
export type Environment = readonly (string | BlobRef)[];

export interface ProcessWiring {
  /** Instead of `env`. */
  readonly environment?: Environment;
  readonly pipes: Pipes | undefined;
  readonly terminal: Reg | undefined;
  /** What the process waits on before it starts, and where it says that it does; without a gate it goes on at once. */
  readonly gate: Reg | undefined;
  readonly ready: Reg | undefined;
  /** What needs the host's /proc (labels, oom_score_adj) was done before the root was changed. */
  readonly procDone?: boolean;
  readonly userNamespace: boolean;
  readonly seccomp: { readonly filter: Uint8Array; readonly flags: number } | undefined;
  /** A process without a keeper, as an OCI runtime starts them. */
  readonly standalone?: Standalone;
}

export interface Standalone {
  /** Descriptors from 3 on that the program inherits. */
  readonly preserveFds: number;
  readonly newKeyring: boolean;
  /** Its maker is an ordinary user, who could not look at it otherwise while it waits: for `exec`. It has nothing of the maker's by then. */
  readonly visible?: boolean;
  /** The conversation with the planner, which nobody in a container may find: closed when nothing is left to say. */
  readonly channel?: number;
  readonly scheduling?: Scheduling;
  /** Right after the seccomp filter is in force, and before the start: passes on what listens to it. */
  readonly handOver?: (b: PlanBuilder, listener: Reg) => void;
  /** Between the start and the program. `confine`: the steps by which a child of this process becomes as confined as the program will be. */
  readonly beforeExec?: (b: PlanBuilder, confine: () => void) => void;
}

const CAP_DAC_OVERRIDE = 1;
const CAP_SYS_ADMIN = 21;

export function runProcess(b: PlanBuilder, p: ProcessInput & ProcessWiring): void {
  const { user } = p;
  const held = (list: readonly number[]) => list.filter((c) => p.heldCapabilities.includes(c));
  const sets: CapabilityNumbers = {
    bounding: p.capabilities.bounding,
    effective: held(p.capabilities.effective),
    permitted: held(p.capabilities.permitted),
    inheritable: held(p.capabilities.inheritable),
    ambient: held(p.capabilities.ambient),
  };
  const { channel, beforeExec } = p.standalone ?? {};
  const hangUp = () => channel !== undefined && b.group('exec').doing('leaving the planner').sys('close', [channel]);
  // A hook that fails says what it printed, as long as somebody hears it.
  const talks = beforeExec !== undefined && !p.gate;
  if (!talks) hangUp();
  streams(b, p);
  limits(b, p);
  if (p.standalone?.scheduling) setScheduling(b, p.standalone.scheduling);
  if (!p.procDone) scoreAndLabels(b, p);
  if (p.standalone?.newKeyring !== false) newKeyring(b.group('security'));
  const there = enterDirectory(b, p);
  dropBounding(b, sets.bounding, p.lastCapability);
  becomeUser(b, user, { setgroups: p.setgroups });
  workingDirectory(b, p, there);
  b.sys('umask', [p.umask]);
  // Sets the parent-death signal after the change of user, which would clear it. Not dumpable: what the process still has
  // open is out of reach of ptrace and /proc from inside (CVE-2016-9962) until exec.
  b.group('exec').doing('tying the process to its keeper');
  b.sys('prctl', [PR_SET_DUMPABLE, 0, 0, 0, 0]);
  if (!p.standalone) b.sys('prctl', [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  if (p.noNewPrivileges) noNewPrivileges(b);
  const self = p.init
    ? b.sys('openat', [AT_FDCWD, '/proc/self/exe', 0o12000000], { doing: 'opening keel as init' })
    : undefined;
  b.sys('close_range', [3 + (p.standalone?.preserveFds ?? 0), 0xffffffff, CLOSE_RANGE_CLOEXEC], {
    on: { ENOSYS: 'continue' },
  });
  // Without a program it is created, and never started (config.md#process).
  if (p.standalone && p.args.length > 0) findProgram(b, p, sets.effective.includes(CAP_DAC_OVERRIDE));
  // Who takes over what listens to the filter is there before the start only.
  const handOver = p.standalone?.handOver;
  if (handOver) confine(b, p, sets, (listener) => handOver(b, listener));
  if (p.gate && p.standalone?.visible)
    b.sys('prctl', [PR_SET_DUMPABLE, 1, 0, 0, 0], { doing: 'showing itself to its maker' });
  waitForGate(b, p);
  beforeExec?.(b, handOver ? () => {} : () => confine(b, p, sets));
  if (talks) hangUp();
  if (!handOver) confine(b, p, sets);
  execute(b, p, self);
}

/**
 * The filter comes last, so that it need not allow what sets capabilities; but without no_new_privs installing it takes one of those that are
 * given up then.
 */
function confine(
  b: PlanBuilder,
  p: ProcessInput & ProcessWiring,
  sets: CapabilityNumbers,
  handOver?: (listener: Reg) => void,
): void {
  if (p.noNewPrivileges) setCapabilities(b, sets);
  if (p.seccomp) {
    if (!p.noNewPrivileges && p.user.uid !== 0 && p.heldCapabilities.includes(CAP_SYS_ADMIN)) {
      b.group('security').doing('raising CAP_SYS_ADMIN to install the seccomp filter');
      capset(b, [CAP_SYS_ADMIN], [...new Set([...sets.permitted, CAP_SYS_ADMIN])], sets.inheritable);
    }
    const listener = installSeccomp(b, p.seccomp.filter, p.seccomp.flags);
    handOver?.(listener);
  }
  if (!p.noNewPrivileges) setCapabilities(b, sets);
}

function streams(b: PlanBuilder, p: ProcessInput & ProcessWiring): void {
  if (p.terminal) {
    useTerminal(b, p.terminal, { uid: p.user.uid, ...(p.consoleSize && { size: p.consoleSize }) });
    return;
  }
  b.sys('setsid', [], { on: { EPERM: 'continue' }, doing: 'starting a session' });
  if (p.standalone) ownStreams(b, p.user.uid);
  if (!p.pipes) return;
  const nul = b.sys('openat', [AT_FDCWD, '/dev/null', O_RDWR | O_CLOEXEC], { doing: 'opening /dev/null' });
  usePipes(b, p.pipes, nul, p.user.uid);
}

function limits(b: PlanBuilder, p: ProcessInput & Pick<ProcessWiring, 'standalone'>): void {
  b.group('exec');
  for (const { name, resource, soft, hard } of p.rlimits) {
    // Raising a hard limit needs CAP_SYS_RESOURCE; without it the process keeps what it has, and `create` has warned.
    b.sys('prlimit64', [0, resource, rlimit(b, soft, hard), 0], {
      doing: `error setting rlimit ${name} to ${soft}:${hard}`,
      on: p.standalone ? {} : { EPERM: 'continue' },
    });
  }
}

function rlimit(b: PlanBuilder, soft: bigint, hard: bigint): BlobRef {
  return b.struct(`{rlim_cur=${soft}, rlim_max=${hard}}`, 16, [
    [0, 8, soft],
    [8, 8, hard],
  ]);
}

/**
 * In a user namespace nobody may raise a hard limit: it is done on the way in. The rest comes later; what is small need not be raised, and
 * would be in the way until then.
 */
export function raiseLimits(b: PlanBuilder, { rlimits }: ProcessInput): void {
  b.group('exec');
  for (const { name, resource, hard } of rlimits) {
    if (hard < 1024n) continue;
    b.sys('prlimit64', [0, resource, rlimit(b, hard, hard), 0], {
      doing: `raising ${name} to ${hard}`,
      on: { any: 'continue' },
    });
  }
}

/** struct stat: st_rdev lies at 40 on x86_64 and at 32 on arm64. */
const statRdev = { x86_64: 40, aarch64: 32 } as const;

/**
 * Inherited standard streams belong to the user, so that /dev/stdout can be opened again; where that can't be, it can't. The host's
 * /dev/null stays whose it is: the container's takes its place, so that nothing of the host's mounts is left (CRIU would look for them).
 */
function ownStreams(b: PlanBuilder, uid: number): void {
  b.group('exec').doing('giving the standard streams to the user');
  const stat = b.blob(144, 'struct stat');
  const nul = makedev(1, 3);
  const device = () => b.peek({ ...stat, offset: statRdev[b.arch] }, 8, 'rdev');
  for (const fd of [0, 1, 2]) {
    const [next, isNull, other] = [b.label(), b.label(), b.label()];
    b.sys('fstat', [fd, stat], { on: { any: next } });
    b.branch(device(), '==', nul, isNull);
    if (uid !== 0) b.sys('fchown', [fd, uid, -1], { on: { any: 'continue' } });
    b.jump(next);
    b.place(isNull);
    const flags = O_RDWR | O_NOCTTY | O_CLOEXEC | openFlags(b.arch).O_NOFOLLOW;
    const own = b.sys('openat', [AT_FDCWD, '/dev/null', flags], { on: { any: next } });
    b.sys('fstat', [own, stat]);
    b.branch(device(), '!=', nul, other);
    b.sys('dup3', [own, fd, 0]);
    b.place(other);
    b.sys('close', [own]);
    b.place(next);
  }
}

/** By descriptors of the procfs that is mounted at /proc now. */
export function scoreAndLabels(b: PlanBuilder, p: ProcessInput): void {
  b.group('exec');
  if (p.oomScoreAdj !== undefined) {
    const fd = b.sys('openat', [AT_FDCWD, '/proc/self/oom_score_adj', O_WRONLY | O_CLOEXEC], {
      doing: 'setting oom_score_adj',
    });
    // Lowering needs CAP_SYS_RESOURCE; without it the process keeps what it has, as with runc in a user namespace.
    b.write(fd, String(p.oomScoreAdj), { on: { EACCES: 'continue', EPERM: 'continue' } });
    b.sys('close', [fd]);
  }
  b.group('security');
  labels(b, p);
}

function labels(b: PlanBuilder, p: ProcessInput): void {
  const set = (file: string, text: string, doing: string) => {
    const fd = b.sys('openat', [AT_FDCWD, file, O_WRONLY | O_CLOEXEC], { doing });
    b.write(fd, text, { doing });
    b.sys('close', [fd]);
  };
  if (p.apparmorProfile) {
    set(
      '/proc/self/attr/apparmor/exec',
      `exec ${p.apparmorProfile}`,
      `applying the AppArmor profile ${p.apparmorProfile}`,
    );
  }
  if (p.selinuxLabel) set('/proc/self/attr/exec', p.selinuxLabel, `applying the SELinux label ${p.selinuxLabel}`);
}

/**
 * As the executor, which may enter directories that the user may not. Where it may not itself, the user tries later. The register is 0 when
 * it is there.
 */
function enterDirectory(b: PlanBuilder, { cwd }: ProcessInput): Reg {
  b.group('exec').doing(`chdir to cwd (${JSON.stringify(cwd)}) failed`);
  return b.sys('chdir', [cwd], { on: { EACCES: 'continue' } });
}

/** The directory must lie inside: getcwd(2) says `(unreachable)…` for one that doesn't (CVE-2024-21626). */
function workingDirectory(b: PlanBuilder, p: ProcessInput, there: Reg): void {
  const [entered, inside] = [b.label(), b.label()];
  b.group('exec').doing(`chdir to cwd (${JSON.stringify(p.cwd)}) failed`);
  b.branch(there, '==', 0, entered);
  b.sys('chdir', [p.cwd]);
  b.place(entered);
  const buffer = b.blob(4096, 'cwd');
  b.sys('getcwd', [buffer, 4096]);
  b.branch(b.peek(buffer, 1, 'first'), '==', '/'.charCodeAt(0), inside);
  b.fail('ENOTDIR', `the working directory ${p.cwd} is outside the container`);
  b.place(inside);
}

/** Tells the executor that all is set up, then blocks until the keeper says go. End of file: there is no keeper any more. */
function waitForGate(b: PlanBuilder, p: ProcessWiring): void {
  b.group('exec').doing('waiting for the start');
  if (p.ready) {
    b.write(p.ready, 'r', { on: { EPIPE: 'continue' } });
    b.sys('close', [p.ready]);
  }
  if (!p.gate) return;
  const go = b.label();
  if (p.standalone) awaitGateOrSignal(b, p.gate);
  const count = b.sys('read', [p.gate, b.blob(1), 1]);
  b.branch(count, '==', 1, go);
  b.fail('ECANCELED', 'the container was not started');
  b.place(go);
}

/**
 * The first process of a pid namespace does not die of a signal that it has no handler for (pid_namespaces(7)), but what waits to be started is
 * to end when it is told to. Returns in the plan when the gate can be read.
 */
function awaitGateOrSignal(b: PlanBuilder, gate: Reg): void {
  const go = b.label();
  const SIG_BLOCK = 0;
  const SIG_UNBLOCK = 1;
  const POLLIN = 1;
  // HUP, INT, QUIT, USR1, USR2, PIPE, ALRM, TERM: what ends a process by default without being its own fault.
  const numbers = [1, 2, 3, 10, 12, 13, 14, 15];
  const mask = b.struct('[HUP INT QUIT USR1 USR2 PIPE ALRM TERM]', 8, [
    [0, 8, numbers.reduce((bits, signal) => bits | (1 << (signal - 1)), 0)],
  ]);
  b.sys('rt_sigprocmask', [SIG_BLOCK, mask, 0, 8], { on: { any: 'continue' } });
  const signals = b.sys('signalfd4', [-1, mask, 8, O_CLOEXEC], { on: { any: go } });
  const polled = b.struct('[{gate, POLLIN}, {signals, POLLIN}]', 16, [
    [0, 4, gate],
    [4, 2, POLLIN],
    [8, 4, signals],
    [12, 2, POLLIN],
  ]);
  b.sys('ppoll', [polled, 2, 0, 0, 8], { on: { any: go } });
  b.branch(b.peek({ ...polled, offset: 6 }, 2, 'gate'), '&', POLLIN, go);
  b.fail('EINTR', 'a signal came before the start');
  // A filter that is in force already may refuse all this.
  b.place(go);
  b.sys('close', [signals], { on: { any: 'continue' } });
  b.sys('rt_sigprocmask', [SIG_UNBLOCK, mask, 0, 8], { on: { any: 'continue' } });
}

/** The directories in which a bare command is looked for. */
function searchPath(p: ProcessInput): string[] {
  const path = p.env.findLast((e) => e.startsWith('PATH='))?.slice(5) ?? '';
  return path.split(':').filter((d) => d.startsWith('/'));
}

/**
 * Whether there is something to execute, for whoever waits for `create`: once the process waits at its gate nobody hears of its failure.
 * With the effective IDs, as execve(2) checks (faccessat2(2), Linux 5.8).
 */
function findProgram(b: PlanBuilder, p: ProcessInput, override: boolean): void {
  const [command = ''] = p.args;
  b.group('exec').doing(`exec: ${JSON.stringify(command)}`);
  const found = b.label();
  if (command.includes('/')) {
    checkProgram(b, command, { override, found });
  } else {
    for (const directory of searchPath(p)) {
      const missing = b.label();
      checkProgram(b, `${directory}/${command}`, { override, found, missing });
      b.place(missing);
    }
    b.fail('ENOENT', `exec: ${JSON.stringify(command)}: executable file not found in $PATH`);
  }
  b.place(found);
}

/**
 * Goes on at `found`, or at `missing`; without that one it fails. `override`: CAP_DAC_OVERRIDE will be effective after the start and isn't
 * yet, and with it all may be executed that is executable for somebody.
 */
function checkProgram(b: PlanBuilder, path: string, to: { override: boolean; found: Label; missing?: Label }): void {
  const AT_EACCESS = 0x200;
  const STATX_MODE = 3; // with the type; struct statx has it at 28
  const [directory, other] = [0o040000, 0o111];
  const wrong = to.missing && ({ any: to.missing } as const);
  const [refused, doubtful] = [to.missing ?? b.label(), b.label()];
  const status = b.blob(256);
  b.sys('statx', [AT_FDCWD, path, 0, STATX_MODE, status], {
    on: { ...(to.override && { EACCES: to.found }), ...wrong },
  });
  const mode = b.peek({ ...status, offset: 28 }, 2, 'mode');
  b.branch(mode, '&', directory, refused); // docker 20.10 knows no other word for it than execve(2)'s
  b.sys('faccessat2', [AT_FDCWD, path, 1, AT_EACCESS], { on: { ...(to.override && { EACCES: doubtful }), ...wrong } });
  b.jump(to.found);
  b.place(doubtful);
  b.branch(mode, '&', other, to.found);
  if (to.missing) {
    b.jump(to.missing);
    return;
  }
  b.place(refused);
  b.fail('EACCES');
}

/** execve(2), along PATH for a bare name as execvp(3) does: what is missing or may not be executed there is passed over. */
function execute(b: PlanBuilder, p: ProcessInput & ProcessWiring, self: Reg | undefined): void {
  const [command = ''] = p.args;
  b.group('exec').doing(`exec: ${JSON.stringify(command)}`);
  const envp = b.strings(p.environment ?? p.env);
  if (self) {
    b.sys('execveat', [self, '', b.strings(['keel', 'init', ...p.args]), envp, 0x1000]);
    return;
  }
  const argv = b.strings(p.args);
  if (command.includes('/')) {
    // Past the gate nobody hears of a failure but who reads the container's output.
    const told = p.standalone && p.gate ? lastWords(b) : undefined;
    b.sys('execve', [command, argv, envp], told ? { on: told.rules } : {});
    told?.say(command);
    return;
  }
  for (const directory of searchPath(p)) {
    b.sys('execve', [`${directory}/${command}`, argv, envp], {
      on: { ENOENT: 'continue', ENOTDIR: 'continue', EACCES: 'continue', ELOOP: 'continue', ENAMETOOLONG: 'continue' },
    });
  }
  b.fail('ENOENT', `exec: ${JSON.stringify(command)}: executable file not found in $PATH`);
}

/** For a process that can't be executed after all: it says so itself and exits with 255, as runc's does. */
function lastWords(b: PlanBuilder): { rules: Rules; say(command: string): void } {
  const exits = Object.fromEntries(['ENOENT', 'EACCES', 'ENOEXEC', 'any'].map((errno) => [errno, b.label()]));
  return {
    rules: exits,
    say(command) {
      for (const [errno, exit] of Object.entries(exits)) {
        b.place(exit);
        b.write(2, `exec ${command}: ${execWords[errno] ?? 'it cannot be executed'}\n`, { on: { any: 'continue' } });
        b.sys('exit_group', [255]);
      }
    },
  };
}
