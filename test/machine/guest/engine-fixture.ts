import { mkdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { Engine } from '../../../src/engine/engine.ts';
import type { ContainerConfig } from '../../../src/engine/types.ts';
import { Context } from '../../../src/ground/context.ts';
import { leakCheck } from '../../support/leaks.ts';

export interface GuestEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly context: Context;
  /** Makes and starts a container of the machine's own root; its id. */
  start(command: readonly string[], config?: Partial<ContainerConfig>): Promise<string>;
  /** Runs a container to its end; what it wrote, both streams in one, and its exit code. */
  run(command: readonly string[], config?: Partial<ContainerConfig>): Promise<{ text: string; code: number }>;
  /** The same in a container that runs. */
  exec(id: string, command: readonly string[]): Promise<{ text: string; code: number }>;
}

const program = ['/usr/bin/node', '--disable-warning=ExperimentalWarning', '/keelson/dist/keelson.mjs'] as const;

/** An engine on directories of its own. At the end its containers are removed, and nothing may be left behind. */
export async function guestEngine(): Promise<GuestEngine> {
  const top = await mkdtemp('/root/engine-');
  const paths = { root: join(top, 'root'), run: join(top, 'run') };
  mkdirSync(paths.root);
  mkdirSync(paths.run);
  const leaks = await leakCheck({ ...paths, patienceMs: 20_000 });
  const engine = Engine.open({
    paths,
    exitCommand: [...program, '--root', paths.root, '--run', paths.run, 'container-exited'],
  });
  const context = new Context();
  const create = async (command: readonly string[], config: Partial<ContainerConfig>): Promise<string> => {
    const { id } = await engine.create(context, { image: 'host', network: 'none', command, ...config });
    return id;
  };
  type Attached = Awaited<ReturnType<Engine['start']>>;
  const read = async (attachment: Attached): Promise<{ text: string; code: number }> => {
    if (attachment === undefined) throw new Error('not attached');
    let text = '';
    for await (const { data } of attachment.output) text += Buffer.from(data).toString();
    return { text, code: await attachment.exit };
  };
  return {
    engine,
    context,
    async start(command, config = {}) {
      const id = await create(command, config);
      await engine.start(context, id);
      return id;
    },
    async run(command, config = {}) {
      const id = await create(command, config);
      return read(await engine.start(context, id, { attach: { stdin: false, stdout: true, stderr: true } }));
    },
    exec: async (id, command) => read(await engine.exec(context, id, { command })),
    async [Symbol.asyncDispose]() {
      for (const { id } of await engine.list(context, { all: true })) await engine.remove(context, id, { force: true });
      await engine[Symbol.asyncDispose]();
      await leaks.verify();
      rmSync(top, { recursive: true, force: true });
    },
  };
}
