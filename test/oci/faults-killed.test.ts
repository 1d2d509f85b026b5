/** Whoever is killed, at whichever message between keelson-oci and its planner: a clear error, and nothing left that `delete --force` would not remove. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Spec } from '../../src/spec/runtime.ts';
import { Between, type Passing } from '../support/between.ts';
import {
  checkLeaks,
  checkResult,
  childrenOf,
  containerName,
  deleteForced,
  files,
  hooked,
  kill,
  noProcesses,
  plain,
  program,
  within,
} from '../support/faults.ts';
import { Oci } from '../support/oci.ts';

await checkLeaks();

interface Case {
  readonly words: (bundle: string) => readonly string[];
  readonly before?: readonly string[];
}
const cases: Readonly<Record<string, Case & { change?: (spec: Spec) => Spec }>> = {
  create: { words: (bundle) => ['create', '-b', bundle, containerName] },
  'create with hooks in a user namespace': {
    words: (bundle) => ['create', '-b', bundle, containerName],
    change: hooked,
  },
  run: { words: (bundle) => ['run', '-d', '-b', bundle, containerName] },
  start: { words: () => ['start', containerName], before: ['create'] },
  exec: { words: () => ['exec', containerName, 'true'], before: ['run', '-d'] },
  kill: { words: () => ['kill', containerName, 'KILL'], before: ['run', '-d'] },
  delete: { words: () => ['delete', '-f', containerName], before: ['run', '-d'] },
};

const victims: Readonly<Record<string, (passing: Passing, between: Between) => void>> = {
  'the planner': (_, between) => {
    kill(between.planner);
    between.vanish();
  },
  'the caller': ({ front }) => kill(front),
  'what the caller has started': ({ front }) => {
    for (const child of childrenOf(front)) kill(child);
  },
};

for (const [name, { words, before, change = plain }] of Object.entries(cases)) {
  for (const [victim, strike] of Object.entries(victims)) {
    test(`SIGKILL at every message of ${name}: to ${victim}`, async () => {
      await using oci = new Oci();
      const bundle = oci.bundle(program, change, files);
      const messages: string[] = [];
      // The first time all goes well, and the messages are counted.
      for (let at = -1; at < messages.length; at++) {
        const what = `${name}, message ${at} of ${messages.join(', ')}`;
        if (before) assert.equal((await oci.command(...before, '-b', bundle, containerName)).stderr, '', what);
        await using between = await Between.open(oci);
        let reached = '';
        between.meddle = (passing) => {
          if (at < 0) messages.push(`${passing.name} from the ${passing.from}`);
          if (passing.number !== at) return;
          reached = messages[at] ?? '';
          strike(passing, between);
        };
        const result = await within(30, what, oci.command(...words(bundle)));
        between.meddle = () => {};
        if (at < 0) assert.equal(result.code, 0, result.stderr);
        else checkResult(victim, result, `${what}: at ${reached}`);
        // What a failed call has started does not wait for somebody to delete it.
        if (victim === 'the planner' && result.code !== 0 && !before) await noProcesses(oci, `${what}: at ${reached}`);
        await deleteForced(oci, `${what}: at ${reached}`);
      }
      assert.ok(messages.length >= 2, 'a call and an end at least');
    });
  }
}
