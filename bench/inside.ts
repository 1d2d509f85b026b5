/** The benchmark itself, in the peers' root: main.ts starts it there. Its last words are the rows as JSON, for main.ts. */
import { rmSync, writeFileSync } from 'node:fs';
import { cpus, totalmem, release } from 'node:os';
import { describeLargeImage, pushLargeImage, pushSmallImage, smallImage } from './images.ts';
import { makeLibrary } from './library.ts';
import * as measures from './measures.ts';
import { oci } from './oci.ts';
import { keelson, ownPaths } from './ours.ts';
import { run } from './process.ts';
import { markdownTable, plainTable, type Row } from './table.ts';
import { ctr, docker, podman, startWorld, versions } from './world.ts';

const all = ['run', 'exec', 'many', 'memory', 'pull', 'logs', 'oci'] as const;
const chosen = process.argv.slice(2);
const wanted = (name: (typeof all)[number]): boolean => chosen.length === 0 || chosen.includes(name);

async function main(): Promise<void> {
  rmSync(ownPaths.root, { recursive: true, force: true });
  await startWorld();
  const peers = await versions();
  console.log(
    Object.entries(peers)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
  );
  await pushSmallImage();
  for (const engine of [docker, podman, keelson]) await measures.removeAll(engine);
  for (const engine of [docker, podman, keelson]) await run([...engine, 'pull', '-q', smallImage]);
  await run([...ctr, 'image', 'pull', '--plain-http', smallImage]);

  const library = makeLibrary();
  const rows: Row[] = [];
  const add = async (what: string, measure: () => Promise<Row[]>): Promise<void> => {
    console.log(`measuring ${what}`);
    rows.push(...(await measure()));
  };
  if (wanted('run')) await add('run --rm', () => measures.runOnce(library));
  if (wanted('exec')) await add('exec', measures.exec);
  if (wanted('many')) await add('many at once', () => measures.runMany(library));
  if (wanted('memory')) await add('memory', measures.memoryPerContainer);
  let large = '';
  if (wanted('pull')) {
    await pushLargeImage();
    const { files, bytes, compressed } = await describeLargeImage();
    large = `${(bytes / 1e9).toFixed(2)} GB in ${files} files and five gzip layers of ${(compressed / 1e6).toFixed(0)} MB in all`;
    await add('pull', measures.pull);
  }
  if (wanted('logs')) await add('logs', measures.logs);
  if (wanted('oci')) await add('the OCI runtime', oci);
  await library[Symbol.asyncDispose]();

  console.log(`\n${plainTable(rows)}`);
  if (chosen.length === 0) writeFileSync('/keelson/docs/benchmarks.md', document(rows, peers, large));
}

function document(rows: readonly Row[], peers: Readonly<Record<string, string>>, large: string): string {
  const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node ${process.versions.node}`;
  return `# Benchmarks

Written by \`npm run bench\`, which installs the peers in a Debian sid root of their own and measures them and Keelson in turns,
in one run on one machine; a figure is the median. Times differ from machine to machine: the ratio is what counts.

- Machine: ${machine}.
- Peers: ${Object.entries(peers)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.
- The image that is pulled: ${large}, from a registry on the same machine.
- Memory: proportional set size of the helper processes (keeper; shim; conmon), divided by the number of containers.

${markdownTable(rows)}
`;
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
