import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { O_CLOEXEC } from '../../src/kernel/constants.ts';
import type { Kept } from '../../src/kernel/keel.ts';
import type { Keep, Plan, Reg } from '../../src/kernel/plan.ts';
import { PlanBuilder } from '../../src/kernel/plan-builder.ts';
import { hostArch } from '../../src/kernel/syscalls.ts';

export interface KeepOptions {
  readonly argv: readonly string[];
  readonly env?: readonly string[];
  readonly folder: string;
  readonly stdin?: boolean;
  readonly terminal?: boolean;
  readonly stdinOnce?: boolean;
  readonly log?: { maxSize: number; maxFiles: number } | false;
  readonly logPath?: string;
  readonly snapshots?: readonly string[];
  readonly exitCommand?: readonly string[];
  readonly flags?: bigint;
  readonly exitPlan?: (b: PlanBuilder) => void;
  readonly relays?: (b: PlanBuilder) => Keep['relays'];
  /** Before the gate, in the child. */
  readonly inChild?: (b: PlanBuilder) => void;
}

/** The smallest plan that ends in `keep`: no namespaces, only stdio and a program. */
export function keepPlan(options: KeepOptions): Plan {
  const b = new PlanBuilder(hostArch());
  b.group('test').doing('preparing the test');
  const pipe = (name: string): [read: Reg, write: Reg] => {
    const ends = b.blob(8, name);
    b.sys('pipe2', [ends, O_CLOEXEC]);
    return [b.peek(ends, 4), b.peek({ ...ends, offset: 4 }, 4)];
  };
  const gate = pipe('gate');
  const [stdin, stdout, stderr] = [pipe('stdin'), pipe('stdout'), pipe('stderr')];
  let terminal: Reg | undefined;
  let slave: Reg | undefined;
  if (options.terminal) {
    terminal = b.sys('openat', [-100, '/dev/ptmx', 2 | 0o400 | O_CLOEXEC]);
    b.sys('ioctl', [terminal, 0x40045431, b.blob(4)]); // TIOCSPTLCK
    slave = b.sys('ioctl', [terminal, 0x5441, 2 | 0o400 | O_CLOEXEC]); // TIOCGPTPEER
  }
  const child = b.clone({ flags: options.flags ?? 0n }, () => {
    b.doing('waiting for the start');
    b.sys('close', [gate[1]]);
    options.inChild?.(b);
    const go = b.label();
    const read = b.sys('read', [gate[0], b.blob(1), 1]);
    b.branch(read, '==', 1, go);
    b.fail('EPIPE');
    b.place(go);
    b.doing('executing');
    b.sys('setsid', []);
    const ends = slave ? [slave, slave, slave] : [stdin[0], stdout[1], stderr[1]];
    ends.forEach((end, fd) => b.sys('dup3', [end, fd, 0]));
    if (slave) b.sys('ioctl', [0, 0x540e, 0]); // TIOCSCTTY
    const [program = ''] = options.argv;
    b.sys('execve', [program, b.strings(options.argv), b.strings(options.env ?? ['PATH=/usr/bin:/bin'])]);
  });
  if (!child.pidfd) throw new Error('no pidfd');
  const { folder } = options;
  b.keep(
    {
      pid: child.pid,
      pidfd: child.pidfd,
      gate: gate[1],
      report: child.report,
      ...(terminal
        ? { terminal }
        : { stdout: stdout[0], stderr: stderr[0], ...(options.stdin && { stdin: stdin[1] }) }),
      stdinOnce: options.stdinOnce ?? false,
      ...(options.log !== false && {
        log: { path: options.logPath ?? join(folder, 'log'), ...(options.log ?? { maxSize: 0, maxFiles: 1 }) },
      }),
      socket: join(folder, 'socket'),
      exitRecord: join(folder, 'exit'),
      snapshots: options.snapshots ?? [],
      relays: options.relays?.(b) ?? [],
      ...(options.exitCommand && { exitCommand: options.exitCommand }),
    },
    () => options.exitPlan?.(b),
  );
  return b.build();
}

export interface ExitRecord {
  pid: number;
  exitCode: number;
  signal: number;
  startedAt: string;
  finishedAt: string;
  droppedLogBytes: number;
  snapshots: Record<string, string | null>;
  exitPlanErrors: { op: number; errno: number; text: string }[];
}

/** A folder of one test, with the names that keepPlan uses. */
export class Folder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'keelson-keep-'));
  readonly socket: string = join(this.path, 'socket');
  readonly #kept: Kept[] = [];

  record(): ExitRecord {
    return JSON.parse(readFileSync(join(this.path, 'exit'), 'utf8')) as ExitRecord;
  }

  log(name = 'log'): { log: string; stream: string; time: string }[] {
    // What is being written may be seen half: a line counts when its end is there.
    const lines = readFileSync(join(this.path, name), 'utf8').split('\n').slice(0, -1);
    return lines.map((l) => JSON.parse(l) as { log: string; stream: string; time: string });
  }

  /** What `keel.keep` gave, to be ended with the test if it hasn't by itself. */
  async track(kept: Promise<Kept>): Promise<Kept> {
    this.#kept.push(await kept);
    return kept;
  }

  [Symbol.dispose](): void {
    for (const { pid, keeperPid } of this.#kept) {
      if (parentOf(pid) === keeperPid) process.kill(pid, 'SIGKILL');
      const end = Date.now() + 5000;
      while (existsSync(`/proc/${keeperPid}`) && Date.now() < end) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
    // A keeper that nobody waited for may be taking its socket away at the same time.
    for (let i = 0; i < 5 && existsSync(this.path); i++) rmSync(this.path, { recursive: true, force: true });
  }
}

/** 0 for a process that isn't there. */
export function parentOf(pid: number): number {
  try {
    return Number(/PPid:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  } catch {
    return 0;
  }
}

/** Resolves once `condition` holds; throws after `ms`. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, ms = 5000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${ms} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
