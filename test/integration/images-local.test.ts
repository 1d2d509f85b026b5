import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { promisify } from 'node:util';
import { KeelsonError } from '../../src/ground/errors.ts';
import { parseReference } from '../../src/image/reference.ts';
import type { Removal } from '../../src/image/remove-image.ts';
import { openImages, type TestImages } from '../support/images.ts';
import { pushRaw, rawImage, tarOf } from '../support/raw-image.ts';
import { startRegistry } from '../support/registry.ts';

const execute = promisify(execFile);

async function refused(work: Promise<unknown>): Promise<KeelsonError> {
  const error: unknown = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.ok(error instanceof KeelsonError, `should have been refused: ${String(error)}`);
  return error;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** An image by import. */
async function make(
  all: TestImages,
  name: string | undefined,
  content: string,
  changes: string[] = [],
): Promise<string> {
  const reference = name === undefined ? {} : { reference: parseReference(name) };
  return all.images.import(all.context, once(await tarOf({ content })), { ...reference, changes });
}

function said(removals: readonly Removal[]): string[] {
  return removals.map((each) => ('untagged' in each ? `Untagged: ${each.untagged}` : `Deleted: ${each.deleted}`));
}

describe('removing an image', () => {
  test('by one of several names takes the name, by the last one the image', async () => {
    await using all = await openImages();
    const { images, context } = all;
    const id = await make(all, 'a:1', 'x');
    images.tag('a:1', 'b:2');
    assert.deepEqual(said(await images.remove(context, 'a:1')), ['Untagged: a:1']);
    assert.deepEqual(said(await images.remove(context, 'b:2')).slice(0, 2), ['Untagged: b:2', `Deleted: ${id}`]);
    assert.deepEqual(await all.left(), { blobs: 0, unfinished: 0, layers: 0 });
    const gone = await refused(images.remove(context, 'b:2'));
    assert.equal(gone.message, 'No such image: b:2');
    assert.equal((await refused(images.remove(context, 'b'))).message, 'No such image: b:latest');
  });

  test('by id takes all names of one repository, and those of several only when forced', async () => {
    await using all = await openImages();
    const { images, context } = all;
    const id = await make(all, 'a:1', 'x');
    images.tag('a:1', 'b:2');
    const conflict = await refused(images.remove(context, id.slice(7, 19)));
    assert.equal(conflict.code, 'conflict');
    assert.equal(
      conflict.message,
      `conflict: unable to delete ${id.slice(7, 19)} (must be forced) - image is referenced in multiple repositories`,
    );
    const forced = await images.remove(context, id, { force: true });
    assert.deepEqual(said(forced).slice(0, 3), ['Untagged: a:1', 'Untagged: b:2', `Deleted: ${id}`]);
    const single = await make(all, 'c:1', 'y');
    assert.equal(said(await images.remove(context, single.slice(7, 12)))[0], 'Untagged: c:1');
  });

  test('that containers use is refused; forced it goes when they go, never under a running one', async () => {
    await using all = await openImages();
    const { images, context, users } = all;
    const id = await make(all, 'a:1', 'x');
    const chain = images.chainIds(id);
    users.set(id, [{ id: 'c0ffee'.repeat(10), running: true }]);
    assert.match(
      (await refused(images.remove(context, 'a:1'))).message,
      /\(must force\) - container c0ffeec0ffee is using its referenced image/,
    );
    assert.match(
      (await refused(images.remove(context, id, { force: true }))).message,
      /\(cannot be forced\) - image is being used by running container c0ffeec0ffee/,
    );
    assert.deepEqual(said(await images.remove(context, 'a:1', { force: true })), ['Untagged: a:1']);
    assert.ok(images.exists(id), 'it lost its name only');

    users.set(id, [{ id: 'c0ffee'.repeat(10), running: false }]);
    assert.match(
      (await refused(images.remove(context, id))).message,
      /\(must be forced\) - image is being used by stopped container/,
    );
    await images.remove(context, id, { force: true });
    assert.deepEqual(images.list(), []);
    assert.equal((await refused(images.inspect(id))).code, 'not-found');
    await images.collect();
    assert.deepEqual(images.chainIds(id), chain, 'the container can still be started');
    assert.ok(await all.snapshotter.has(chain[0] as `sha256:${string}`));
    users.delete(id);
    await images.released(id);
    assert.deepEqual(await all.left(), { blobs: 0, unfinished: 0, layers: 0 });
  });

  test('leaves the layers and blobs that another image needs', async () => {
    await using all = await openImages();
    const { images, context } = all;
    const base = await make(all, 'base:1', 'x');
    const top = await images.create(context, {
      ...{
        base: base as `sha256:${string}`,
        layer: once(await tarOf({ more: 'y' })),
        names: ['docker.io/library/top:1'],
      },
      ...{ history: {}, doing: 'x' },
    });
    await images.remove(context, 'base:1');
    assert.equal((await all.left()).layers, 2);
    await images.inspect(top);
    await images.remove(context, 'top:1');
    assert.deepEqual(await all.left(), { blobs: 0, unfinished: 0, layers: 0 });
  });
});

describe('names', () => {
  test('move with tag, and are found by all that docker accepts', async () => {
    await using all = await openImages();
    const { images } = all;
    const first = await make(all, 'x:1', 'one');
    const second = await make(all, 'x:2', 'two');
    images.tag('x:2', 'x:1');
    assert.equal(images.find('x:1').id, second);
    for (const text of [
      'x:2',
      'docker.io/library/x:2',
      'index.docker.io/x:2',
      second,
      second.slice(7),
      second.slice(7, 19),
      second.slice(0, 20),
    ]) {
      assert.equal(images.find(text).id, second, text);
    }
    assert.deepEqual(images.find(first.slice(7, 19)), { id: first });
    assert.throws(() => images.tag('x:2', `y@${first}`), /refusing to create a tag with a digest reference/);
    assert.throws(() => images.tag('nope', 'y'), /No such image: nope:latest/);
    assert.throws(() => images.find('X'), /must be lowercase/);
  });

  test('are listed and filtered', async () => {
    await using all = await openImages();
    const { images, context } = all;
    const a = await make(all, 'team/a:1', 'a', ['LABEL kind=web', 'LABEL x=y']);
    const none = await make(all, undefined, 'n');
    const ids = (filters: Record<string, string[]>): string[] => images.list(filters).map(({ id }) => id);
    assert.deepEqual(ids({ dangling: ['true'] }), [none]);
    assert.deepEqual(ids({ dangling: ['false'] }), [a]);
    assert.deepEqual(ids({ reference: ['team/*'] }), [a]);
    assert.deepEqual(ids({ reference: ['team/a'] }), [a]);
    assert.deepEqual(ids({ reference: ['*:1'] }), []);
    assert.deepEqual(ids({ label: ['kind=web', 'x'] }), [a]);
    assert.deepEqual(ids({ label: ['kind=db'] }), []);
    assert.deepEqual(ids({ 'label!': ['kind'] }), [none]);
    assert.deepEqual(ids({ since: ['team/a:1'] }), [none]);
    assert.deepEqual(ids({ before: [none] }), [a]);
    assert.deepEqual(ids({ until: ['24h'] }), []);
    assert.throws(() => ids({ nonsense: ['1'] }), /invalid filter 'nonsense'/);
    const [line] = images.list({ reference: ['team/a'] });
    assert.deepEqual(line?.labels, { kind: 'web', x: 'y' });
    const pruned = await images.prune(context);
    assert.deepEqual(said(pruned.removals)[0], `Deleted: ${none}`);
    assert.ok(pruned.bytes > 0);
    const rest = await images.prune(context, { all: true });
    assert.deepEqual(said(rest.removals).slice(0, 2), ['Untagged: team/a:1', `Deleted: ${a}`]);
    assert.deepEqual(await all.left(), { blobs: 0, unfinished: 0, layers: 0 });
  });
});

describe('a disk that is full', () => {
  test('ends a pull with an error that says so, and works again when there is room', {
    skip: process.getuid?.() !== 0,
  }, async () => {
    const registry = await startRegistry();
    const root = await mkdtemp(join(tmpdir(), 'keelson-full-'));
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', root]);
    try {
      const noise = Array.from({ length: 600_000 }, (_, i) => (i * 2654435761) >>> 0).join(' ');
      await pushRaw(registry.port, 'big', '1', await rawImage({ noise }));
      await mkdir(join(root, 'data'));
      await using all = await openImages({ root: join(root, 'data') });
      const error = await refused(all.images.pull(all.context, `${registry.host}/big:1`));
      assert.equal(error.code, 'exhausted', error.message);
      assert.match(error.message, /ENOSPC|no space/i);
      assert.deepEqual(all.images.list(), []);
      const left = await all.left();
      assert.equal(left.layers + left.unfinished, 0);
      await execute('mount', ['-o', 'remount,size=64m', root]);
      await all.images.pull(all.context, `${registry.host}/big:1`);
    } finally {
      await execute('umount', ['-l', root]);
      await rm(root, { recursive: true, force: true });
      await registry.stop();
    }
  });
});
