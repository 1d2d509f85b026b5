/** What the tests of faults look for: traces of the one container that each of them makes. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { after } from 'node:test';
import type { Spec } from '../../src/spec/runtime.ts';
import { leakCheck } from './leaks.ts';
import type { Oci, OciResult } from './oci.ts';

/** To be called first in a test file: what is there at its end must have been there at its beginning. */
export async function checkLeaks(): Promise<void> {
  const nowhere = '/nonexistent/faults';
  // The planner's own group stays.
  const leaks = await leakCheck({ root: nowhere, run: nowhere, allow: [/^cgroup: .*\/keelson\/planner$/] });
  after(() => leaks.verify());
}

/** A program that nothing else on the machine runs. */
export const program = ['sleep', `98765${process.pid}`];

/** What there is of containers: their directories, control groups and processes. */
export function traces(oci: Oci): string[] {
  const found = existsSync(oci.root) ? readdirSync(oci.root).map((id) => `state of ${id}`) : [];
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , , , at = ''] = line.split(' ');
    if (at.startsWith(oci.directory) && at !== oci.root) found.push(`mount ${at}`);
    if (!/ - cgroup2? /.test(line)) continue;
    const group = join(at, 'keelson', containerName);
    if (existsSync(group)) found.push(`group ${group}`);
  }
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const words = text(`/proc/${pid}/cmdline`);
    const mine = words.startsWith(program.join('\0')) || (words.includes(oci.root) && words.includes('keelson-oci'));
    if (mine && !/^State:\s+Z/m.test(text(`/proc/${pid}/status`)))
      found.push(`process ${pid} ${words.replaceAll('\0', ' ')}`);
  }
  return found;
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export const nothingLeft = (oci: Oci, what: string): Promise<void> => noneLeft(oci, what, /^/);
export const noProcesses = (oci: Oci, what: string): Promise<void> => noneLeft(oci, what, /^process/);

async function noneLeft(oci: Oci, what: string, kind: RegExp): Promise<void> {
  for (const end = Date.now() + 5000; ; await sleep(20)) {
    const found = traces(oci).filter((trace) => kind.test(trace));
    if (found.length === 0) return;
    assert.ok(Date.now() < end, `${what}: left behind: ${found.join('; ')}`);
  }
}

/** Helps, whatever there is. */
export async function deleteForced(oci: Oci, what: string): Promise<void> {
  const { code, stderr } = await within(30, what, oci.command('delete', '--force', containerName));
  assert.equal(code, 0, `${what}: delete --force: ${stderr}`);
  await nothingLeft(oci, what);
}

export async function within<T>(seconds: number, what: string, result: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timer = sleep(seconds * 1000, undefined, { signal: late.signal }).then(() =>
    assert.fail(`${what}: takes too long`),
  );
  try {
    return await Promise.race([result, timer]);
  } finally {
    late.abort();
    timer.catch(() => {});
  }
}

export const containerName = 'faulty';
export const files = { 'etc/passwd': 'root:x:0:0::/home:/bin/sh\n' };
export const hooked = (spec: Spec): Spec => ({
  ...spec,
  ...(spec.process && { process: { ...spec.process, env: ['PATH=/bin'] } }),
  hooks: {
    createRuntime: [{ path: '/bin/true' }],
    createContainer: [{ path: '/bin/true' }],
    startContainer: [{ path: '/bin/true' }],
    poststart: [{ path: '/bin/true' }],
  },
  linux: {
    ...spec.linux,
    namespaces: [...(spec.linux?.namespaces ?? []), { type: 'user' }, { type: 'time' }],
    uidMappings: [{ containerID: 0, hostID: 0, size: 65536 }],
    gidMappings: [{ containerID: 0, hostID: 0, size: 65536 }],
  },
});

export const plain = (spec: Spec): Spec => spec;

export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it has ended
  }
}

export function childrenOf(pid: number): number[] {
  return text(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
}

/** Done, or a line that says why not. A front that was killed says nothing. */
export function checkResult(victim: string, { code, stderr }: OciResult, what: string): void {
  if (victim === 'the caller' || code === 0) return;
  if (victim === 'what the caller has started' && code === 137) return;
  assert.match(stderr, /level=error msg="[^"]{10,}|the planner has died/, `${what}: ${code}`);
  assert.ok(code === 1 || code === 255 || code >= 128, `${what}: ${code}`);
}
