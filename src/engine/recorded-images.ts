import type { Context } from '../ground/context.ts';
import type { ImportOptions } from '../image/import.ts';
import { Images, type ImagesOptions } from '../image/images.ts';
import type { LoadedImage } from '../image/load.ts';
import type { PullOptions, PullResult } from '../image/pull.ts';
import type { PushResult } from '../image/push.ts';
import { familiarReference, parseReference } from '../image/reference.ts';
import type { Removal } from '../image/remove-image.ts';
import type { Digest } from '../spec/digest.ts';
import type { Events } from './events.ts';

/** Images whose changes are told by `events`, in docker's words. */
export class RecordedImages extends Images {
  readonly #events: Events;

  constructor(options: ImagesOptions, events: Events) {
    super(options);
    this.#events = events;
  }

  override async pull(context: Context, reference: string, options?: PullOptions): Promise<PullResult> {
    const result = await super.pull(context, reference, options);
    this.#tell('pull', shown(reference), shown(reference));
    return result;
  }

  override async push(...words: Parameters<Images['push']>): Promise<PushResult> {
    const result = await super.push(...words);
    this.#tell('push', shown(words[1]), shown(words[1]));
    return result;
  }

  override tag(source: string, target: string): Digest {
    const id = super.tag(source, target);
    this.#tell('tag', id, shown(target));
    return id;
  }

  override async remove(...words: Parameters<Images['remove']>): Promise<Removal[]> {
    const { id } = this.find(words[1]);
    const removals = await super.remove(...words);
    this.#removed(removals, id);
    return removals;
  }

  override async prune(...words: Parameters<Images['prune']>): ReturnType<Images['prune']> {
    const pruned = await super.prune(...words);
    this.#removed(pruned.removals, '');
    this.#events.emit('image', 'prune', '', { reclaimed: String(pruned.bytes) });
    return pruned;
  }

  override async load(...words: Parameters<Images['load']>): Promise<LoadedImage[]> {
    const loaded = await super.load(...words);
    for (const { id, names } of loaded)
      this.#tell('load', id, names[0] === undefined ? '' : familiarReference(names[0]));
    return loaded;
  }

  override async import(
    context: Context,
    tar: AsyncIterable<Uint8Array>,
    options: ImportOptions = {},
  ): Promise<Digest> {
    const id = await super.import(context, tar, options);
    this.#tell('import', id, options.reference ? familiarReference(options.reference) : '');
    return id;
  }

  #removed(removals: readonly Removal[], id: string): void {
    for (const removal of removals) {
      if ('untagged' in removal) this.#tell('untag', id, familiarReference(removal.untagged));
      else this.#tell('delete', removal.deleted, '');
    }
  }

  #tell(action: string, id: string, name: string): void {
    this.#events.emit('image', action, id, name === '' ? {} : { name });
  }
}

/** As people write it, with the tag that counts. */
function shown(reference: string): string {
  return familiarReference(parseReference(reference));
}
