/** The library's part of the comparisons: one engine in this process, used again and again. */
import { Keelson } from '../src/index.ts';
import { smallImage } from './images.ts';
import type { Library } from './measures.ts';
import { ownPaths } from './ours.ts';

export function makeLibrary(): Library & AsyncDisposable {
  const keelson = new Keelson(ownPaths);
  const { engine } = keelson;
  const context = keelson.context();
  return {
    async run() {
      const { id } = await engine.create(context, { image: smallImage, command: ['/bin/true'], network: 'bridge' });
      await engine.start(context, id);
      await engine.wait(context, id);
      await engine.remove(context, id);
    },
    async startMany(count) {
      await Promise.all(
        Array.from({ length: count }, async () => {
          const { id } = await engine.create(context, {
            image: smallImage,
            command: ['sleep', '1000'],
            network: 'bridge',
          });
          await engine.start(context, id);
        }),
      );
    },
    async removeAll() {
      const all = await engine.list(context, { all: true });
      await Promise.all(all.map(async ({ id }) => engine.remove(context, id, { force: true })));
    },
    [Symbol.asyncDispose]: async () => keelson[Symbol.asyncDispose](),
  };
}
