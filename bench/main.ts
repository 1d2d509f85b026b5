/**
 * npm run bench: compares Keelson with docker, podman and containerd, as root. `npm run bench -- pull logs` measures these alone;
 * only a whole run writes docs/benchmarks.md.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { peersRoot } from './peers-root.ts';

const checkout = join(import.meta.dirname, '..');

if (process.geteuid?.() !== 0) {
  console.error('bench: the peers run as root, and so does this');
  process.exit(1);
}
const root = peersRoot();
const node = process.execPath.replace(checkout, '/keelson');
const child = spawn(
  join(checkout, 'test/support/isolated.sh'),
  [join(checkout, 'bench/enter.sh'), root, checkout, node, '/keelson/bench/inside.ts', ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));
