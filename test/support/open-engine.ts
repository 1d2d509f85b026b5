import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Engine, type EngineOptions } from '../../src/engine/engine.ts';
import type { Attachment, Container, ContainerConfig } from '../../src/engine/types.ts';
import { Context } from '../../src/ground/context.ts';
import { checkout } from './engine.ts';
import { type LeakCheck, leakCheck } from './leaks.ts';

export interface OpenEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly context: Context;
  readonly paths: { readonly root: string; readonly run: string };
  readonly scratch: string;
  readonly leaks: LeakCheck;
  /** Makes and starts a container of `host`; its id. */
  run(config: Partial<ContainerConfig> & { readonly command: readonly string[] }): Promise<string>;
  /** Makes and starts a container with its output attached; what it wrote, and its exit code. */
  output(config: Partial<ContainerConfig> & { readonly command: readonly string[] }): Promise<Output>;
  inspect(id: string): Promise<Container>;
  /** Another process with an engine on the same data; `code` finds `engine`, `context` and `host(command, more)`, which makes a config. */
  other(code: string): ChildProcess;
}

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** An engine in this process, with directories of its own. Disposing removes its containers, and then nothing may be left behind. */
export async function openEngine(): Promise<OpenEngine> {
  const top = mkdtempSync(join(tmpdir(), 'keelson-engine-'));
  const paths = { root: join(top, 'root'), run: join(top, 'run') };
  const scratch = join(top, 'scratch');
  for (const path of [paths.root, paths.run, scratch]) mkdirSync(path);
  const leaks = await leakCheck({ ...paths, patienceMs: 15_000 });
  const exitCommand = [...node, join(checkout, 'test/support/exited.ts'), paths.root, paths.run];
  const engine = Engine.open({ paths, exitCommand });
  const context = new Context();
  const create: OpenEngine['run'] = async (config) => {
    const { id } = await engine.create(context, { image: 'host', network: 'none', ...config });
    return id;
  };
  return {
    ...{ engine, context, paths, scratch, leaks },
    async run(config) {
      const id = await create(config);
      await engine.start(context, id);
      return id;
    },
    async output(config) {
      const id = await create({ autoRemove: true, ...config });
      const attachment = await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } });
      if (attachment === undefined) throw new Error('not attached');
      return outputOf(attachment);
    },
    inspect: async (id) => engine.inspect(context, id),
    other: (code) => spawnOther({ paths, exitCommand }, code),
    async [Symbol.asyncDispose]() {
      try {
        for (const { id } of await engine.list(context, { all: true })) {
          await engine.remove(context, id, { force: true, volumes: true });
        }
        await engine[Symbol.asyncDispose]();
        await leaks.verify();
      } finally {
        rmSync(top, { recursive: true, force: true });
      }
    },
  };
}

const node = [process.execPath, '--disable-warning=ExperimentalWarning'] as const;

/** All that comes until the end. */
export async function outputOf(attachment: Attachment): Promise<Output> {
  const text = { stdout: '', stderr: '' };
  for await (const { stream, data } of attachment.output) text[stream] += Buffer.from(data).toString();
  return { ...text, exitCode: await attachment.exit };
}

function spawnOther(options: EngineOptions, code: string): ChildProcess {
  const program = `
    import { Engine, type EngineOptions } from '${checkout}/src/engine/engine.ts';
    import { Context } from '${checkout}/src/ground/context.ts';
    const options = ${JSON.stringify(options)};
    const engine = Engine.open(options);
    const context = new Context();
    const host = (command, more = {}) => ({ image: 'host', network: 'none', command, ...more });
    ${code}`;
  return spawn(node[0], [...node.slice(1), '--input-type=module-typescript', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}
