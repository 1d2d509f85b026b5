import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkoutDisk, systemDisk } from './disks.ts';
import type { GuestResult } from './guest/reporter.ts';
import { writeInitramfs } from './initramfs.ts';
import { debianKernel } from './kernel.ts';

export interface MachineRun {
  readonly release: string;
  /** What the tests inside reported, in order. */
  readonly results: readonly GuestResult[];
  /** The serial console, and standard output and error of the tests. */
  readonly console: string;
  /** Why it did not end by itself, if so. */
  readonly failure?: string;
}

/** What is process 1: the tests' own script, or systemd with version 2 of control groups, or with version 1 beside it. */
export type MachineInit = 'plain' | 'systemd' | 'systemd-hybrid';

const initWords: Readonly<Record<MachineInit, readonly string[]>> = {
  plain: [],
  // Words that the kernel doesn't know are its first process's environment.
  systemd: ['machine_init=/lib/systemd/systemd'],
  'systemd-hybrid': [
    ...['machine_init=/lib/systemd/systemd', 'systemd.unified_cgroup_hierarchy=0'],
    'systemd.legacy_systemd_cgroup_controller=0',
  ],
};

/**
 * Boots Debian's kernel (pure cgroup v2) on a machine emulated by QEMU, runs the tests of guest/ inside and powers it off.
 * With `command` that shell command runs instead of the tests.
 * $KEELSON_MACHINE_ACCEL chooses another accelerator than `tcg`, $KEELSON_MACHINE_ONLY is a pattern for test names.
 */
export async function runInMachine(options: {
  timeoutMs: number;
  command?: string;
  init?: MachineInit;
}): Promise<MachineRun> {
  const kernel = await debianKernel();
  const system = await systemDisk(kernel);
  const folder = await mkdtemp(join(tmpdir(), 'keelson-machine-'));
  try {
    const path = (name: string): string => join(folder, name);
    await writeInitramfs(kernel, path('initramfs'));
    await checkoutDisk(path('checkout.ext4'), options.command);
    const only = process.env['KEELSON_MACHINE_ONLY'];
    const words = [
      'console=ttyS0',
      'quiet',
      'panic=-1',
      ...initWords[options.init ?? 'plain'],
      ...(only ? [`keelson.only=${only}`] : []),
    ];
    const args = [
      ...['-accel', process.env['KEELSON_MACHINE_ACCEL'] ?? 'tcg', '-cpu', 'max', '-smp', '2', '-m', '2048'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', kernel.image, '-initrd', path('initramfs'), '-append', words.join(' ')],
      // The system's disk is shared by all runs: what is written to it goes to a temporary file.
      ...['-drive', `file=${system},format=raw,if=virtio,snapshot=on`],
      ...['-drive', `file=${path('checkout.ext4')},format=raw,if=virtio,readonly=on`],
      ...['-serial', `file:${path('console')}`, '-serial', `file:${path('results')}`],
    ];
    const failure = await untilExit('qemu-system-x86_64', args, options.timeoutMs);
    const console = await readFile(path('console'), 'utf8').catch(() => '');
    const lines = (await readFile(path('results'), 'utf8').catch(() => '')).split('\n').filter((line) => line.trim());
    const results = lines.filter((line) => line.startsWith('{"name"')).map((line) => JSON.parse(line) as GuestResult);
    return { release: kernel.release, results, console, ...(failure === undefined ? {} : { failure }) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Undefined when the program ended well, else what went wrong. */
async function untilExit(command: string, args: readonly string[], timeoutMs: number): Promise<string | undefined> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = (): void => void child.kill('SIGKILL');
  process.once('exit', stop);
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    stop();
  }, timeoutMs);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(() => {
    clearTimeout(timer);
    process.off('exit', stop);
  });
  if (timedOut) return `not done after ${timeoutMs / 1000} s`;
  return code === 0 ? undefined : `${command} exited with ${code}: ${stderr.trim()}`;
}
