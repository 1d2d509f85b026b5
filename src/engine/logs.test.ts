import assert from 'node:assert/strict';
import { appendFile, mkdtemp, mkdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { Context } from '../ground/context.ts';
import { millisecondsOf, readLogs, type LogSource } from './logs.ts';
import type { LogEntry, LogOptions } from './types.ts';

const context = new Context();
let folder: string;
let path: string;
let live = false;
let source: LogSource;

const line = (n: number, stream = 'stdout'): string =>
  `${JSON.stringify({ log: `line ${n}\n`, stream, time: new Date(1_700_000_000_000 + n * 1000).toISOString() })}\n`;

async function collect(options: LogOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  for await (const entry of readLogs(context, source, options)) lines.push(entry.line.trim());
  return lines;
}

describe('readLogs', () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keelson-logs-'));
  });
  after(async () => rm(folder, { recursive: true }));
  beforeEach(async () => {
    const own = await mkdtemp(join(folder, 'x'));
    await mkdir(join(own, 'exits'));
    path = join(own, 'c-json.log');
    live = false;
    source = { path, exits: join(own, 'exits'), isLive: () => live };
  });

  test('reads rotated files in order, oldest first', async () => {
    await writeFile(`${path}.2`, line(1) + line(2));
    await writeFile(`${path}.1`, line(3));
    await writeFile(path, line(4) + line(5));
    assert.deepEqual(await collect(), ['line 1', 'line 2', 'line 3', 'line 4', 'line 5']);
  });

  test('a container without a log has no lines', async () => {
    assert.deepEqual(await collect(), []);
    assert.deepEqual(await collect({ follow: true }), []);
  });

  test('tail counts lines from the end, across files', async () => {
    await writeFile(`${path}.1`, line(1) + line(2) + line(3));
    await writeFile(path, line(4) + line(5));
    assert.deepEqual(await collect({ tail: 0 }), []);
    assert.deepEqual(await collect({ tail: 1 }), ['line 5']);
    assert.deepEqual(await collect({ tail: 2 }), ['line 4', 'line 5']);
    assert.deepEqual(await collect({ tail: 3 }), ['line 3', 'line 4', 'line 5']);
    assert.equal((await collect({ tail: 100 })).length, 5);
  });

  test('tail of a long log finds its place across blocks', async () => {
    const all = Array.from({ length: 20_000 }, (_, n) => line(n));
    await writeFile(path, all.join(''));
    assert.deepEqual((await collect({ tail: 5000 }))[0], 'line 15000');
  });

  test('since and until are inclusive and cut by time', async () => {
    await writeFile(path, [1, 2, 3, 4, 5].map((n) => line(n)).join(''));
    const at = (n: number): number => 1_700_000_000_000 + n * 1000;
    assert.deepEqual(await collect({ since: at(3) }), ['line 3', 'line 4', 'line 5']);
    assert.deepEqual(await collect({ since: at(2), until: at(3) + 0.5 }), ['line 2', 'line 3']);
  });

  test('one stream alone', async () => {
    await writeFile(path, line(1) + line(2, 'stderr'));
    assert.deepEqual(await collect({ stdout: false }), ['line 2']);
    assert.deepEqual(await collect({ stderr: false }), ['line 1']);
  });

  test('lines that are no entries are skipped, however long', async () => {
    const junk = ['{', 'null', '[]', '{"log":1,"stream":"stdout","time":""}', 'x'.repeat(3_000_000), ''];
    await writeFile(path, `${line(1)}${junk.join('\n')}\n${line(2)}`);
    assert.deepEqual(await collect(), ['line 1', 'line 2']);
  });

  test('follow sees what is appended, through a rotation, and ends when the container does', async () => {
    live = true;
    await writeFile(path, line(1));
    const seen: LogEntry[] = [];
    const reading = (async () => {
      for await (const entry of readLogs(context, source, { follow: true })) seen.push(entry);
    })();
    const until = async (count: number): Promise<void> => {
      for (let i = 0; i < 400 && seen.length < count; i++) await new Promise((r) => setTimeout(r, 5));
      assert.equal(seen.length, count);
    };
    await until(1);
    await appendFile(path, line(2));
    await until(2);
    await appendFile(path, line(3).slice(0, 20));
    await appendFile(path, line(3).slice(20));
    await rename(path, `${path}.1`);
    await writeFile(path, line(4));
    await until(4);
    await rename(`${path}.1`, `${path}.2`);
    await rename(path, `${path}.1`);
    await writeFile(path, line(5));
    await until(5);
    await truncate(path, 0);
    await appendFile(path, line(6).replace('line 6', '6'));
    await until(6);
    live = false;
    await writeFile(join(source.exits, 'x.json'), '{}');
    await reading;
    assert.deepEqual(
      seen.map((e) => e.line.trim()),
      ['line 1', 'line 2', 'line 3', 'line 4', 'line 5', '6'],
    );
  });

  test('follow ends when the context is canceled', async () => {
    live = true;
    await writeFile(path, line(1));
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of readLogs(new Context({ signal: controller.signal }), source, { follow: true }));
    })();
    setTimeout(() => controller.abort(), 20);
    await assert.rejects(reading, { code: 'canceled' });
  });

  test('times are read to the nanosecond', () => {
    assert.equal(millisecondsOf('2026-01-01T00:00:00.123456789Z'), Date.UTC(2026, 0, 1) + 123.456789);
    assert.equal(millisecondsOf('2026-01-01T00:00:00Z'), Date.UTC(2026, 0, 1));
    assert.ok(Number.isNaN(millisecondsOf('yesterday')));
  });
});
