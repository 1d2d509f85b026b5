/** podman, docker, containerd and buildah of two Debian releases do the same with keelson-oci as with runc and crun. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { document, subject, type SuiteReport, verdicts } from './report.ts';
import { peersRoot, suites, type Suite } from './roots.ts';
import { runSuite } from './suite.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';
const reports: SuiteReport[] = [];

/** Why there is no root, where the archive can't be had. */
function rootOf(suite: Suite): { root: string } | { missing: string } {
  try {
    return { root: peersRoot(suite) };
  } catch (error) {
    return { missing: `Debian ${suite} can't be had: ${(error as Error).message}` };
  }
}

test('peers', { skip, concurrency: 2 }, async (t) => {
  // Made one after the other: apt's locks and the network are shared.
  const roots = suites.map((suite) => ({ suite, ...rootOf(suite) }));
  await Promise.all(
    roots.map((one) =>
      t.test(one.suite, async (s) => {
        if ('missing' in one) return s.skip(one.missing);
        const report = await runSuite(one.suite, one.root);
        reports.push(report);
        const all = verdicts(report);
        for (const peer of ['podman', 'docker', 'containerd', 'buildah']) {
          const own = all.filter((v) => v.peer === peer && v.by[subject]?.ok);
          assert.ok(own.length >= 10, `${peer} did only ${own.length} tasks with ${subject}`);
        }
        for (const { peer, task, failed } of all) {
          await s.test(`${peer}: ${task}`, () => assert.equal(failed, undefined, failed));
        }
      }),
    ),
  );
  const table = process.env['KEELSON_PEERS_TABLE'];
  if (table !== undefined) writeFileSync(table, document(reports));
});
