/** keelson-oci with a root and bundles of a test's own. */
import { spawn } from 'node:child_process';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultSpec } from '../../src/runtime/lifecycle/default-spec.ts';
import { formatConfig } from '../../src/spec/config.ts';
import type { Spec } from '../../src/spec/runtime.ts';
import { checkout } from './engine.ts';
import { type HostileFiles, placeFiles } from './hostile-files.ts';

export const ociBinary: string = process.env['KEELSON_OCI'] ?? join(checkout, 'bin/keelson-oci');

export interface OciResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const applets = [
  'sh',
  'cat',
  'cp',
  'kill',
  'echo',
  'env',
  'false',
  'id',
  'ls',
  'mkdir',
  'mknod',
  'mount',
  'ps',
  'pwd',
  'sleep',
  'stat',
  'touch',
  'true',
  'tty',
  'umount',
  'grep',
  'head',
  'ln',
  'hostname',
];

export class Oci implements AsyncDisposable {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'keelson-oci-'));
  readonly root: string = join(this.directory, 'state');
  #bundles = 0;

  /** A bundle around busybox; `change` edits its config, `files` take the place of what its root would have there. */
  bundle(args: readonly string[], change: (spec: Spec) => Spec = (spec) => spec, files: HostileFiles = {}): string {
    const bundle = join(this.directory, `bundle${++this.#bundles}`);
    const rootfs = join(bundle, 'rootfs');
    for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp']) mkdirSync(join(rootfs, name), { recursive: true });
    copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
    for (const applet of applets) symlinkSync('busybox', join(rootfs, 'bin', applet));
    placeFiles(rootfs, files);
    const base = defaultSpec('1.2.1');
    const process = { ...(base.process ?? { user: { uid: 0, gid: 0 }, cwd: '/' }), terminal: false, args };
    writeFileSync(join(bundle, 'config.json'), formatConfig(change({ ...base, process })));
    return bundle;
  }

  command(...args: readonly string[]): Promise<OciResult> {
    return this.with({}, ...args);
  }

  with(
    options: { input?: string; env?: Readonly<Record<string, string>>; cwd?: string },
    ...args: readonly string[]
  ): Promise<OciResult> {
    const child = spawn(ociBinary, ['--root', this.root, ...args], {
      stdio: 'pipe',
      env: { ...process.env, ...options.env },
      ...(options.cwd && { cwd: options.cwd }),
    });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    child.stdin.on('error', () => {});
    child.stdin.end(options.input ?? '');
    return new Promise((resolve, reject) => {
      child.once('error', reject);
      // Not 'close': a detached process keeps the pipes.
      child.once('exit', (code, signal) =>
        setTimeout(() => resolve({ code: code ?? (signal ? 128 : 1), ...output }), 30),
      );
    });
  }

  async state(id: string): Promise<Record<string, unknown>> {
    const { stdout } = await this.command('state', id);
    return JSON.parse(stdout) as Record<string, unknown>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { stdout } = await this.command('list', '-q');
    for (const id of stdout.split('\n').filter(Boolean)) await this.command('delete', '-f', id);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** The spec with one more capability for its process. */
export function withCapability(spec: Spec, name: string): Spec {
  const { capabilities = {}, ...process } = spec.process ?? { user: { uid: 0, gid: 0 }, cwd: '/' };
  const more = (list: readonly string[] | undefined) => [...(list ?? []), name];
  const { bounding, effective, permitted } = capabilities;
  const sets = { bounding: more(bounding), effective: more(effective), permitted: more(permitted) };
  return { ...spec, process: { ...process, capabilities: { ...capabilities, ...sets } } };
}

/** Planners that serve this mount namespace and build. */
export function planners(): number[] {
  const own = readlinkSync('/proc/self/ns/mnt');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words.includes(join(checkout, 'dist/planner.mjs')) && readlinkSync(`/proc/${pid}/ns/mnt`) === own;
      } catch {
        return false;
      }
    })
    .map(Number);
}
