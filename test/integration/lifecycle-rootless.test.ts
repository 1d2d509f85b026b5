import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkout } from '../support/engine.ts';

/** Runs `code` as an ordinary user without subordinate ids, with `engine`, `context`, `run(config)` and `output(config)`; what it printed. */
function asUser(code: string): string {
  const top = mkdtempSync(join(tmpdir(), 'keelson-user-'));
  try {
    const paths = { root: join(top, 'root'), run: join(top, 'run') };
    for (const path of [top, ...Object.values(paths)]) {
      mkdirSync(path, { recursive: true });
      chownSync(path, 12_345, 12_345);
    }
    const program = `
      import { Engine } from '${checkout}/src/engine/engine.ts';
      import { Context } from '${checkout}/src/ground/context.ts';
      await using engine = Engine.open({ paths: ${JSON.stringify(paths)} });
      const context = new Context();
      const text = async (attachment) => {
        let all = '';
        for await (const { data } of attachment.output) all += Buffer.from(data).toString();
        await attachment.exit;
        return all;
      };
      const create = async (config) => engine.create(context, { image: 'host', network: 'none', ...config });
      const output = async (config) => {
        const { id } = await create({ autoRemove: true, ...config });
        return text(await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } }));
      };
      ${code}`;
    const node = [
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      '--input-type=module-typescript',
      '-e',
      program,
    ];
    const user = [
      '--reuid',
      '12345',
      '--regid',
      '12345',
      '--clear-groups',
      'env',
      '-i',
      `HOME=${top}`,
      'PATH=/usr/bin:/bin',
    ];
    return execFileSync('setpriv', [...user, ...node], { encoding: 'utf8', timeout: 60_000, stdio: 'pipe' });
  } finally {
    rmSync(top, { recursive: true });
  }
}

const root = { skip: process.getuid?.() === 0 ? false : 'needs root to become another user' };

test('an ordinary user runs containers, as root inside and nobody outside', root, () => {
  const printed = asUser(`
    console.log(await output({ command: ['sh', '-c', 'id -u; touch /made && echo made; cat /proc/self/uid_map'] }));
    console.log(await output({ command: ['cat', '/proc/sys/kernel/hostname'], network: 'host', hostname: '' }));`);
  assert.match(printed, /^0\nmade\n\s+0\s+12345\s+1\n/);
});

test('an ordinary user’s container can be worked with', root, () => {
  const printed = asUser(`
    const { id, warnings } = await create({ command: ['sleep', '1000'], resources: { memory: 64 << 20 } });
    console.log(warnings.join());
    await engine.start(context, id);
    console.log(await text(await engine.exec(context, id, { command: ['id', '-u'] })));
    console.log((await engine.top(context, id)).processes.length);
    console.log((await engine.statPath(context, id, '/etc/passwd')).name);
    await engine.remove(context, id, { force: true });
    console.log((await engine.list(context, { all: true })).length);`);
  assert.match(printed, /^memory limits were discarded.*\n0\n\n1\npasswd\n0\n$/);
});

test('the bridge is refused with a word on what to use instead', root, () => {
  assert.throws(
    () => asUser(`await output({ command: ['true'], network: 'bridge' });`),
    (error: Error & { stderr: string }) => /network (none|host)/.test(error.stderr),
  );
});
