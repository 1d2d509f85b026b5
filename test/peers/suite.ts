/** Runs a suite's peers in their root; what they do is seen line by line. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Line, Seen, SuiteReport } from './report.ts';
import type { Suite } from './roots.ts';

const checkout = join(import.meta.dirname, '../..');

/** On a machine of its own (test/support/isolated.sh), in the root directory `root` (roots.ts). */
export async function runSuite(suite: Suite, root: string, chosen: readonly string[] = []): Promise<SuiteReport> {
  const node = process.execPath.replace(checkout, '/keelson');
  const words = [join(import.meta.dirname, 'enter.sh'), root, checkout, node, '/keelson/test/peers/inside.ts'];
  const child = spawn(join(checkout, 'test/support/isolated.sh'), [...words, ...chosen], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? 1)));
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const seen: Seen[] = [];
  let versions: SuiteReport['versions'] = {};
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as Line;
    if ('versions' in line) ({ versions } = line);
    else seen.push(line);
  }
  const code = await exit;
  if (code !== 0) throw new Error(`the peers of ${suite} ended with ${code}:\n${errors.slice(-4000)}`);
  return { suite, versions, seen };
}
